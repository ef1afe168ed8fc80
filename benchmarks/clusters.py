"""Are clusters as good as scikit-learn's full KMeans, for half of its CPU time, and do ids stay?

    labelled vectors ─┬ make_fit + place ─────────────┐
                      └ sklearn.cluster.KMeans(...) ──┴ V-measure, CPU-seconds, taking turns
    a fit, 1 % of the rows others ─┬ placed again ─┐
                                   └ refit ────────┴ share of the surviving rows with the same id

Run `uv run python benchmarks/clusters.py` (`--quick`: a tenth of the large tables, not judged;
`--vectors FOLDER` keeps the vectors there for the next run). The data lie in `$VECMILL_SHARED` or
`../shared`. Prints tables, then one line of JSON; exit code 1 when a figure misses its target.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from labelled_vectors import Vectors, ag_news, caltech101, kept, multiplied, planted

from flows.terminal import print_table
from schemas.spec import ClusterSpec
from tasks.cluster.choose_k import choose_k
from tasks.cluster.make_fit import Sample, make_fit, sample_rows
from tasks.cluster.refit import refit
from tasks.geometry.fit import KindFit
from tasks.geometry.place import place
from tasks.geometry.unit import unit_vectors

ROWS, QUICK_ROWS = 100_000, 10_000
TURNS = 3
"""Each takes so many turns; scikit-learn starts from another seed each time."""

OF_SKLEARN = 0.98
"""V-measure, over the mean of scikit-learn's turns."""

CPU = 0.5
"""CPU-seconds on `ROWS`, over scikit-learn's."""

AFTER_CHANGE, AFTER_REFIT = 1.0, 0.9
"""The share of surviving rows that keep their cluster id."""

CHANGED = 0.01


@dataclass(frozen=True)
class Check:
    """A figure and its target: at least that, or with `most` at most."""

    name: str
    value: float
    target: float
    most: bool = False

    @property
    def missed(self) -> bool:
        """Whether the target is not reached."""
        return self.value > self.target if self.most else self.value < self.target


def sample_of(vectors: np.ndarray, seed: int = 1) -> Sample:
    """As many of the rows as a fit takes, in the order of hashes drawn at random."""
    draw = np.random.default_rng(seed)
    hashes = draw.integers(0, 256, (len(vectors), 16), np.uint8).view("S16").ravel()
    first = np.argsort(hashes)[: sample_rows(vectors.shape[1])]
    return Sample(vectors[first], hashes[first], len(vectors))


def fit_of(vectors: np.ndarray, spec: ClusterSpec) -> KindFit:
    """A fit of these rows, clusters alone."""
    return make_fit({"text": sample_of(vectors)}, spec, semantic=False).kinds["text"]


def ours(vectors: np.ndarray, k: int) -> np.ndarray:
    """Cluster of each row: a fit of a sample, and all placed."""
    return place(fit_of(vectors, ClusterSpec(k=k, map=None)), vectors).cluster


