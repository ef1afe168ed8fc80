"""Semantic duplicates: how many pairs the search by cells finds, and what it costs.

    100,000 vectors ─ exact search (faiss, flat) ─────────→ all pairs above the threshold
                    ├ vecmill's cells, all pairs ─────────→ recall
                    ├ faiss IVF, some probes ─────────────→ recall
                    ├ the whole tier, and 1,000 rows more → CPU-seconds
    1,000,000 rows  └ the whole tier, in its own process ─→ peak memory

Run `uv run python benchmarks/semantic.py [--quick] [--vectors FOLDER] [--only recall]`. Prints
tables, then one line of JSON; exit code 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from semantic_corpus import make_vectors

from flows.terminal import print_table
from schemas.spec import DedupeSpec, SemanticSpec
from tasks.cluster.make_fit import Sample, make_fit, sample_rows
from tasks.dedupe.vectors.neighbours import Neighbourhood, as_unit
from tasks.dedupe.vectors.semantic import semantic_duplicates
from tasks.geometry.fit import Fit, KindFit
from tasks.store.workdir import Store

ROWS, QUICK_ROWS = 100_000, 10_000
MILLION, QUICK_MILLION = 1_000_000, 50_000
THRESHOLD = 0.95
THRESHOLDS = (THRESHOLD, 0.9)
"""The default, which the target is for, and one that finds more."""
ADDED = 100
"""One row in so many is added to the others."""

ROUNDS = 3
"""Of what takes seconds; the least counts. The exact search takes a minute and runs once."""

PROBES = (1, 4, 16)
"""Lists that faiss looks into."""

RANGE_ROWS = 4_096
"""Rows that faiss is asked about together."""

SEED = 20_261_120

RECALL = 0.97
MEMORY_GB = 4.0

Found = np.ndarray
"""Pairs as one number each: first · rows + second, first < second."""


def cpu_seconds(work: Callable[[], Any]) -> tuple[Any, float]:
    """What `work` gives, and the CPU-seconds of all threads."""
    before = os.times()
    made = work()
    after = os.times()
    return made, after.user + after.system - before.user - before.system


def make_cells(vectors: np.ndarray) -> np.ndarray:
    """The cells that a build makes: of a sample as large as its sample is."""
    count = min(len(vectors), sample_rows(vectors.shape[1]))
    drawn = np.sort(np.random.default_rng(SEED).choice(len(vectors), count, replace=False))
    sample = Sample(vectors[drawn], np.zeros(count, "S16"), len(vectors))
    return make_fit({"text": sample}, None, semantic=True).kinds["text"].cells


def exact_pairs(unit: np.ndarray, threshold: float) -> tuple[Found, np.ndarray]:
    """All pairs, by faiss's flat index, and their cosines."""
    import faiss

    index = faiss.IndexFlatIP(unit.shape[1])
    index.add(unit)
    return _ranges(index, unit, threshold)


def _ranges(index: Any, unit: np.ndarray, threshold: float) -> tuple[Found, np.ndarray]:
    held, cosines = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for start in range(0, len(unit), RANGE_ROWS):
        some = unit[start : start + RANGE_ROWS]
        limits, scores, labels = index.range_search(some, threshold)
        first = np.repeat(np.arange(start, start + len(some)), np.diff(limits).astype(int))
        once = first < labels
        held.append(first[once] * len(unit) + labels[once])
        cosines.append(scores[once])
    return np.concatenate(held), np.concatenate(cosines)


def ivf_pairs(unit: np.ndarray, cells: np.ndarray, threshold: float, probes: int) -> Found:
    """The pairs that faiss finds by lists around the same centres."""
    import faiss

    quantizer = faiss.IndexFlatIP(unit.shape[1])
    quantizer.add(cells)
    index = faiss.IndexIVFFlat(quantizer, unit.shape[1], len(cells), faiss.METRIC_INNER_PRODUCT)
    index.is_trained = True
    index.nprobe = probes
    index.add(unit)
    return np.unique(_ranges(index, unit, threshold)[0])


def cell_pairs(vectors: np.ndarray, cells: np.ndarray, threshold: float) -> Found:
    """The pairs that vecmill finds."""
    rows = len(vectors)
    groups = np.zeros(rows, np.int64)
    near = Neighbourhood(lambda some: vectors[some], groups, cells, vectors.shape[1], threshold)
    found = near.pairs(np.arange(rows), np.ones(rows, bool), rows * 1_000)
    assert found is not None
    once = found.first < found.second
    return found.first[once] * rows + found.second[once]


