"""Published records that no file holds any more, as documents again: their chunks put together.

Between two chunks lies nothing but whitespace, of which one space is left, as in every text that is
compared. So a record resembles others as it did when its file was there.
"""

from __future__ import annotations

import polars as pl
import pyarrow.parquet as pq

from schemas.identity import RULES_VERSION, digest_json
from schemas.refs import ItemsPart
from tasks.dedupe.texts.signatures import TextPart
from tasks.store.workdir import ROWS_PER_GROUP, Store

DOCUMENTS = "documents"

DOCUMENTS_VERSION = 1
"""Raised when the same items would give other documents."""

ITEMS_AT_ONCE = 250_000
"""Items put together at once, with their texts: some 250 MB."""

SEED = 20_261_120
"""Of the keys' hashes, by which a large part is taken in pieces."""


def kept_documents(part: ItemsPart, store: Store) -> TextPart:
    """The documents of published items: `documents/<digest>.parquet`, in no order of arrival."""
    name = digest_json([DOCUMENTS, RULES_VERSION, DOCUMENTS_VERSION, part.digest])
    if store.find(DOCUMENTS, name) is None:
        pieces = part.items // ITEMS_AT_ONCE + 1
        with store.create(DOCUMENTS, name) as path:
            writer, row = None, 0
            for piece in range(pieces):
                table = _documents(part.path, piece, pieces, row).to_arrow()
                writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
                writer.write_table(table, row_group_size=ROWS_PER_GROUP)
                row += table.num_rows
            assert writer is not None
            writer.close()
    return TextPart(name, part.source, str(store.find(DOCUMENTS, name)), part.records)


def _documents(path: str, piece: int, pieces: int, row: int) -> pl.DataFrame:
    """The documents of the keys whose hash falls to `piece`, numbered from `row`."""
    met = pl.col("end").cum_max().shift(1).over("key")  # where the chunks before this one end
    fresh = pl.col("text").str.slice((met - pl.col("start")).clip(0).fill_null(0))
    gap = pl.when(pl.col("start") > met).then(pl.lit(" ")).otherwise(pl.lit(""))
    return (
        pl.scan_parquet(path)
        .select("source", "key", "start", "end", "text", "time")
        .filter(pl.col("key").hash(SEED) % pieces == piece)
        .collect()
        .sort("key", "start", "end")
        .with_columns(text=gap + fresh)
        .group_by("source", "key", maintain_order=True)
        .agg(
            pl.col("text").str.join(""),
            pl.col("end").max().cast(pl.Int64).alias("size"),
            pl.col("time").first(),
        )
        .with_row_index("row", row)
        .with_columns(pl.col("row").cast(pl.Int64))
        .select("row", "source", "key", "text", "size", "time")
    )
