"""Is the map worth looking at: are neighbours on it neighbours, and does it stay where it is?

    docstrings, all-MiniLM-L6-v2 ─ make_fit (pca | umap) ─ place ─ trustworthiness, seconds
    a fit, 1 % of the rows others ─ placed again, refit ─ how far the surviving rows went

Run `uv run python benchmarks/maps.py` (`--quick`: fewer rows, not judged; `--vectors FOLDER`
keeps the vectors there for the next run; `--pictures FOLDER` draws the maps). Trustworthiness is
scikit-learn's, of 5 neighbours by cosine: 1 where no row has a neighbour on the map that it has not
in the space. The large table is of a static model (128 dimensions; `$VECMILL_SHARED` or
`../shared`). Prints tables, then one line of JSON; exit code 1 when a figure misses its target.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from clusters import CHANGED, Check, print_checks, sample_of
from labelled_vectors import Vectors, docstrings, kept

from flows.terminal import print_table
from schemas.spec import ClusterSpec
from tasks.cluster.make_fit import make_fit
from tasks.cluster.refit import refit
from tasks.geometry.fit import Fit
from tasks.geometry.place import place
from tasks.geometry.unit import unit_vectors

ROWS, LARGE, QUICK = 10_000, 50_000, 2_000
JUDGED = 10_000
"""Most rows whose neighbours are compared: with their squares scikit-learn takes gigabytes."""

TRUSTED = 0.9
"""Trustworthiness of UMAP on `ROWS`."""

MINUTES = 5.0
"""By the clock, the fit and all places of `LARGE` rows."""


def places(fit: Fit, vectors: np.ndarray) -> np.ndarray:
    """float32 `(n, 2)`."""
    placed = place(fit.kinds["text"], vectors)
    return np.stack([placed.x, placed.y], axis=1)


def trust(vectors: np.ndarray, at: np.ndarray) -> float:
    """Trustworthiness of at most `JUDGED` of the rows, drawn at random."""
    from sklearn.manifold import trustworthiness

    some = np.random.default_rng(0).permutation(len(at))[:JUDGED]
    return float(trustworthiness(unit_vectors(vectors[some]), at[some], metric="cosine"))


def drawn(own: Vectors, kind: str, pictures: Path | None) -> tuple[list[object], dict[str, Any]]:
    """One map of all rows: how true it is, of rows that are no anchors too, and what it took."""
    spec = ClusterSpec(k=20, map=kind)
    clock, cpu = time.perf_counter(), time.process_time()
    made = make_fit({"text": sample_of(own.vectors)}, spec, semantic=False)
    fitted = time.process_time() - cpu
    at = places(made, own.vectors)
    seconds, cpu = time.perf_counter() - clock, time.process_time() - cpu
    half = make_fit({"text": sample_of(own.vectors[::2])}, spec, semantic=False)
    others = own.vectors[1::2]
    said = {
        "trust": trust(own.vectors, at),
        "trust_of_others": trust(others, places(half, others)),
        "seconds": seconds,
        "cpu": cpu,
        "cpu_of_placing": cpu - fitted,
    }
    if pictures:
        draw(at, made, own, pictures / f"{kind}-{len(at)}.png")
    line: list[object] = [f"{len(at):,} × {own.vectors.shape[1]}", kind]
    line += [f"{said['trust']:.3f}", f"{said['trust_of_others']:.3f}", f"{seconds:.1f}"]
    return [*line, f"{cpu:.1f}", f"{said['cpu_of_placing']:.2f}"], said


def moved(own: Vectors, kind: str) -> tuple[list[object], dict[str, Any]]:
    """How far the surviving rows go when 1 % are others, over the spread of the map."""
    spec = ClusterSpec(k=20, map=kind)
    change = max(1, round(CHANGED * len(own.vectors)))
    before, after = own.vectors[:-change], own.vectors[change:]
    old = make_fit({"text": sample_of(before)}, spec, semantic=False)
    new, _ = refit(old, {"text": sample_of(after)}, spec, semantic=False)
    first = places(old, before)[change:]
    again, last = (places(each, after)[: len(first)] for each in (old, new))
    spread = float(np.linalg.norm(first.std(axis=0)))
    said = {
        "by_the_fit": float(np.linalg.norm(first - again, axis=1).max()),
        "by_a_refit": float(np.median(np.linalg.norm(first - last, axis=1))) / spread,
        "for_no_map": float(np.median(np.linalg.norm(first - first[::-1], axis=1))) / spread,
    }
    return [f"{len(own.vectors):,}", kind, *(f"{value:.3f}" for value in said.values())], said


def draw(at: np.ndarray, made: Fit, own: Vectors, file: Path) -> None:
    """A picture of the map, coloured by cluster (`uv run --with matplotlib …`)."""
    import matplotlib.pyplot as plt

    file.parent.mkdir(parents=True, exist_ok=True)
    cluster = place(made.kinds["text"], own.vectors).cluster
    plt.figure(figsize=(10, 10))
    plt.scatter(at[:, 0], at[:, 1], c=cluster, s=2, cmap="tab20")
    plt.savefig(file, dpi=80)
    plt.close()


def main() -> int:
    """Draw, move, compare with the targets."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--quick", action="store_true", help="a fifth of the rows; not judged")
    asked.add_argument("--vectors", type=Path, help="a folder that keeps vectors between runs")
    asked.add_argument("--pictures", type=Path, help="a folder for pictures; needs matplotlib")
    options = asked.parse_args()
    rows, large = (QUICK, QUICK * 2) if options.quick else (ROWS, LARGE)
    some = kept(options.vectors, f"docstrings-{rows}", lambda: docstrings(rows))
    many = kept(options.vectors, f"static-{large}", lambda: docstrings(large, static=True))
    checks: list[Check] = []
    said: dict[str, Any] = {"quick": options.quick}
    lines = []
    for own, kind in ((some, "pca"), (some, "umap"), (many, "pca"), (many, "umap")):
        line, found = drawn(own, kind, options.pictures)
        lines.append(line)
        said[f"{len(own.vectors)} {kind}"] = found
        if own is some and kind == "umap":
            checks.append(Check("trustworthiness of UMAP", found["trust"], TRUSTED))
        if own is many:
            name = f"minutes for {len(own.vectors):,} rows, {kind}"
            checks.append(Check(name, found["seconds"] / 60, MINUTES, most=True))
    heads = ["rows", "map", "trust", "of rows unseen", "seconds", "CPU-s", "of it placing"]
    print_table(heads, lines, right=heads[2:])
    lines = []
    for kind in ("pca", "umap"):
        line, found = moved(some, kind)
        lines.append(line)
        said[f"{kind} moved"] = found
        checks.append(Check(f"{kind}: farthest any row goes", found["by_the_fit"], 0.0, most=True))
    heads = ["rows", "map", "1 % others, placed", "refit (median)", "rows at random"]
    print_table(heads, lines, right=heads[2:])
    print_checks(checks)
    print(json.dumps(said))
    return int(any(each.missed for each in checks) and not options.quick)


if __name__ == "__main__":
    sys.exit(main())
