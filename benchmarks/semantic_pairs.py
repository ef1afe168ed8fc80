"""What the semantic tier finds and misses of pairs that people have judged, sentence by sentence.

    STS-B (0–5: how alike)  ─ all-MiniLM-L6-v2 ─ cosine ─→ found at a threshold, or not
    MRPC (paraphrase or not) ┘                             └ listed beside what people said

Run `uv run python benchmarks/semantic_pairs.py [--quick] [--list N]`; the data lie in
`$VECMILL_SHARED` or `../shared`. There is no target: a threshold of 0.95 means "says the same in
nearly the same words", which is less than a paraphrase. Prints tables, then one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from semantic_corpus import embed

from flows.terminal import print_table
from tasks.dedupe.vectors.neighbours import as_unit

SHARED = Path(os.environ.get("VECMILL_SHARED", Path(__file__).parents[1].parent / "shared"))

THRESHOLDS = (0.90, 0.95, 0.98)

ALIKE = 4.0
"""STS-B: from here on two sentences are "mostly equivalent", and differ in unimportant details."""


@dataclass(frozen=True)
class Judged:
    """Pairs that people judged: two sentences, whether they say the same, and how it was put."""

    name: str
    first: list[str]
    second: list[str]
    same: np.ndarray
    said: list[str]


def read_judged(quick: bool) -> list[Judged]:
    """STS-B and MRPC; a tenth of them when `quick`."""
    folder = SHARED / "data" / "text"
    sts = pl.concat([pl.read_parquet(folder / f"stsb_{part}.parquet") for part in ("train", "dev")])
    mrpc = pl.read_parquet(folder / "mrpc_train.parquet")
    if quick:
        sts, mrpc = sts[::10], mrpc[::10]
    return [
        Judged(
            "STS-B",
            sts["sentence1"].to_list(),
            sts["sentence2"].to_list(),
            (sts["score"] >= ALIKE).to_numpy(),
            [f"{score:.1f}" for score in sts["score"]],
        ),
        Judged(
            "MRPC",
            mrpc["sentence1"].to_list(),
            mrpc["sentence2"].to_list(),
            mrpc["is_paraphrase"].to_numpy(),
            ["yes" if same else "no" for same in mrpc["is_paraphrase"]],
        ),
    ]


def cosines(pairs: Judged, folder: Path) -> np.ndarray:
    """As the tier sees them: float16 vectors of all-MiniLM-L6-v2."""
    first, second = (as_unit(embed(texts, folder)) for texts in (pairs.first, pairs.second))
    return (first * second).sum(axis=1)


def show(pairs: Judged, cosine: np.ndarray, listed: int) -> dict[str, dict[str, float]]:
    """The shares at each threshold, and what is found or missed against what people said."""
    rows, said = [], {}
    for threshold in THRESHOLDS:
        found = cosine >= threshold
        right = float(pairs.same[found].mean()) if found.any() else float("nan")
        recall = float(found[pairs.same].mean())
        said[str(threshold)] = {"found": int(found.sum()), "right": right, "recall": recall}
        rows.append([f"{threshold}", f"{found.sum():,}", f"{right:.1%}", f"{recall:.1%}"])
    print(f"\n{pairs.name}: {len(cosine):,} pairs, {int(pairs.same.sum()):,} said to be alike")
    heads = ["threshold", "found", "of them alike", "of those alike found"]
    print_table(heads, rows, right=heads)
    wrong = np.flatnonzero((cosine >= 0.95) & ~pairs.same)
    missed = np.flatnonzero((cosine < 0.95) & pairs.same)
    for what, odd in (("found", wrong), ("missed", missed)):
        _list(what, pairs, cosine, odd[np.argsort(-cosine[odd])], listed)
    return said


def _list(what: str, pairs: Judged, cosine: np.ndarray, order: np.ndarray, listed: int) -> None:
    people = "not said to be alike" if what == "found" else "said to be alike"
    print(f"\n{pairs.name}, {what} at 0.95 but {people}: {len(order):,}; the nearest first")
    rows = [
        [f"{i}", f"{cosine[i]:.3f}", pairs.said[i], f"{pairs.first[i]} | {pairs.second[i]}"]
        for i in order[:listed]
    ]
    heads = ["row", "cosine", "people", "sentences"]
    print_table(heads, rows, right=["row", "cosine"], wrap=["sentences"])


def main() -> int:
    """Judge each corpus."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--quick", action="store_true", help="a tenth of the pairs")
    asked.add_argument("--list", type=int, default=12, help="pairs that are listed of each sort")
    options = asked.parse_args()
    if not (SHARED / "data" / "text").is_dir():
        raise SystemExit(f"no data at {SHARED}: set VECMILL_SHARED to the folder that holds data/")
    said = {}
    with tempfile.TemporaryDirectory(prefix="vecmill-pairs-") as folder:
        for pairs in read_judged(options.quick):
            said[pairs.name] = show(pairs, cosines(pairs, Path(folder)), options.list)
    print(json.dumps(said))
    return 0


if __name__ == "__main__":
    sys.exit(main())