def measure_recall(vectors: np.ndarray) -> dict[str, Any]:
    """Recall and CPU-seconds of each search, over the same vectors."""
    unit = as_unit(vectors)
    cells, training = cpu_seconds(lambda: make_cells(vectors))
    (exact, cosines), exact_cpu = cpu_seconds(lambda: exact_pairs(unit, min(THRESHOLDS)))
    said: dict[str, Any] = {"cells": len(cells), "cells_cpu": training, "exact_cpu": exact_cpu}
    print(f"\n{len(vectors):,} rows, {len(cells)} cells, made in {training:.1f} CPU-s")
    lines = [["all", "faiss, exact", "1", f"{exact_cpu:.2f}"]]
    for threshold in THRESHOLDS:
        searches: dict[str, Callable[[], Found]] = {
            "vecmill": partial(cell_pairs, vectors, cells, threshold),
            **{
                f"faiss IVF, {n} probes": partial(ivf_pairs, unit, cells, threshold, n)
                for n in PROBES
            },
        }
        whole = exact[cosines >= threshold]
        spent, recall = dict.fromkeys(searches, np.inf), dict.fromkeys(searches, 0.0)
        for _ in range(ROUNDS):
            for name, search in searches.items():
                found, seconds = cpu_seconds(search)
                spent[name] = min(seconds, spent[name])
                both = np.intersect1d(found, whole, assume_unique=True)
                recall[name] = len(both) / max(len(whole), 1)
        above = f"≥ {threshold}: {len(whole):,} pairs"
        lines += [[above, name, f"{recall[name]:.4f}", f"{spent[name]:.2f}"] for name in searches]
        said[str(threshold)] = {"pairs": len(whole), "recall": recall, "cpu": spent}
    print_table(["cosine", "search", "pair recall", "CPU-s"], lines, right=["pair recall", "CPU-s"])
    return said


class Rows:
    """Vectors of contents whose hash is their number."""

    def __init__(self, vectors: np.ndarray) -> None:
        self._vectors = vectors
        self.dimensions = vectors.shape[1]

    def places(self, slots: pl.DataFrame) -> pl.DataFrame:
        """The numbers."""
        return slots.select(pl.col("content_hash").bin.slice(0, 8).bin.reinterpret(dtype=pl.Int64))

    def read(self, places: pl.DataFrame) -> np.ndarray:
        """The vectors."""
        return self._vectors[places.to_series().to_numpy()].astype(np.float32)


def make_rows(numbers: np.ndarray) -> pl.DataFrame:
    """A row for each vector: `semantic.COLUMNS`, and no mark."""
    hashes = np.zeros((len(numbers), 2), np.int64)
    hashes[:, 0] = numbers
    return pl.DataFrame({"number": numbers}).select(
        pl.format("docs:{}", "number").alias("id"),
        pl.lit("docs").alias("source"),
        pl.lit("text").alias("kind"),
        pl.Series("content_hash", hashes.view("V16").ravel().tolist(), pl.Binary),
        pl.lit(100, pl.Int64).alias("size"),
        pl.lit(None, pl.Datetime("us", "UTC")).alias("time"),
        pl.lit(None, pl.UInt64).alias("vector_rowaddr"),
        pl.lit(None, pl.String).alias("duplicate_of"),
        pl.lit(None, pl.String).alias("duplicate_kind"),
        pl.lit(None, pl.Float32).alias("duplicate_score"),
    )


def fit_of(cells: np.ndarray) -> Fit:
    """A fit of cells alone."""
    none = np.empty((0, cells.shape[1]), np.float32)
    ids, radii = np.empty(0, np.int32), np.empty(0, np.float32)
    return Fit("fit-cells", {"text": KindFit("text", "kmeans", 0, none, ids, radii, 1.0, cells)})


def judge(vectors: np.ndarray, rows: pl.DataFrame, fit: Fit, store: Store) -> pl.DataFrame:
    """The tier: as a build runs it, once the vectors are there."""
    spec = DedupeSpec(semantic=SemanticSpec(threshold=THRESHOLD))
    return semantic_duplicates(rows, fit, spec, Rows(vectors), store, "settings")


