"""Near-duplicate texts: are they found, how fast beside peers, and what does a thousand more cost?

    planted_text ─ records files ─┬─ vecmill's stage ─┐
                                  └─ peers            ┴─ labels against the truth

Run `uv run --with datasketch --with semhash python benchmarks/near_text.py`. Its parts (`--only`):

- `truth`: 100,000 made documents; vecmill and datasketch's MinHashLSH take turns.
- `news`: AG News with planted copies, whose truth is found by comparing all pairs; SemHash too,
  whose model reads real words.
- `grow`: 1,000 documents more, as a file of their own, and at the end of one big file.
- `large`: 1,000,000 documents; the memory of the process.
- `mrpc`: pairs of sentences that people judged (see `judged.md`).

Every run is a process of its own; CPU-seconds are counted above its imports and its compiling.
Prints tables, then one line of JSON; exit code 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import polars as pl
from near_text_stage import Corpus, shingle_seconds, write_records
from planted_text import (
    among_all,
    by_definition,
    jaccard,
    plant,
    plant_among,
    score,
    shingles,
)

from flows.terminal import print_table
from tasks.processes.cores import usable_cores

HERE = Path(__file__).parent
SHARED = Path(os.environ.get("VECMILL_SHARED", HERE.parents[1] / "shared"))
NEWS = SHARED / "data" / "text" / "ag_news.parquet"
MRPC = SHARED / "data" / "text" / "mrpc_train.parquet"

THRESHOLD = 0.7

DOCUMENTS, MORE, LARGE = 100_000, 1_000, 1_000_000
QUICK = 10
"""How many times fewer documents `--quick` takes."""

PER_FILE = 50_000

F1, SPEED, GROWTH, MEMORY = 0.99, 3.0, 0.05, 4e9
"""Targets: F1 at least; documents per CPU-second over datasketch's at least; the CPU time of 1,000
more, as a share of that of all, at most; peak memory of the large run in bytes, less than."""

NAMES = {
    "datasketch, checked": "datasketch",
    "datasketch as it comes": "datasketch",
    "SemHash": "semhash",
}
"""Peer → the package that it needs."""


@dataclass(frozen=True)
class Run:
    """One process: the labels it found, CPU-seconds by step, peak memory in bytes."""

    name: str
    labels: np.ndarray
    seconds: dict[str, float]
    peak: int

    @property
    def cpu(self) -> float:
        return sum(self.seconds.values())


@dataclass
class Findings:
    """What is said in the end: figures by name, and checks (name, value, target, met)."""

    figures: dict[str, object] = field(default_factory=dict)
    checks: list[tuple[str, float, str, bool]] = field(default_factory=list)

    def at_least(self, name: str, value: float, target: float) -> None:
        self.checks.append((name, value, f"≥ {target:g}", value >= target))

    def at_most(self, name: str, value: float, target: float) -> None:
        self.checks.append((name, value, f"≤ {target:g}", value <= target))


# --- corpora -------------------------------------------------------------------------------------


def make_part(folder: Path, number: int, first: int, documents: int) -> Path:
    """The corpus's documents from `first` on, with their truths as columns."""
    path = folder / f"made-{number:03}-{first}-{documents}.parquet"
    if not path.exists():
        planted = plant(documents, seed=number)
        truth = by_definition(planted, THRESHOLD) + first
        unfinished = path.with_suffix(".tmp")
        write_records(
            unfinished, planted.texts, first, truth=truth, original=planted.original + first
        )
        unfinished.replace(path)
    return path


def make_corpus(folder: Path, documents: int) -> Corpus:
    """Made documents in files of `PER_FILE`; each file has families of its own."""
    firsts = range(0, documents, PER_FILE)
    sizes = [min(PER_FILE, documents - first) for first in firsts]
    with ProcessPoolExecutor(usable_cores(), get_context("spawn")) as pool:
        made = pool.map(partial(make_part, folder), range(len(sizes)), firsts, sizes)
        return read_corpus(list(made))


def read_corpus(files: Sequence[Path]) -> Corpus:
    """The corpus that files of `make_part` hold."""
    truths = pl.concat([pl.read_parquet(path, columns=["truth", "original"]) for path in files])
    return Corpus(tuple(files), truths["truth"].to_numpy(), truths["original"].to_numpy())


