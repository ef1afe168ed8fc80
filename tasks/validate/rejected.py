"""What rejects files say about a state: which rows they take out, and how many of each source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.reasons import OUTSIDE_SHARE
from schemas.refs import RejectsRef
from tasks.validate.expectation import shortened

EXAMPLES = 3
"""Rejects shown in a verdict."""


@dataclass(frozen=True)
class SourceRejects:
    """The rejected records of one source."""

    records: int = 0
    examples: tuple[str, ...] = ()


def rows_taken_out(rejects: Sequence[RejectsRef]) -> dict[str, pa.Array]:
    """The rows that are no longer usable, by the digest of their part."""
    found: dict[str, list[pa.Array]] = {}
    for ref in rejects:
        if not ref.records:
            continue
        table = pq.read_table(ref.path, columns=["part", "row"]).drop_null()
        for part in table["part"].unique().to_pylist():
            rows = table.filter(pc.equal(table["part"], part))["row"].combine_chunks()
            found.setdefault(part, []).append(rows)
    return {part: pa.concat_arrays(rows) for part, rows in found.items()}


def count_rejects(rejects: Sequence[RejectsRef]) -> dict[str, SourceRejects]:
    """How many records of each source were rejected, with some examples."""
    counts: dict[str, int] = {}
    examples: dict[str, list[str]] = {}
    for ref in rejects:
        if not ref.records:
            continue
        table = pq.read_table(ref.path, columns=["source", "key", "level", "reason", "detail"])
        counted = pc.and_(
            pc.equal(table["level"], "record"),
            pc.invert(pc.is_in(table["reason"], pa.array(OUTSIDE_SHARE))),
        )
        table = table.filter(counted)
        for each in table["source"].value_counts().to_pylist():
            source = each["values"]
            counts[source] = counts.get(source, 0) + each["counts"]
            shown = examples.setdefault(source, [])
            mine = table.filter(pc.equal(table["source"], source)).slice(0, EXAMPLES - len(shown))
            shown += [_example(reject) for reject in mine.to_pylist()]
    return {source: SourceRejects(n, tuple(examples[source])) for source, n in counts.items()}


def _example(reject: dict[str, str | None]) -> str:
    key = "(no key)" if reject["key"] is None else shortened(reject["key"])
    detail = f" ({reject['detail']})" if reject["detail"] else ""
    return f"{key}: {reject['reason']}{detail}"