def theirs(vectors: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Cluster of each row by scikit-learn: unit vectors, everything else as it comes."""
    from sklearn.cluster import KMeans

    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return KMeans(k, random_state=seed).fit_predict(unit)


def timed(work: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    """What it gives, and the CPU-seconds of all threads."""
    before = time.process_time()
    found = work()
    return found, time.process_time() - before


def against_sklearn(own: Vectors) -> tuple[list[object], dict[str, Any]]:
    """V-measure and CPU of both on the same rows, in turn."""
    from sklearn.metrics import v_measure_score

    figures: dict[str, list[tuple[float, float]]] = {"ours": [], "theirs": []}
    for turn in range(TURNS):
        works = {
            "theirs": lambda turn=turn: theirs(own.vectors, own.classes, turn),
            "ours": lambda: ours(own.vectors, own.classes),
        }
        for name, work in works.items():
            found, cpu = timed(work)
            figures[name].append((float(v_measure_score(own.labels, found)), cpu))
    mean = {name: np.array(each).mean(axis=0) for name, each in figures.items()}
    said = {
        "v": mean["ours"][0],
        "v_sklearn": mean["theirs"][0],
        "v_of_sklearn": mean["ours"][0] / mean["theirs"][0],
        "cpu": mean["ours"][1],
        "cpu_sklearn": mean["theirs"][1],
        "cpu_of_sklearn": mean["ours"][1] / mean["theirs"][1],
    }
    line: list[object] = [own.name, f"{len(own.vectors):,}", own.classes]
    line += [f"{said[name]:.3f}" for name in ("v", "v_sklearn", "v_of_sklearn")]
    line += [f"{said[name]:.2f}" for name in ("cpu", "cpu_sklearn", "cpu_of_sklearn")]
    return line, said


def left_alone(own: Vectors) -> tuple[list[object], dict[str, Any]]:
    """What `k: auto` and HDBSCAN find: clusters, the V-measure of rows in one, share in none."""
    from sklearn.metrics import v_measure_score

    k = choose_k(unit_vectors(sample_of(own.vectors).vectors))
    cluster = place(fit_of(own.vectors, ClusterSpec(k=k, map=None)), own.vectors).cluster
    dense = fit_of(own.vectors, ClusterSpec(method="hdbscan", map=None))
    found = place(dense, own.vectors).cluster
    inside = found >= 0
    said = {
        "k": k,
        "v": v_measure_score(own.labels, cluster),
        "hdbscan": len(dense.ids),
        "hdbscan_v": v_measure_score(own.labels[inside], found[inside]),
        "hdbscan_none": float(1 - inside.mean()),
    }
    line = [own.name, own.classes, k, f"{said['v']:.3f}", said["hdbscan"]]
    return [*line, f"{said['hdbscan_v']:.3f}", f"{said['hdbscan_none']:.0%}"], said


def ids_kept(own: Vectors, spec: ClusterSpec) -> tuple[list[object], dict[str, Any]]:
    """1 % of the rows leave and as many come: who keeps the id by the fit, and after a refit."""
    rows = len(own.vectors)
    change = max(1, round(CHANGED * rows))
    draw = np.random.default_rng(2)
    order = draw.permutation(rows)
    stays, comes = order[change:-change], order[-change:]
    before = np.concatenate([order[:change], stays])
    after = np.concatenate([stays, comes])
    old = make_fit({"text": sample_of(own.vectors[before])}, spec, semantic=False)
    first = place(old.kinds["text"], own.vectors[before]).cluster[change:]
    again = place(old.kinds["text"], own.vectors[after]).cluster[: len(stays)]
    new, moves = refit(old, {"text": sample_of(own.vectors[after])}, spec, semantic=False)
    last = place(new.kinds["text"], own.vectors[after]).cluster[: len(stays)]
    said = {
        "clusters": len(old.kinds["text"].ids),
        "after_change": float((first == again).mean()),
        "after_refit": float((first == last).mean()),
        "said_by_refit": moves[0].kept_share,
    }
    line = [own.name, spec.method, said["clusters"], f"{said['after_change']:.2%}"]
    return [*line, f"{said['after_refit']:.2%}", f"{said['said_by_refit']:.2%}"], said


def print_checks(checks: list[Check]) -> None:
    """Every figure beside its target."""
    lines = []
    for each in checks:
        limit = f"{'≤' if each.most else '≥'} {each.target:g}"
        lines.append([each.name, f"{each.value:.3f}", limit, "MISSED" if each.missed else "ok"])
    print_table(["figure", "value", "target", ""], lines)


def main() -> int:
    """Race, choose, change, compare with the targets."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--quick", action="store_true", help="a tenth of the rows; not judged")
    asked.add_argument("--vectors", type=Path, help="a folder that keeps vectors between runs")
    options = asked.parse_args()
    rows = QUICK_ROWS if options.quick else ROWS
    news = kept(options.vectors, "ag_news", ag_news)
    pictures = kept(options.vectors, "caltech101", caltech101)
    topics = planted(rows)
    many = multiplied(news, rows)
    checks: list[Check] = []
    said: dict[str, Any] = {"quick": options.quick, "rows": rows}
    lines = []
    for own in (news, pictures, topics, many):
        line, found = against_sklearn(own)
        lines.append(line)
        said[own.name] = found
        checks.append(Check(f"{own.name}: V over KMeans", found["v_of_sklearn"], OF_SKLEARN))
        if len(own.vectors) == rows:
            checks.append(Check(f"{own.name}: CPU over KMeans", found["cpu_of_sklearn"], CPU, True))
    heads = ["vectors", "rows", "k", "V", "V KMeans", "of it", "CPU-s", "CPU-s KMeans", "of it"]
    print_table(heads, lines, right=heads[1:])
    lines = []
    for own in (news, pictures, planted(QUICK_ROWS)):
        line, said[f"{own.name}, k not given"] = left_alone(own)
        lines.append(line)
    heads = ["vectors", "classes", "k: auto", "V", "HDBSCAN", "V of rows in one", "in none"]
    print_table(heads, lines, right=heads[1:])
    lines = []
    for own in (news, pictures, topics):
        for spec in (ClusterSpec(), ClusterSpec(k=20), ClusterSpec(method="hdbscan")):
            line, found = ids_kept(own, spec)
            lines.append(line)
            name = f"{own.name}, {spec.method}, {found['clusters']} clusters: ids"
            said[name] = found
            checks.append(Check(f"{name} after 1 %", found["after_change"], AFTER_CHANGE))
            if spec.method == "kmeans":
                checks.append(Check(f"{name} after a refit", found["after_refit"], AFTER_REFIT))
    heads = ["vectors", "method", "clusters", "ids after 1 %", "after a refit", "as it says"]
    print_table(heads, lines, right=heads[2:])
    print_checks(checks)
    print(json.dumps(said))
    return int(any(each.missed for each in checks) and not options.quick)


if __name__ == "__main__":
    sys.exit(main())
