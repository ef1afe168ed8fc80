"""Records that no item is left of: nothing may point to them, so nothing is compared with them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import polars as pl

from schemas.identity import digest_json
from schemas.refs import ItemsPart, RecordsPart, RejectsRef
from tasks.store.items import read_items
from tasks.store.workdir import RejectsWriter, Store


def lost_records(
    parts: Sequence[RecordsPart],
    items: Sequence[ItemsPart],
    rejected: Collection[bytes],
    store: Store,
) -> RejectsRef:
    """The records of `parts` all of whose items hold `rejected` contents.

    As rejects of records, which is what `find_near` leaves out: the items themselves are counted
    where they are rejected, and these are not.
    """
    record = ["source", "key"]
    found = read_items(items, [*record, "content_hash"])
    gone = pl.col("content_hash").is_in(list(rejected))
    lost = found.filter(gone).join(found.filter(~gone), on=record, how="anti").select(record)
    lost = lost.unique().sort(record)
    seen = sorted(part.digest for part in parts)
    name = digest_json(["lost", seen, lost.rows()])
    with RejectsWriter(store, f"lost-{name}", stage="embed", reason="no-item-left") as writer:
        for part in parts:
            rows = pl.scan_parquet(part.path).select("row", "source", "key", "kind", "uri")
            mine = lost.filter(pl.col("source") == part.source)
            if mine.height:
                table = rows.join(mine.lazy(), on=record).collect().to_arrow()
                writer.add_table(table.append_column("part", [[part.digest] * table.num_rows]))
    return writer.ref
