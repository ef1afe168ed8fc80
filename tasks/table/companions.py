"""The tables beside a space's table: `<space>__builds` and `<space>__rejects`.

`builds` is a log that is only appended to: builds (published or refused), holds and what else was
decided, in the order in which it happened, whatever the clocks say. Lance retries concurrent
appends, so none is lost.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.arrow import REJECTS
from schemas.manifest import Manifest
from schemas.refs import RejectsRef
from tasks.table.attempts import (
    ATTEMPTS,
    Tally,
    count_attempts,
    known_attempts,
    tally,
    upgrade,
    with_attempts,
)
from tasks.table.dataset import STORAGE_VERSION, TableRef, ensure_table, try_open

BATCH_ROWS = 8_192
"""Rejects held in memory at a time."""

TIME = pa.timestamp("us", tz="UTC")

BUILDS = pa.schema(
    [
        pa.field("build_id", pa.string()),  # null for holds
        # build | hold | release-hold | rollback | accept | forget
        pa.field("event", pa.string(), nullable=False),
        pa.field("at", TIME, nullable=False),
        pa.field("release", pa.string()),  # of a published build
        pa.field("version", pa.int64()),
        pa.field("published", pa.bool_()),
        pa.field("refused_by", pa.list_(pa.string())),
        pa.field("started_at", TIME),
        pa.field("finished_at", TIME),
        pa.field("input_hash", pa.string()),
        pa.field("manifest", pa.string()),  # JSON
        pa.field("after", pa.string()),  # JSON: what came after the commit
        pa.field("reason", pa.string()),  # of a hold
        pa.field("who", pa.string()),
    ]
)

TABLE_REJECTS = pa.schema(
    [
        pa.field("build_id", pa.string(), nullable=False),
        pa.field("at", TIME, nullable=False),
        *(field for field in REJECTS if field.name not in ("part", "row")),
        ATTEMPTS,
    ]
)
"""`<space>__rejects`: all rejects of the state that each build found."""


@dataclass(frozen=True)
class Hold:
    """Why builds do not publish, by whom and since when."""

    reason: str
    who: str
    at: datetime


@dataclass(frozen=True)
class BuildRecord:
    """One build of the log."""

    manifest: Manifest
    at: datetime
    after: dict[str, Any]


def append_build(ref: TableRef, manifest: Manifest, after: dict[str, Any] | None = None) -> None:
    """Write a build into `<space>__builds`; `after`: what came after the commit."""
    append_event(
        ref,
        build_id=manifest.build_id,
        event="build",
        release=manifest.release,
        version=manifest.version,
        published=manifest.published,
        refused_by=list(manifest.refused_by),
        started_at=manifest.started_at,
        finished_at=manifest.finished_at,
        input_hash=manifest.input_hash,
        manifest=manifest.to_json(),
        after=json.dumps(after or {}, default=str),
    )


def read_builds(ref: TableRef, build_id: str | None = None) -> list[BuildRecord]:
    """The builds in the order in which they ended, one record each; or that of one of them."""
    where = "event = 'build'"
    if build_id is not None:
        where += f" AND build_id = {sql_string(build_id)}"
    rows = _scan(ref.companion("builds"), ["manifest", "at", "after"], where)
    found = [
        BuildRecord(Manifest.from_json(row["manifest"]), row["at"], json.loads(row["after"]))
        for row in rows.to_pylist()
    ]
    # A published build that seemed killed may have been recorded by another, and then by itself.
    return list({record.manifest.build_id: record for record in found}.values())


def set_hold(ref: TableRef, reason: str, who: str) -> None:
    """From now on builds stage and report but do not publish."""
    append_event(ref, event="hold", reason=reason, who=who)


def release_hold(ref: TableRef, reason: str, who: str) -> None:
    """Builds publish again."""
    append_event(ref, event="release-hold", reason=reason, who=who)


def current_hold(ref: TableRef) -> Hold | None:
    """The hold that is in force: the last event of that kind, unless it was released."""
    events = read_events(ref, "hold", "release-hold")
    if not events or events[-1]["event"] == "release-hold":
        return None
    last = events[-1]
    return Hold(last["reason"], last["who"], last["at"])


def append_event(ref: TableRef, **values: object) -> None:
    """Write one row of `BUILDS`; what is not given is null, and `at` is now."""
    row = {"at": datetime.now(UTC), **values}
    batch = pa.RecordBatch.from_pylist([row], BUILDS)
    append_rows(ref.companion("builds"), BUILDS, [batch])


def read_events(ref: TableRef, *kinds: str) -> list[dict[str, Any]]:
    """The events of these kinds in the order in which they happened, without manifests."""
    columns = [name for name in BUILDS.names if name != "manifest"]
    where = " OR ".join(f"event = {sql_string(kind)}" for kind in kinds)
    return _scan(ref.companion("builds"), columns, where).to_pylist()


def append_rejects(
    ref: TableRef,
    build_id: str,
    refs: Sequence[RejectsRef],
    retried: frozenset[str] = frozenset(),
) -> int:
    """Stream a build's rejects into `<space>__rejects`, as one commit; returns how many.

    Those that the last recorded builds had carry their number of attempts over; where the build
    tried them again, because of a reason in `retried`, it is one more.
    """
    refs = [r for r in refs if r.records or r.items]
    if refs:
        companion = ref.companion("rejects")
        # What was tried once and is not tried again now is as good as unknown, and mostly all.
        known = known_attempts(last_rejects(ref), least=1 if retried else 2)
        upgrade(companion, ensure_table(companion, TABLE_REJECTS))
        batches = _reject_batches(build_id, refs, known, retried)
        append_rows(companion, TABLE_REJECTS, batches)
    return sum(r.records + r.items for r in refs)


def last_rejects(ref: TableRef, reasons: frozenset[str] = frozenset()) -> Iterator[pa.RecordBatch]:
    """The rejects of the last build that was not refused, and of the last that judged an input.

    Two builds, where they are not the same: one that was refused early knows nothing of the later
    stages. Only of these `reasons`, where there are any; columns as of `read_rejects`.
    """
    for build in judging_builds(ref):
        for batch in read_rejects(ref, build):
            yield (
                batch
                if not reasons
                else batch.filter(pc.is_in(batch["reason"], pa.array(sorted(reasons), pa.string())))
            )


def judging_builds(ref: TableRef) -> list[str]:
    """The last build that was not refused, and the last that judged an input."""
    builds = [event for event in read_events(ref, "build") if event["input_hash"]]
    stood = [build for build in builds if not build["refused_by"]]
    return list(dict.fromkeys(b["build_id"] for b in (*stood[-1:], *builds[-1:])))


def tally_retry(ref: TableRef, refs: Sequence[RejectsRef], retried: frozenset[str]) -> Tally:
    """What a retry that ends with the rejects `refs` tried; to ask before the build is recorded."""
    frames = (pl.read_parquet(r.path) for r in refs if r.records or r.items)
    return tally(frames, known_attempts(last_rejects(ref, retried)), retried)


def drop_rejects(ref: TableRef, build_id: str) -> None:
    """Take back what `append_rejects` wrote of a build that did not publish after all."""
    dataset = try_open(ref.companion("rejects"))
    if dataset is not None:
        dataset.delete(f"build_id = {sql_string(build_id)}")


def copy_rejects(
    ref: TableRef,
    build_id: str,
    to: str,
    keep: Callable[[pa.RecordBatch], pa.Array] | None = None,
) -> None:
    """Give the build `to` the rejects of `build_id`, once: its release has the same state.

    `keep`: which rows of a batch (bool `[n]`); None: all.
    """
    companion = ref.companion("rejects")
    dataset = try_open(companion)
    if dataset is None or dataset.count_rows(f"build_id = {sql_string(to)}"):
        return
    upgrade(companion, dataset)
    found = read_rejects(ref, build_id)
    kept = found if keep is None else (batch.filter(keep(batch)) for batch in found)
    batches = (
        batch.set_column(
            batch.schema.get_field_index("build_id"),
            TABLE_REJECTS.field("build_id"),
            pa.repeat(pa.scalar(to, pa.string()), batch.num_rows),
        ).cast(TABLE_REJECTS)
        for batch in kept
        if batch.num_rows
    )
    if (first := next(batches, None)) is not None:
        append_rows(companion, TABLE_REJECTS, chain([first], batches))


def read_rejects(
    ref: TableRef, build_id: str, *, source: str | None = None, reason: str | None = None
) -> Iterator[pa.RecordBatch]:
    """The rejects of one build, batch by batch, perhaps of one source or reason.

    Batches have the columns of `TABLE_REJECTS`; none where nothing was ever rejected.
    """
    dataset = try_open(ref.companion("rejects"))
    if dataset is None:
        return
    wanted = {"build_id": build_id, "source": source, "reason": reason}
    where = " AND ".join(f"{k} = {sql_string(v)}" for k, v in wanted.items() if v is not None)
    columns = [name for name in TABLE_REJECTS.names if name in dataset.schema.names]
    found = dataset.scanner(columns=columns, filter=where, scan_in_order=True)
    yield from map(with_attempts, found.to_batches())


def count_rejects(ref: TableRef, build_id: str) -> pl.DataFrame:
    """Rejects of one build by source, level, stage and reason: those columns and `count`."""
    names = ["source", "level", "stage", "reason"]
    found = _scan(ref.companion("rejects"), names, f"build_id = {sql_string(build_id)}")
    if not found.num_columns:
        found = pa.schema([TABLE_REJECTS.field(n) for n in names]).empty_table()
    counts = pl.DataFrame(found).group_by(names).agg(count=pl.len())
    return counts.sort("count", *names, descending=[True, *[False] * len(names)])


def sql_string(value: str) -> str:
    """`value` as an SQL literal: quotes doubled."""
    return "'" + value.replace("'", "''") + "'"


def append_rows(ref: TableRef, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Stream batches of `schema` into a companion as one commit; the table is made if need be."""
    import lance

    dataset = ensure_table(ref, schema)
    lance.write_dataset(
        pa.RecordBatchReader.from_batches(schema, batches),
        dataset.uri,
        mode="append",
        data_storage_version=STORAGE_VERSION,
        storage_options=ref.options(),
    )


def _reject_batches(
    build_id: str, refs: Sequence[RejectsRef], known: pl.DataFrame, retried: frozenset[str]
) -> Iterator[pa.RecordBatch]:
    now = datetime.now(UTC)
    names = [name for name in REJECTS.names if name in TABLE_REJECTS.names]
    for ref in refs:
        for batch in pq.ParquetFile(ref.path).iter_batches(BATCH_ROWS, columns=names):
            size = batch.num_rows
            columns = [
                pa.repeat(pa.scalar(build_id, pa.string()), size),
                pa.repeat(pa.scalar(now, TIME), size),
                *(batch.column(name) for name in names),
                count_attempts(pl.DataFrame(batch), known, retried).to_arrow(),
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=TABLE_REJECTS)


def _scan(ref: TableRef, columns: Sequence[str], where: str) -> pa.Table:
    """Matching rows in the order in which they were appended; no columns where no table is."""
    dataset = try_open(ref)
    if dataset is None:
        return pa.table({})
    return dataset.to_table(columns=list(columns), filter=where, scan_in_order=True)
