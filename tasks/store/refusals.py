"""Contents that an embedder could not embed: `refused/<vector key>/*.parquet`, beside its vectors.

A verdict is about a content and an embedder, whatever item holds the content and whatever shard it
was in: so a content that is known to fail is not given to the embedder by every build, only by a
retry. A vector always wins over a refusal, so nothing has to be taken back when one heals.
"""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.arrow import HASH
from schemas.identity import digest_json
from tasks.store.workdir import Store

REFUSALS = pa.schema(
    [
        pa.field("content_hash", HASH, nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string()),
    ]
)


def refusals_folder(vector_key: str) -> str:
    """The folder, below the `workdir`, of what an embedder could not embed."""
    return f"refused/{vector_key}"


def write_refusals(store: Store, vector_key: str, refusals: list[dict[str, object]]) -> None:
    """Keep rows of `REFUSALS`, under a name that says what they are; nothing for no row."""
    if not refusals:
        return
    table = pa.Table.from_pylist(refusals, REFUSALS)
    name = digest_json([[str(value) for value in row.values()] for row in table.to_pylist()])
    with store.create(refusals_folder(vector_key), name) as path:
        pq.write_table(table, path)


def read_refusals(store: Store, vector_key: str) -> pl.DataFrame:
    """Each content that was refused, once, with what was said last.

    Returns columns content_hash (binary, unique), reason, detail.
    """
    files = store.files(refusals_folder(vector_key))
    empty = pl.DataFrame(REFUSALS.empty_table())
    by_age = sorted(files, key=lambda path: (path.stat().st_mtime_ns, path.name))
    frames = [pl.DataFrame(pq.read_table(path)) for path in by_age]
    return pl.concat([empty, *frames]).unique("content_hash", keep="last", maintain_order=True)
