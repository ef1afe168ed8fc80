"""Guards that look at a build as a whole: a source shrank or vanished, a table embedded again."""

from __future__ import annotations

import polars as pl

from flows.gather import State
from flows.outcome import Made
from flows.standing import Standing
from schemas.manifest import AuditResult
from schemas.refs import PlanRef
from schemas.spec import SpaceSpec

AGAIN_SHARE = 0.5
"""DESIGN: a build that embeds more than half of a published table again wants `--yes`."""


def shrink_verdicts(spec: SpaceSpec, state: State, standing: Standing) -> list[AuditResult]:
    """`max_shrink:<source>` for each source that the standing release knows.

    Records that gave way to another of the same key, or were forgotten, are no loss when they go.
    """
    if standing.release is None:
        return []
    before = {s.name: s for s in standing.release.manifest.sources}
    verdicts = []
    for source in state.sources:
        old = before.get(source.name)
        if old is None or not old.wanted:
            continue
        was, here = old.wanted, source.wanted
        if "repeated" not in old.model_fields_set:  # by a vecmill that did not count them
            here = source.records
        limit = spec.source(source.name).max_shrink
        lost = max(was - here, 0) / was
        verdicts.append(
            AuditResult(
                name=f"max_shrink:{source.name}",
                value=lost,
                threshold=limit,
                passed=lost <= limit,
                severity="refuse",
                detail=(
                    f"source {source.name!r} has {here:,} records, {was:,} in "
                    f"{standing.release.name}: it lost {lost:.1%}, at most {limit:.1%} may go; "
                    "see whether the source is whole, or raise its max_shrink"
                ),
            )
        )
    return verdicts


def embedding_verdicts(spec: SpaceSpec, made: Made) -> list[AuditResult]:
    """`max_reject_share:<source>:items` for each source with items that could not be embedded.

    Files that vanish between reading and embedding must not empty the table: what holds for the
    records of a source holds for its items, too.
    """
    if made.item_rejects is None or made.state is None:
        return []
    limit = spec.expectations.max_reject_share
    lost = pl.read_parquet(made.item_rejects.path, columns=["source", "id", "reason", "detail"])
    verdicts = []
    for (source,), rejects in lost.group_by("source", maintain_order=True):
        items = sum(part.items for part in made.state.items if part.source == source)
        share = rejects.height / items
        first = rejects.row(0, named=True)
        verdicts.append(
            AuditResult(
                name=f"max_reject_share:{source}:items",
                value=share,
                threshold=limit,
                passed=share <= limit,
                severity="refuse",
                detail=(
                    f"{rejects.height:,} of {items:,} items of source {source!r} could not be "
                    f"embedded ({share:.1%}), at most {limit:.1%} may; the first, {first['id']!r}: "
                    f"{first['reason']} ({first['detail']}); see whether the source is whole and "
                    "build again"
                ),
            )
        )
    return verdicts


def needs_yes(made: Made) -> str | None:
    """Why the build wants `--yes`, or None.

    Embedded *again* are rows of records that stood and stand, and now need another vector: new
    documents are not, however many.
    """
    plan = made.plan
    assert plan is not None
    rows = sum(plan.classes.values()) - plan.classes["new"]
    again = min(plan.to_embed, plan.classes["changed"] + plan.classes["removed"])
    if again > AGAIN_SHARE * rows:
        again = min(plan.to_embed, _rows_made_anew(plan))
    if again <= AGAIN_SHARE * rows:
        return None
    return (
        f"{again:,} of {rows:,} published rows would be embedded again (more than "
        f"{AGAIN_SHARE:.0%}); if that is meant, run again with --yes (overrides.yes)"
    )


def needs_build(made: Made) -> str | None:
    """Why a refit must wait for a build, or None: it is a release of its own.

    Verdicts may seem to change as long as rows are not judged by their vectors: no reason.
    """
    plan = made.plan
    assert plan is not None
    classes = {k: n for k, n in plan.classes.items() if n and k not in ("unchanged", "rejudged")}
    if not classes and not plan.overwrite:
        return None
    counts = [f"{n:,} {name.replace('_', '-')}" for name, n in classes.items()]
    what = ", ".join(counts) or "another spec"
    return (
        f"there is something to build ({what}), and a refit is a release of its own: expected what "
        "is published; run `vecmill build`, then `vecmill maintain --refit` again"
    )


def _rows_made_anew(plan: PlanRef) -> int:
    """Base rows that change, or leave for others of the same record (`#` begins the chunk)."""
    rows = pl.read_parquet(plan.path, columns=["id", "class"]).with_columns(
        record=pl.col("id").str.split("#").list.first()
    )
    stand = rows.filter(pl.col("class") != "removed").select("record").unique()
    gone = rows.filter(pl.col("class") == "removed").join(stand, on="record", how="semi")
    return plan.classes["changed"] + gone.height
