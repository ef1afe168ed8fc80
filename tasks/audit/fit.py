"""Whether a fit still suits the rows, what a refit has moved, whether rows lie where it puts them.

    fit:<kind>  the share of rows beyond its reach
    refit       the share of rows that keep their cluster
    fitted      rows that are elsewhere: of a release, after the fact

All only warn: clusters and map of a fit that has grown old are coarse, not wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from schemas.manifest import AuditResult
from tasks.audit.gates import EXAMPLES, READING, SEED
from tasks.geometry.fit import AnchorMap, Fit, KindFit
from tasks.table.dataset import TableRef, open_version
from tasks.table.vectors import matrix, vectors_at

FAR_SHARE = 0.1
"""Share of rows beyond a fit's reach from which on a refit is advised: the reach holds 99 % of the
sample that the fit was made from, so ten times as many rows are far as were then."""

FEWEST_ROWS = 100
"""Fewer rows than this say nothing: one far row would be more than the share at the outset."""

SAMPLE_ROWS = 10_000
"""Rows of a kind that are looked at: a share of 0.1 is then known to 0.006."""

KEPT_SHARE = 0.9
"""Share of rows that keep the id of their cluster in a refit, below which it says so: the issue's
limit for a fit that is made anew from about the same rows."""

LARGEST = 5
"""Groups of rows that moved together which are named, the largest first."""


def audit_fit(ref: TableRef, version: int, fit: Fit) -> list[AuditResult]:
    """`fit:<kind>` for each kind with clusters: the share of its rows beyond the fit's reach."""
    dataset = open_version(ref, version)
    return [_reach(dataset, own) for kind, own in sorted(fit.kinds.items()) if len(own.centroids)]


def _reach(dataset: Any, own: KindFit) -> AuditResult:
    from tasks.geometry.place import place

    addresses = _addresses(dataset, own.kind)
    rows = len(addresses)
    value, says = None, f"only {rows} rows, {FEWEST_ROWS} are needed to judge"
    if rows >= FEWEST_ROWS:
        if rows > SAMPLE_ROWS:
            draw = np.random.default_rng(SEED)
            addresses = np.sort(draw.choice(addresses, SAMPLE_ROWS, replace=False))
        distance = place(own, vectors_at(dataset, addresses)).distance
        value = float(np.mean(distance > own.reach))
        says = f"{value:.1%} of {len(addresses):,} rows lie beyond the reach of the fit"
    passed = value is None or value <= FAR_SHARE
    advice = "" if passed else "; make a new one with `vecmill maintain SPEC --refit`"
    return AuditResult(
        name=f"fit:{own.kind}",
        value=value,
        threshold=FAR_SHARE,
        passed=passed,
        severity="warn",
        detail=f"{own.kind}: {says}, at most {FAR_SHARE:.0%} may (1 % of the {own.rows:,} rows "
        f"that it was made from did){advice}",
    )


def _addresses(dataset: Any, kind: str) -> np.ndarray:
    """Row addresses (uint64) of the rows of a kind."""
    where = f"kind = '{kind}'"
    found = dataset.scanner(columns=[], filter=where, with_row_address=True, **READING).to_table()
    return np.sort(found.column("_rowaddr").to_numpy())


def audit_fitted(ref: TableRef, version: int, fit: Fit) -> AuditResult:
    """`fitted`: the rows of the version that are not where the fit puts their vector.

    On a map of anchors a row's place may follow from one that was forgotten since: there only
    clusters are compared.
    """
    rows, moved, examples = 0, 0, []
    columns = ["id", "kind", "cluster", "x", "y", "vector"]
    for batch in open_version(ref, version).scanner(columns=columns, **READING).to_batches():
        rows += batch.num_rows
        off = _misplaced(batch, fit)
        moved += int(off.sum())
        ids = batch.column("id").filter(pa.array(off))
        examples += ids[: EXAMPLES - len(examples)].to_pylist()
    named = f"; for example {', '.join(examples)}" if examples else ""
    return AuditResult(
        name="fitted",
        value=float(moved),
        threshold=0.0,
        passed=moved == 0,
        severity="warn",
        detail=f"{moved:,} of {rows:,} rows are not where {fit.fit_id} puts their vector{named}; "
        "expected 0, as nothing else moves them: a build with another `cluster` section, and then "
        "with this one again, writes every row anew",
    )


def _misplaced(batch: pa.RecordBatch, fit: Fit) -> np.ndarray:
    """Which rows have another cluster, or another place on a plane: bool `[n]`."""
    from tasks.geometry.place import place

    kinds = batch.column("kind").to_numpy(zero_copy_only=False)
    have = {name: _floats(batch.column(name)) for name in ("cluster", "x", "y")}
    vectors = matrix(batch.column("vector"))
    off = np.zeros(batch.num_rows, bool)
    for kind in set(kinds.tolist()):
        own, here = fit.kinds.get(kind), kinds == kind
        if own is None:
            off |= here & (have["cluster"] != -1)
            continue
        placed = place(own, vectors[here])
        names = ["cluster"] if isinstance(own.map, AnchorMap) else ["cluster", "x", "y"]
        for name in names:
            same = np.equal(have[name][here], getattr(placed, name).astype(np.float64))
            both_none = np.isnan(have[name][here]) & np.isnan(getattr(placed, name))
            off[here] |= ~(same | both_none)
    return off


def _floats(column: pa.Array) -> np.ndarray:
    """float64 `(n)` of a column of numbers; null becomes NaN."""
    return column.cast(pa.float64()).to_numpy(zero_copy_only=False)


def audit_refit(ref: TableRef, before: int, after: int) -> AuditResult:
    """`refit`: the share of rows that have the same cluster in both versions, and what moved."""
    old, new = (_clusters(ref, version) for version in (before, after))
    both = old.join(new, on="id", suffix="_new")
    moved = both.filter(pl.col("cluster") != pl.col("cluster_new"))
    share = 1.0 - moved.height / both.height if both.height else 1.0
    groups = moved.group_by("kind", "cluster", "cluster_new").len()
    groups = groups.sort("len", "kind", "cluster", "cluster_new", descending=[True, *[False] * 3])
    named = [f"{rows:,} from {a} to {b}" for _, a, b, rows in groups.head(LARGEST).iter_rows()]
    largest = f"; most of them: {', '.join(named)}" if named else ""
    return AuditResult(
        name="refit",
        value=share,
        threshold=KEPT_SHARE,
        passed=share >= KEPT_SHARE,
        severity="warn",
        detail=f"{share:.1%} of {both.height:,} rows keep the id of their cluster{_ids(old, new)}"
        f"{largest}",
    )


def _clusters(ref: TableRef, version: int) -> pl.DataFrame:
    found = open_version(ref, version).to_table(columns=["id", "kind", "cluster"])
    return pl.DataFrame(found)


def _ids(old: pl.DataFrame, new: pl.DataFrame) -> str:
    """How many clusters stay, went and came, in words."""
    was, now = (
        set(rows.filter(pl.col("cluster") >= 0).select("kind", "cluster").unique().iter_rows())
        for rows in (old, new)
    )
    return f"; {len(was & now)} clusters stay, {len(was - now)} went, {len(now - was)} came"
