"""Row expectations: each batch of a part is judged by itself, failing records become rejects."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from schemas.identity import RULES_VERSION, digest_json
from schemas.progress import SILENT, Progress
from schemas.reasons import expectation_reason
from schemas.refs import RecordsPart, RejectsRef
from tasks.store.batches import read_batches
from tasks.store.workdir import RejectsWriter, Store, excluded_rows, read_rejects_ref
from tasks.validate.expectation import Expectation, shortened
from tasks.validate.judge import judge
from tasks.validate.suite import Suite

ROWS_AT_ONCE = 16_384
"""A batch costs Great Expectations 30 ms whatever its size; this many rows cost about as much."""

_WHO = ["row", "source", "key", "kind", "uri"]


def validate_part(
    part: RecordsPart,
    excluded: Sequence[RejectsRef],
    suite: Suite,
    store: Store,
    progress: Progress = SILENT,
) -> RejectsRef:
    """The part's records that fail a row expectation, but those that `excluded` takes out already.

    A record is rejected once, for the first expectation of the suite that it fails.
    """
    left_out = excluded_rows(part.digest, excluded)
    name = "validate-" + digest_json(
        ["validate", RULES_VERSION, part.digest, left_out, part.source, suite.row_digest]
    )
    if (path := store.find("rejects", name)) is not None:
        progress.advance(part.records)
        return read_rejects_ref(path)
    expectations = suite.rows_of(part.source)
    with RejectsWriter(store, name, stage="validate", part=part.digest) as rejects:
        if not expectations:
            progress.advance(part.records)
        else:
            _judge_part(part, left_out, expectations, suite.origin, rejects, progress)
    return rejects.ref


def _judge_part(
    part: RecordsPart,
    left_out: Sequence[int],
    expectations: Sequence[Expectation],
    origin: str,
    rejects: RejectsWriter,
    progress: Progress,
) -> None:
    columns = list(dict.fromkeys([*_WHO, *(c for e in expectations for c in e.columns)]))
    gone = pa.array(left_out, pa.int64())
    for batch in read_batches(part.path, ROWS_AT_ONCE, columns):
        records = pa.table(batch)
        if len(gone):
            records = records.filter(pc.invert(pc.is_in(records["row"], gone)))
        if records.num_rows:
            _judge_batch(records, expectations, origin, rejects)
        progress.advance(batch.num_rows)


def _judge_batch(
    records: pa.Table, expectations: Sequence[Expectation], origin: str, rejects: RejectsWriter
) -> None:
    """Judge some records; only what fails is looked at one by one."""
    needed = list(dict.fromkeys(["row", *(c for e in expectations for c in e.columns)]))
    first: dict[int, tuple[Expectation, dict[str, object]]] = {}
    outcomes = judge(records.select(needed), expectations, origin)
    for expectation, outcome in zip(expectations, outcomes, strict=True):
        for row, values in outcome.failing.items():
            first.setdefault(row, (expectation, values))
    if not first:
        return
    failing = records.filter(pc.is_in(records["row"], pa.array(list(first), pa.int64())))
    for record in failing.select(_WHO).to_pylist():
        expectation, values = first[record["row"]]
        rejects.add(
            **record,
            reason=expectation_reason(expectation.type),
            detail=_detail(expectation, values),
        )


def _detail(expectation: Expectation, values: dict[str, object]) -> str:
    """`lang = 'xx'; expected value_set=['en', 'de']`."""
    shown = ", ".join(f"{column} = {_shown(values[column])}" for column in expectation.columns)
    expected = expectation.conditions or expectation.type.removeprefix("expect_")
    return f"{shown}; expected {expected}"


def _shown(value: object) -> str:
    return "null" if value is None else shortened(value)
