"""Does the disk stay small? Many builds with one percent change each, and an upkeep now and then.

    corpus of random words → first build → (change 1 % → build) × N, `maintain` every few builds
    → bytes of table and companions / (a fresh build of the final state + rows of kept releases)

The embedder is a table of random word vectors made here: what upkeep does depends on bytes alone.
Exit code 1 when the limit is passed at the end.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from flows.compose import build_space
from flows.progress import StageBars
from flows.runner import PlainRunner
from flows.upkeep import maintain_space
from schemas.load import parse_spec
from schemas.spec import BuildOverrides, SpaceSpec
from tasks.table.dataset import TableRef, open_main
from tasks.table.maintain import COMPANIONS, folder_bytes, stored_bytes
from tasks.table.releases import list_releases

WORDS = 20_000
LIMIT = 1.5


@dataclass
class Corpus:
    """A jsonl file of random documents, of which a share changes each time."""

    folder: Path
    rows: int
    words: int
    random: np.random.Generator

    def __post_init__(self) -> None:
        self.texts = [self.text() for _ in range(self.rows)]

    def text(self) -> str:
        ranks = self.random.zipf(1.2, self.words) % WORDS  # as words are in a language
        return " ".join(f"w{i}" for i in ranks)

    def change(self, share: float) -> int:
        chosen = self.random.choice(self.rows, max(int(self.rows * share), 1), replace=False)
        for i in chosen:
            self.texts[i] = self.text()
        return len(chosen)

    def write(self) -> None:
        lines = [json.dumps({"key": i, "text": text}) for i, text in enumerate(self.texts)]
        (self.folder / "notes.jsonl").write_text("\n".join(lines), encoding="utf-8")


def word_model(folder: Path, dimensions: int) -> Path:
    """A static sentence embedder: a random vector for each word."""
    folder.mkdir()
    tokenizer = Tokenizer(WordLevel({f"w{i}": i for i in range(WORDS)} | {"[UNK]": WORDS}, "[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    weights = np.random.default_rng(0).normal(size=(WORDS + 1, dimensions)).astype(np.float32)
    save_file({"embedding.weight": weights}, folder / "model.safetensors")
    kind = "sentence_transformers.models.StaticEmbedding"
    module = {"idx": 0, "name": "0", "path": ".", "type": kind}
    (folder / "modules.json").write_text(json.dumps([module]), encoding="utf-8")
    return folder


def space_in(folder: Path, name: str, model: Path, keep: int) -> SpaceSpec:
    data = {
        "space": "notes",
        "uri": f"./{name}",
        "workdir": f"./{name}-work",
        "sources": [
            {"name": "d", "kind": "text", "path": "notes.jsonl", "key": "key", "text": "text"}
        ],
        "chunk": None,
        "embedder": {"kind": "sentence-transformers", "model": str(model)},
        "publish": {"keep": keep},
    }
    return parse_spec(data, folder, "spec")


def build(spec: SpaceSpec) -> None:
    runner = PlainRunner(StageBars("quiet"))
    outcome = build_space(spec, BuildOverrides(yes=True), runner)
    if outcome.exit_code:
        sys.exit(outcome.message)


def stored(spec: SpaceSpec) -> tuple[int, int]:
    """Bytes of the table, and of its companions."""
    ref = TableRef.of(spec)
    return stored_bytes(ref) or 0, sum(stored_bytes(ref.companion(n)) or 0 for n in COMPANIONS)


def kept_bytes(spec: SpaceSpec, row: float) -> float:
    """Bytes of the rows that the kept releases wrote, `row` bytes each, but for the first build."""
    written = 0
    for release in list_releases(TableRef.of(spec)):
        counts = release.manifest.counts
        if release.number > 1:
            written += counts.new + counts.changed + counts.metadata_only + counts.rejudged
    return written * row


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rows", type=int, default=20_000)
    arguments.add_argument("--dimensions", type=int, default=384)
    arguments.add_argument("--words", type=int, default=100, help="words of a document")
    arguments.add_argument("--builds", type=int, default=200)
    arguments.add_argument("--change", type=float, default=0.01)
    arguments.add_argument("--every", type=int, default=10, help="builds between two upkeeps")
    arguments.add_argument("--keep", type=int, default=10)
    arguments.add_argument("--json", action="store_true")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="vecmill-upkeep-") as scratch:
        passed = measure(Path(scratch), given)
    sys.exit(0 if passed else 1)


def measure(folder: Path, given: argparse.Namespace) -> bool:
    begun = time.perf_counter()
    model = word_model(folder / "model", given.dimensions)
    corpus = Corpus(folder, given.rows, given.words, np.random.default_rng(1))
    spec = space_in(folder, "db", model, given.keep)
    corpus.write()
    build(spec)
    first = sum(stored(spec))
    row = stored(spec)[0] / given.rows
    peak = 0.0
    for number in range(1, given.builds + 1):
        corpus.change(given.change)
        corpus.write()
        build(spec)
        if number % given.every == 0 or number == given.builds:
            before = stored(spec)
            # grace 0: here nobody reads, and a year passes in minutes
            report = maintain_space(spec, workdir_days=30, grace=timedelta(0))
            after = stored(spec)
            ratio = sum(after) / (first + kept_bytes(spec, row))
            peak = max(peak, ratio)
            if not given.json:
                print(
                    f"build {number:4}: {sum(before) / 1e6:7.2f} MB → {sum(after) / 1e6:7.2f} MB, "
                    f"{ratio:.2f} of live and changed rows, "
                    f"{len(open_main(TableRef.of(spec)).get_fragments())} fragments"
                    + "".join(f"; left: {line}" for line in report.left),
                    flush=True,
                )
    fresh = space_in(folder, "fresh", model, given.keep)
    build(fresh)
    live, kept = sum(stored(fresh)), kept_bytes(spec, row)
    table, companions = stored(spec)
    days_30 = folder_bytes(Path(spec.workdir))
    maintain_space(spec, workdir_days=0, grace=timedelta(0))
    figures = {
        "builds": given.builds + 1,
        "rows": given.rows,
        "table": table,
        "companions": companions,
        "fresh_build": live,
        "kept_releases": round(kept),
        "ratio": round((table + companions) / (live + kept), 3),
        "largest_ratio": round(peak, 3),
        "workdir": days_30,
        "workdir_after_expiry": folder_bytes(Path(spec.workdir)),
        "seconds": round(time.perf_counter() - begun),
    }
    if given.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name.replace('_', ' '):22} {value:>14,}")
    return (table + companions) <= LIMIT * (live + kept)


if __name__ == "__main__":
    main()
