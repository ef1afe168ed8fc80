"""Records into items: a stream of record batches → chunks → ids and hashes → `items/*.parquet`.

The file's name covers the records, the rows left out, the rule and the version of everything that
decides where chunks end; a file of that name is read for its counts and nothing is made again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.arrow import RECORD_NAMES, ROW_HASH_NAMES, items_schema
from schemas.identity import RULES_VERSION, content_hashes, digest_json, item_ids, row_hashes
from schemas.progress import SILENT, Progress
from schemas.reasons import Reason
from schemas.refs import ItemsPart, RecordsPart, RejectsRef
from tasks.chunk.rule import ChunkRule
from tasks.chunk.split import Span, cut_longer, split
from tasks.chunk.tokens import load_tokens
from tasks.store.batches import read_batches
from tasks.store.workdir import (
    ROWS_PER_GROUP,
    RejectsWriter,
    Store,
    excluded_rows,
    read_rejects_ref,
)

CHUNKER_VERSION = 1
"""Raised when the same text under the same rule would be cut in another way."""

RECORDS_AT_ONCE = ROWS_PER_GROUP
"""Records cut together, where they are short: each time costs milliseconds whatever their number,
and leaves a row group."""

UNBOUNDED = 2**31 - 1
"""Instead of a window where the model takes any length."""

SIZE_AT_ONCE = 8_000_000
"""Characters cut together, which matters where texts are long: some 100 MB with the chunks."""

_COUNTS = ("records", "items", "truncated")


@dataclass
class _Counts:
    """What the file holds, kept in its own metadata."""

    records: int = 0
    items: int = 0
    truncated: int = 0


def chunk_part(
    part: RecordsPart,
    excluded: Sequence[RejectsRef],
    rule: ChunkRule,
    store: Store,
    progress: Progress = SILENT,
) -> ItemsPart:
    """Cut the part's records, but those that `excluded` takes out, into items.

    A record in which the tokenizer finds no token is rejected as empty text.
    """
    left_out = excluded_rows(part.digest, excluded)
    name = items_name(part, left_out, rule)
    path = store.find("items", name)
    refused = store.find("rejects", f"chunk-{name}")
    if path is not None and refused is not None:
        progress.advance(part.records)
        counts = _read_counts(path)
        return _ref(part, name, path, counts, read_rejects_ref(refused))
    counts = _Counts()
    with (
        store.create("items", name) as temporary,
        RejectsWriter(store, f"chunk-{name}", stage="chunk", part=part.digest) as rejects,
    ):
        _write(part, left_out, rule, temporary, rejects, counts, progress)
    return _ref(part, name, store.path("items", name), counts, rejects.ref)


def items_name(part: RecordsPart, left_out: Sequence[int], rule: ChunkRule) -> str:
    """The digest that names the items of a part."""
    libraries = []
    if rule.kind == "text":
        libraries = [version("tokenizers")]
    return digest_json(
        [
            *("items", RULES_VERSION, CHUNKER_VERSION, libraries),
            *(part.digest, list(left_out), rule.digest),
        ]
    )


def _ref(
    part: RecordsPart, name: str, path: Path, counts: _Counts, rejects: RejectsRef
) -> ItemsPart:
    return ItemsPart(
        digest=name,
        source=part.source,
        kind=part.kind,
        path=str(path),
        records=counts.records,
        items=counts.items,
        truncated=counts.truncated,
        rejects=rejects,
    )


def _read_counts(path: Path) -> _Counts:
    metadata = pq.read_metadata(path).metadata
    return _Counts(*(int(metadata[f"vecmill.{name}".encode()]) for name in _COUNTS))


def _write(
    part: RecordsPart,
    left_out: Sequence[int],
    rule: ChunkRule,
    path: Path,
    rejects: RejectsWriter,
    counts: _Counts,
    progress: Progress,
) -> None:
    """Stream the part into `path`, adding to `counts`."""
    read = pq.read_schema(part.path)
    columns = [field for field in read if field.name not in RECORD_NAMES]
    schema = items_schema(columns)
    gone = pa.array(left_out, pa.int64())
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in read_batches(part.path, RECORDS_AT_ONCE):
            records = pa.table(batch)
            if len(gone):
                records = records.filter(pc.invert(pc.is_in(records["row"], gone)))
            for some in _bounded(records) if rule.kind == "text" else [records]:
                items = _items(some, rule, schema, rejects, counts)
                if items.num_rows:
                    writer.write_table(items, row_group_size=ROWS_PER_GROUP)
            progress.advance(batch.num_rows)
        writer.add_key_value_metadata(
            {f"vecmill.{name}": str(getattr(counts, name)) for name in _COUNTS}
        )


def _bounded(records: pa.Table) -> Iterator[pa.Table]:
    """The records in order, some at a time, so that their texts together are not too long."""
    bundle = np.cumsum(records["size"].to_numpy()) // SIZE_AT_ONCE
    starts = [0, *(np.flatnonzero(np.diff(bundle)) + 1).tolist()]
    for start, end in zip(starts, [*starts[1:], records.num_rows], strict=True):
        if start < end:
            yield records.slice(start, end - start)


def _items(
    records: pa.Table, rule: ChunkRule, schema: pa.Schema, rejects: RejectsWriter, counts: _Counts
) -> pa.Table:
    """The items of some records, in order."""
    if rule.kind == "image":
        owner = np.arange(records.num_rows)
        zero = np.zeros(records.num_rows, np.int32)
        parts = {"chunk": zero, "start": zero, "end": zero}
        rows = records
    else:
        texts = records.column("text").to_pylist()
        spans = _spans(texts, rule, counts)
        lengths = np.array([len(some) for some in spans], np.int64)
        _reject_empty(records.filter(pa.array(lengths == 0)), rejects)
        owner = np.repeat(np.arange(len(spans)), lengths)
        flat = np.array([span for some in spans for span in some], np.int32).reshape(-1, 2)
        first = np.repeat(np.cumsum(lengths) - lengths, lengths)
        parts = {
            "chunk": (np.arange(len(owner)) - first).astype(np.int32),
            "start": flat[:, 0],
            "end": flat[:, 1],
        }
        cut = [texts[n][a:b] for n, (a, b) in zip(owner.tolist(), flat.tolist(), strict=True)]
        # The text goes first: repeated for each of its chunks, a long one would fill gigabytes.
        rows = records.drop_columns(["text", "content_hash", "size"]).take(pa.array(owner))
        rows = rows.append_column("text", pa.array(cut, pa.string()))
        rows = rows.append_column("content_hash", content_hashes(cut))
        rows = rows.append_column("size", pa.array(flat[:, 1] - flat[:, 0], pa.int64()))
    counts.records += len(np.unique(owner))
    counts.items += len(owner)
    for name, values in parts.items():
        rows = rows.append_column(name, pa.array(values, pa.int32()))
    return _identified(rows, rule.chunked, schema)


def _identified(rows: pa.Table, chunked: bool, schema: pa.Schema) -> pa.Table:
    """The rows with their ids and row hashes, in the order of `schema`."""
    chunks = rows.column("chunk") if chunked else None
    ids = item_ids(rows.column("source"), rows.column("key"), chunks)
    user = sorted(set(schema.names) - set(items_schema().names))
    hashes = row_hashes(rows, [*ROW_HASH_NAMES, *user])
    rows = rows.append_column("id", ids).append_column("row_hash", hashes)
    return rows.select(schema.names).cast(schema)


def _spans(texts: list[str], rule: ChunkRule, counts: _Counts) -> list[list[Span]]:
    """Where the chunks of each text lie; whole records are one each, however long."""
    if rule.model_tokenizer is None:
        raise ValueError(f"a rule for text names its tokenizers: {rule}")
    own = load_tokens(rule.model_tokenizer)
    if rule.max_tokens is None:
        window = UNBOUNDED if rule.window is None else rule.window
        found = own.counts_within(texts, window)
        counts.truncated += int((found > window).sum())
        return [[(0, len(t))] if n else [] for t, n in zip(texts, found.tolist(), strict=True)]
    tokens = load_tokens(rule.tokenizer or rule.model_tokenizer)
    spans = split(texts, tokens, rule.max_tokens, rule.overlap)
    if rule.window is not None and rule.tokenizer_digest != rule.model_tokenizer_digest:
        # Counted in another tokenizer's tokens, a chunk may be more than the model takes.
        spans = cut_longer(texts, spans, own, rule.window)
    return spans


def _reject_empty(records: pa.Table, rejects: RejectsWriter) -> None:
    for record in records.select(["row", "source", "key", "kind", "uri"]).to_pylist():
        rejects.add(
            **record,
            reason=str(Reason.EMPTY_TEXT),
            detail="the tokenizer finds no token in the text: expected at least one",
        )