def make_news(folder: Path, parts: int) -> Corpus:
    """AG News (one `parts`-th of it) with planted copies."""
    news = pl.read_parquet(NEWS)
    texts = (news["title"] + "\n\n" + news["body"]).to_list()
    planted = plant_among(texts[: len(texts) // parts])
    truth = among_all(planted.texts, THRESHOLD)
    path = folder / "news.parquet"
    write_records(path, planted.texts, 0, truth=truth, original=planted.original)
    return read_corpus([path])


# --- runs ----------------------------------------------------------------------------------------


def run_child(name: str, words: list[str], out: Path) -> Run:
    """One process; its last line of output is JSON."""
    print(f"{name} …", file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr}")
    answer = json.loads(done.stdout.splitlines()[-1])
    run = Run(name, np.load(out), answer["seconds"], answer["peak"])
    print(f"{name}: {run.cpu:.2f} CPU-s, {run.peak / 1e6:,.0f} MB", file=sys.stderr, flush=True)
    return run


def run_stage(files: Sequence[Path], workdir: Path) -> Run:
    """vecmill's stage; a new `workdir` knows no signatures."""
    out = workdir.parent / "labels.npy"
    listed = json.dumps([str(path) for path in files])
    words = [str(HERE / "near_text_stage.py"), listed, str(workdir), str(out), str(THRESHOLD)]
    return run_child("vecmill", words, out)


def run_peer(name: str, corpus: Corpus, folder: Path) -> Run:
    """One of the peers."""
    out = folder / "labels.npy"
    listed = json.dumps([str(path) for path in corpus.files])
    words = [str(HERE / "near_text_peers.py"), name, listed, str(out), str(THRESHOLD)]
    return run_child(name, words, out)


def take_turns(corpus: Corpus, folder: Path, peers: Sequence[str]) -> list[Run]:
    """vecmill before, between and after the peers; of its runs the one of median CPU time."""
    own: list[Run] = [run_stage(corpus.files, folder / "work-0")]
    others: list[Run] = []
    for turn, name in enumerate(peers, 1):
        if find_spec(NAMES[name]) is None:
            print(f"{name}: not installed (add `--with {NAMES[name]}`)", file=sys.stderr)
            continue
        others.append(run_peer(name, corpus, folder))
        own.append(run_stage(corpus.files, folder / f"work-{turn}"))
    cpu = statistics.median_low([run.cpu for run in own])
    return [next(run for run in own if run.cpu == cpu), *others]


def ready(run: Run, made: float) -> float:
    """CPU-seconds from ready shingles on: without normalising, cutting and hashing."""
    steps = run.seconds
    if run.name == "vecmill":
        return run.cpu - made
    return run.cpu - steps.get("shingles", 0) - steps.get("hashes", 0)


def compare(title: str, corpus: Corpus, folder: Path, peers: Sequence[str]) -> dict[str, dict]:
    """The runs side by side, as a table; figures by name."""
    runs, made = take_turns(corpus, folder, peers), shingle_seconds(corpus.files)
    figures: dict[str, dict] = {}
    for run in runs:
        found, planted = score(run.labels, corpus.truth), score(run.labels, corpus.original)
        figures[run.name] = {
            "f1": found.f1,
            "precision": found.precision,
            "recall": found.recall,
            "f1_planted": planted.f1,
            "cpu": run.cpu,
            "per_second": len(corpus) / run.cpu,
            "per_second_ready": len(corpus) / ready(run, made),
            "peak": run.peak,
        }
    print(f"\n{title}: {len(corpus):,} documents")
    print_table(
        ["", "F1", "precision", "recall", "as planted", "docs/CPU-s", "shingles ready", "peak MB"],
        [
            [
                name,
                *(f"{of[key]:.4f}" for key in ("f1", "precision", "recall", "f1_planted")),
                f"{of['per_second']:,.0f}",
                "" if name == "SemHash" else f"{of['per_second_ready']:,.0f}",
                f"{of['peak'] / 1e6:,.0f}",
            ]
            for name, of in figures.items()
        ],
    )
    return figures


# --- the parts -----------------------------------------------------------------------------------


def judge_truth(folder: Path, quick: int, findings: Findings) -> None:
    """F1 and speed on the made documents."""
    corpus = make_corpus(folder, DOCUMENTS // quick)
    peers = ["datasketch, checked", "datasketch as it comes"]
    figures = compare("Made documents", corpus, folder, peers)
    findings.figures["truth"] = figures
    own = figures["vecmill"]
    findings.at_least("F1, by definition", own["f1"], F1)
    findings.at_least("F1, as planted", own["f1_planted"], F1)
    for name in peers:
        if name in figures:
            ratio = own["per_second_ready"] / figures[name]["per_second_ready"]
            findings.at_least(f"documents/CPU-s ÷ {name}, shingles ready", ratio, SPEED)


def judge_news(folder: Path, quick: int, findings: Findings) -> None:
    """F1 on real words."""
    corpus = make_news(folder, quick)
    figures = compare("AG News and copies", corpus, folder, list(NAMES))
    findings.figures["news"] = figures
    findings.at_least("F1, AG News", figures["vecmill"]["f1"], F1)


def judge_growth(folder: Path, quick: int, findings: Findings) -> None:
    """What 1,000 more documents cost: as a file of their own, and in the one file that there is."""
    old, new = DOCUMENTS // quick, MORE // quick
    made = plant(old + new)  # the last ones resemble what came before as all others do
    one, few, longer = (folder / f"{name}.parquet" for name in ("one", "few", "longer"))
    write_records(one, made.texts[:old], 0)
    write_records(few, made.texts[old:], old)
    write_records(longer, made.texts, 0)
    several = [folder / f"some-{at}.parquet" for at in range(0, old, PER_FILE // 5)]
    for number, path in enumerate(several):
        first = number * (PER_FILE // 5)
        write_records(path, made.texts[first : min(first + PER_FILE // 5, old)], first)
    whole = run_stage([*several, few], folder / "whole")
    marked = int((whole.labels[old:] != np.arange(old, old + new)).sum())
    shares = {}
    for name, before, after in (
        ("a file of their own", several, [*several, few]),
        ("in the same file", [one], [longer]),
    ):
        workdir = folder / f"grown {name}"
        run_stage(before, workdir)
        grown = run_stage(after, workdir)
        if not np.array_equal(grown.labels, whole.labels):
            raise SystemExit(f"{name}: other marks than when all came at once")
        shares[name] = grown.cpu / whole.cpu
    own = "a file of their own"  # in the same file all texts are read and hashed again, too
    findings.at_most(f"{new:,} more, {own}: share of all", shares[own], GROWTH)
    findings.figures["grow"] = {"all": whole.cpu, "of_the_new_marked": marked, **shares}


def judge_memory(folder: Path, quick: int, findings: Findings) -> None:
    """A million documents in one process."""
    corpus = make_corpus(folder, LARGE // quick)
    run = run_stage(corpus.files, folder / "large")
    found = score(run.labels, corpus.truth)
    findings.figures["large"] = {
        "documents": len(corpus),
        "cpu": run.cpu,
        "per_second": len(corpus) / run.cpu,
        "peak": run.peak,
        "f1": found.f1,
    }
    findings.at_most(f"peak memory, GB, {len(corpus):,} documents", run.peak / 1e9, MEMORY / 1e9)
    findings.at_least(f"F1, {len(corpus):,} documents", found.f1, F1)


def judge_mrpc(folder: Path, _quick: int, findings: Findings) -> None:
    """What is found among the judged pairs, by similarity; rows of what is found wrongly."""
    pairs = pl.read_parquet(MRPC)
    texts = pl.concat([pairs["sentence1"], pairs["sentence2"]]).to_list()
    path = folder / "mrpc.parquet"
    write_records(path, texts, 0)
    labels = run_stage([path], folder / "mrpc").labels
    found = score(labels, among_all(texts, THRESHOLD))
    findings.at_least("F1, MRPC's sentences, all pairs", found.f1, F1)
    half = len(pairs)
    together = labels[:half] == labels[half:]
    sets = [shingles(text) for text in texts]
    alike = np.array([jaccard(*both) for both in zip(sets[:half], sets[half:], strict=True)])
    same = pairs["is_paraphrase"].to_numpy()
    rows = []
    for least, most in ((0.9, 1.01), (0.8, 0.9), (0.7, 0.8), (0.6, 0.7), (0.5, 0.6), (0, 0.5)):
        here = (alike >= least) & (alike < most)
        counts = [int((here & same).sum()), int((here & same & together).sum())]
        counts += [int((here & ~same).sum()), int((here & ~same & together).sum())]
        rows.append([f"{least:g} – {min(most, 1):g}", *counts])
    print("\nMRPC, pairs by Jaccard similarity")
    print_table(["similarity", "paraphrases", "found", "no paraphrases", "found"], rows)
    findings.figures["mrpc"] = {
        "by_similarity": rows,
        "marked": int((labels != np.arange(len(texts))).sum()),
        "found_wrongly": np.flatnonzero(together & ~same).tolist(),
        "within_but_apart": np.flatnonzero(~together & (alike >= THRESHOLD)).tolist(),
        "together_below": np.flatnonzero(together & (alike < THRESHOLD)).tolist(),
    }


PARTS = {
    "truth": judge_truth,
    "news": judge_news,
    "grow": judge_growth,
    "large": judge_memory,
    "mrpc": judge_mrpc,
}
NEEDED = {"news": NEWS, "mrpc": MRPC}
"""Part → the file that it needs; without it the part is left out, and that is said."""


def main() -> int:
    """Run the parts asked for, print the checks, 1 when a target is missed."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    asked.add_argument("--quick", action="store_true", help="a tenth of everything, not judged")
    asked.add_argument("--keep", metavar="DIR", type=Path, help="work there and leave it")
    options = asked.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="vecmill-near-text-"))
    folder.mkdir(parents=True, exist_ok=True)
    findings = Findings()
    try:
        for name in options.only:
            if name in NEEDED and not NEEDED[name].exists():
                print(f"{name}: left out, {NEEDED[name]} is not there", file=sys.stderr)
                continue
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                PARTS[name](Path(scratch), QUICK if options.quick else 1, findings)
    finally:
        if options.keep is None:
            shutil.rmtree(folder)
    print()
    print_table(
        ["figure", "value", "target", ""],
        [
            [name, f"{value:.4g}", target, "ok" if met else "MISSED"]
            for name, value, target, met in findings.checks
        ],
    )
    print(json.dumps({"quick": options.quick, **findings.figures}))
    return int(not options.quick and not all(met for *_, met in findings.checks))


if __name__ == "__main__":
    sys.exit(main())
