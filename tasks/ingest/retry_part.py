"""Read again what a part had to reject, and nothing else.

    rejects of a reason to retry ─ none → the part as it stands
      files of one record each     ─ those files alone are opened → put between the good records
      a table or an archive        ─ read again whole, and taken only where it is better

A retry never makes a part worse: what was read well stays, whatever the disk says today. Where
nothing heals the records keep their name, so that no later stage has anything to do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.progress import SILENT, Progress
from schemas.refs import PartSpec, RecordsPart, RejectsRef
from tasks.ingest.grouping import holds_many
from tasks.ingest.read_part import (
    GoneError,
    RecordsWriter,
    judged_batches,
    read_part,
    records_part,
    rejects_name,
    rejects_writer,
    settle,
    write_part,
)
from tasks.ingest.readings import Reading, draft_reading, keep_reading, standing_reading
from tasks.store.workdir import Store

MERGED_AT_ONCE = 1_024
"""Records of the standing file that are held while healed ones are put between them."""


def retry_part(
    part: PartSpec, retried: Collection[str], store: Store, progress: Progress = SILENT
) -> RecordsPart:
    """The part, after its rejects of the reasons `retried` were read once more.

    A part that nobody has read yet is read as ever.
    """
    standing = read_part(part, store, progress)
    if not standing.rejects.records:
        return standing
    rejects = pl.read_parquet(standing.rejects.path)
    again = rejects.filter(pl.col("reason").is_in(list(retried)))
    if again.is_empty():
        return standing
    with draft_reading(store) as draft:
        if _one_record_each(part, standing):
            rows = sorted(again["row"].to_list())
            return _retry_files(part, standing, rejects, rows, store, draft)
        return _retry_whole(part, standing, rejects, store, draft, progress)


def _one_record_each(part: PartSpec, standing: RecordsPart) -> bool:
    """Whether row `i` of the part is its file `i`."""
    several = any(holds_many(file, part.source.kind) for file in part.files)
    return not several and standing.records + standing.rejects.records == len(part.files)


def _retry_whole(
    part: PartSpec,
    standing: RecordsPart,
    rejects: pl.DataFrame,
    store: Store,
    draft: Reading,
    progress: Progress,
) -> RecordsPart:
    """Read all of it; taken where it has every record that stands, and others."""
    try:
        read = write_part(part, store, draft, progress)
    except GoneError:
        return standing
    if read.records > standing.records:
        before, after = (pl.read_parquet(p.path, columns=["key"]) for p in (standing, read))
        if before.join(after, on="key", how="anti").is_empty():
            return settle(part, read, store, standing_reading(store, part.digest))
    return _unhealed(part, standing, rejects, read.rejects, store)


def _retry_files(
    part: PartSpec,
    standing: RecordsPart,
    rejects: pl.DataFrame,
    rows: list[int],
    store: Store,
    draft: Reading,
) -> RecordsPart:
    """Open the files of these rows alone; the others' records and rejects stand."""
    refused: dict[int, dict[str, Any]] = {row["row"]: row for row in rejects.iter_rows(named=True)}
    healed: list[pa.Table] = []
    for row in rows:
        alone = replace(part, files=(part.files[row],))
        try:
            batches = list(judged_batches(alone, SILENT, row))
        except GoneError:
            continue  # it stays the reject that it was
        for table, again in batches:
            del refused[row]
            refused.update((row, reject) for reject in again)
            healed.append(table)
    with rejects_writer(part, store, draft.rejects) as writer:
        for row in sorted(refused):
            writer.add(**refused[row])
    usable = pa.concat_tables(healed).sort_by("row") if healed else None
    if usable is None or not usable.num_rows:
        return _unhealed(part, standing, rejects, writer.ref, store)
    with store.create("records", draft.records) as path, RecordsWriter(path, part) as records:
        for merged in _merged(standing.path, usable):
            records.add(merged)
    path = store.path("records", draft.records)
    read = records_part(part, draft, path, records.rows, writer.ref)
    return settle(part, read, store, standing_reading(store, part.digest))


def _merged(path: str, healed: pa.Table) -> Iterator[pa.Table]:
    """The records of a file and the healed ones between them, in the order of their rows."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(MERGED_AT_ONCE):
            last = batch.column("row")[-1].as_py()
            earlier = sum(row < last for row in healed["row"].to_pylist())
            yield pa.concat_tables([pa.table(batch), healed.slice(0, earlier)]).sort_by("row")
            healed = healed.slice(earlier)
    yield healed


def _unhealed(
    part: PartSpec, standing: RecordsPart, before: pl.DataFrame, found: RejectsRef, store: Store
) -> RecordsPart:
    """The part as it stands; if the same records are rejected for another reason by now, with it.

    The records keep their name, since nothing behind them changes.
    """
    after = pl.read_parquet(found.path)
    if not before["row"].equals(after["row"]) or before.equals(after):
        return standing
    rejects = store.path("rejects", rejects_name(part, found))
    Path(found.path).replace(rejects)
    now = standing_reading(store, part.digest)
    reading = Reading(standing.digest, rejects.stem, standing.records)
    keep_reading(store, part.digest, reading, now)
    ref = replace(found, path=str(rejects))
    return records_part(part, reading, Path(standing.path), standing.records, ref)
