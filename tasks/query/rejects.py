"""Rejects by stage and reason, with the first few of each: streamed, whatever their number.

batches of rejects → groups (level, stage, reason) with counts and examples, largest first
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from schemas.reasons import MEANING, RETRIABLE, Reason
from tasks.table.attempts import IDENTITY, with_attempts

EXAMPLES = 5
"""Examples shown of each reason."""

_GROUP = ["level", "stage", "reason"]
_SHOWN = ["source", "key", "id", "detail", "uri", "position"]
COLUMNS = [*_GROUP, *_SHOWN, "attempts"]
"""What is read of the rejects: columns of `tasks.table.companions.TABLE_REJECTS`."""

STAGES = ["ingest", "validate", "chunk", "embed"]
"""The order in which stages reject."""


@dataclass(frozen=True)
class RejectExample:
    """One rejected record or item."""

    source: str
    key: str | None
    id: str | None
    detail: str | None
    uri: str
    position: int | None
    attempts: int = 1  # how often it was tried


@dataclass(frozen=True)
class RejectGroup:
    """Every reject of one stage and reason; `examples` are the first by source, file and place."""

    stage: str
    level: str
    reason: str
    count: int
    examples: tuple[RejectExample, ...] = ()

    @property
    def retriable(self) -> bool:
        """Whether trying again may help although neither the record nor the spec changes."""
        return self.reason in RETRIABLE

    @property
    def meaning(self) -> str:
        """The reason in words."""
        if self.reason.startswith("expectation:"):
            return "the record does not meet the expectation of that name"
        try:
            return MEANING[Reason(self.reason)]
        except ValueError:
            return ""


def group_rejects(
    batches: Iterable[pa.RecordBatch], *, examples: int = EXAMPLES
) -> tuple[RejectGroup, ...]:
    """Count rejects by (stage, level, reason) and keep the first `examples` of each.

    `batches` hold at least `COLUMNS`, those straight from a build without attempts. Groups come by
    stage, then by falling count; the result does not depend on how the rows are cut into batches.
    """
    counts: pl.DataFrame | None = None
    shown: pl.DataFrame | None = None
    for batch in batches:
        frame = pl.DataFrame(pl.from_arrow(with_attempts(batch))).select(COLUMNS)
        counted = frame.group_by(_GROUP).agg(count=pl.len().cast(pl.Int64))
        counts = counted if counts is None else pl.concat([counts, counted])
        counts = counts.group_by(_GROUP).agg(pl.col("count").sum())
        shown = _first(frame if shown is None else pl.concat([shown, frame]), examples)
    if counts is None or shown is None:
        return ()
    by_group: dict[tuple[object, ...], list[RejectExample]] = {}
    for row in shown.rows():
        by_group.setdefault(row[:3], []).append(RejectExample(*row[3:]))
    groups = [
        RejectGroup(
            stage=stage,
            level=level,
            reason=name,
            count=count,
            examples=tuple(by_group.get((level, stage, name), ())),
        )
        for level, stage, name, count in counts.select(*_GROUP, "count").rows()
    ]
    return tuple(sorted(groups, key=_place))


def healed(
    before: Iterable[pa.RecordBatch], after: Iterable[pa.RecordBatch]
) -> list[pa.RecordBatch]:
    """The rejects of `before`, each once, that are not among those of `after`."""
    frames = [pl.DataFrame(pl.from_arrow(batch)).select(COLUMNS) for batch in before]
    if not frames:
        return []
    gone = pl.concat(frames).unique(IDENTITY, keep="last", maintain_order=True)
    for batch in after:
        now = pl.DataFrame(pl.from_arrow(batch)).select(IDENTITY)
        gone = gone.join(now, on=IDENTITY, how="anti", nulls_equal=True, maintain_order="left")
    return gone.to_arrow().to_batches()


def _first(rejects: pl.DataFrame, examples: int) -> pl.DataFrame:
    """The first `examples` of each group by source, file and place in it."""
    ordered = rejects.sort("source", "uri", "position", "key", "id", "detail", nulls_last=True)
    return ordered.group_by(_GROUP, maintain_order=True).head(examples).select(COLUMNS)


def _place(group: RejectGroup) -> tuple[int, int, str, str]:
    stage = STAGES.index(group.stage) if group.stage in STAGES else len(STAGES)
    return stage, -group.count, group.reason, group.level