def measure_growth(vectors: np.ndarray, folder: Path) -> dict[str, Any]:
    """What 1 % more rows cost beside all of them, and that the verdicts are the same."""
    fit = fit_of(make_cells(vectors))
    every = make_rows(np.arange(len(vectors)))
    new = np.random.default_rng(SEED).random(len(vectors)) < 1 / ADDED
    old = every.filter(~pl.Series(new))
    spent = {"all": np.inf, "more": np.inf, "again": np.inf}
    for turn in range(ROUNDS):
        alone, steps = (Store(str(folder / f"{name}-{turn}")) for name in ("alone", "steps"))
        whole, seconds = cpu_seconds(lambda: judge(vectors, every, fit, alone))  # noqa: B023
        spent["all"] = min(seconds, spent["all"])
        judge(vectors, old, fit, steps)
        more, seconds = cpu_seconds(lambda: judge(vectors, every, fit, steps))  # noqa: B023
        spent["more"] = min(seconds, spent["more"])
        if not more.equals(whole):
            raise SystemExit("the verdicts of two builds are not those of one")
        _, seconds = cpu_seconds(lambda: judge(vectors, every, fit, steps))  # noqa: B023
        spent["again"] = min(seconds, spent["again"])
    share = spent["more"] / spent["all"]
    print(f"\nthe whole tier: {len(vectors):,} rows, {whole.height:,} marked")
    lines = [
        ["all rows", f"{spent['all']:.2f}", ""],
        [f"{int(new.sum()):,} rows more", f"{spent['more']:.2f}", f"{share:.1%}"],
        ["no row more", f"{spent['again']:.2f}", f"{spent['again'] / spent['all']:.1%}"],
    ]
    print_table(["what is judged", "CPU-s", "of all"], lines, right=["CPU-s", "of all"])
    return {"marked": whole.height, "cpu": spent, "share": share}


def measure_million(vectors: np.ndarray, rows: int, folder: Path) -> dict[str, Any]:
    """Peak memory and CPU-seconds of the tier over many rows, in a process of its own."""
    draw = np.random.default_rng(SEED)
    path = folder / "million.npy"
    stored = np.lib.format.open_memmap(path, "w+", np.float16, (rows, vectors.shape[1]))
    for start in range(0, rows, len(vectors)):  # each turn farther from the passages themselves
        some = vectors[: rows - start]
        noise = draw.normal(size=some.shape).astype(np.float32) / np.sqrt(vectors.shape[1])
        stored[start : start + len(some)] = as_unit(some + noise * (0.5 if start else 0))
    stored.flush()
    np.save(folder / "cells.npy", make_cells(stored))
    del stored
    command = [sys.executable, __file__, "--in-folder", str(folder)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    said = json.loads(answer.splitlines()[-1])
    print(
        f"\n{rows:,} rows × {vectors.shape[1]}: {said['marked']:,} marked, "
        f"{said['cpu']:.1f} CPU-s, peak memory {said['peak_gb']:.2f} GB"
    )
    return said


def judge_million(folder: Path) -> None:
    """In its own process: judge what lies in `folder` and say what it took."""
    vectors = np.load(folder / "million.npy", mmap_mode="r")
    fit = fit_of(np.load(folder / "cells.npy"))
    rows = make_rows(np.arange(len(vectors)))
    found, seconds = cpu_seconds(lambda: judge(vectors, rows, fit, Store(str(folder / "store"))))
    status = Path("/proc/self/status").read_text().splitlines()
    peak = int(next(line for line in status if line.startswith("VmHWM")).split()[1])
    print(json.dumps({"marked": found.height, "cpu": seconds, "peak_gb": peak / 1e6}))


def main() -> int:
    """Measure what was asked for, and compare with the targets."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--quick", action="store_true", help="a tenth of the rows; not judged")
    asked.add_argument("--only", choices=["recall", "growth", "million"])
    asked.add_argument("--vectors", type=Path, help="where the embedded passages lie, or are put")
    asked.add_argument("--in-folder", type=Path, help=argparse.SUPPRESS)
    options = asked.parse_args()
    if options.in_folder:
        judge_million(options.in_folder)
        return 0
    said: dict[str, Any] = {"quick": options.quick}
    with tempfile.TemporaryDirectory(prefix="vecmill-semantic-") as name:
        folder = Path(name)
        kept = options.vectors or folder
        kept.mkdir(parents=True, exist_ok=True)
        vectors = make_vectors(QUICK_ROWS if options.quick else ROWS, kept)
        if options.only in (None, "recall"):
            said["recall"] = measure_recall(vectors)
        if options.only in (None, "growth"):
            said["growth"] = measure_growth(vectors, folder)
        if options.only in (None, "million"):
            rows = QUICK_MILLION if options.quick else MILLION
            said["million"] = measure_million(vectors, rows, folder)
    judged = said.get("recall", {}).get(str(THRESHOLD))
    recall = judged and judged["recall"]["vecmill"]
    checks = [
        (f"pair recall at {THRESHOLD}", recall, RECALL, False),
        ("peak memory, GB", said.get("million", {}).get("peak_gb"), MEMORY_GB, True),
    ]
    lines, missed = [], False
    for figure, value, target, most in checks:
        if value is not None:
            miss = value > target if most else value < target
            missed |= miss
            limit = f"{'≤' if most else '≥'} {target:g}"
            lines.append([figure, f"{value:.4g}", limit, "MISSED" if miss else "ok"])
    print()
    print_table(["figure", "value", "target", ""], lines)
    print(json.dumps(said))
    return int(missed and not options.quick)


if __name__ == "__main__":
    sys.exit(main())
