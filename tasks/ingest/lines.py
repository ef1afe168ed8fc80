"""Text sources in JSON Lines: blocks of whole lines, parsed by Arrow; line by line in a bad block.

    chunks ─ RecordCutter ─> blocks ─ Arrow ─> RawBatch
                               └ on any trouble: line by line, each fault a reject

A line is one JSON object; blank lines are no records. A name that an object leaves out is null;
but a name that no object of the file's first block has is a column that is not there, and then
each object without it is a reject. `NaN` and `Infinity`, which are no JSON but which many programs
write, are taken as the floats they mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json as arrow_json

from schemas.refs import FileRef, PartSpec
from tasks.ingest.byte_chunks import byte_chunks
from tasks.ingest.column_types import CAST_ERRORS, arrow_type, plain_type
from tasks.ingest.json_values import parse_object, read_lines
from tasks.ingest.reader import RawBatch, source_columns
from tasks.ingest.record_cutter import Block, RecordCutter
from tasks.ingest.tabular import FaultError, Found, column_problem, faulty_line

HEAD_LINES = 1_000
"""Lines of a file's first block that tell its columns and their types."""


@dataclass(frozen=True)
class Layout:
    """How one file's objects are read."""

    types: dict[str, pa.DataType]  # column that the source names → the type Arrow parses it as
    absent: frozenset[str]  # those that no object of the head has
    problem: str | None


class JsonLinesReader:
    """Objects of a JSON Lines file, plain or compressed."""

    kind = "text"
    suffixes = tuple(
        f"{name}{packed}" for name in (".jsonl", ".ndjson") for packed in ("", ".gz", ".zst")
    )
    many = True
    has_columns = True
    needs = ("key", "text")

    def columns(self, file: FileRef, options: dict[str, Any]) -> pa.Schema | None:
        """Names and types as the head's objects have them; None where it has no object."""
        first = next(RecordCutter(byte_chunks(file.uri, options)).blocks(), None)
        return None if first is None else head_columns(first.data)

    def read(self, file: FileRef, part: PartSpec, options: dict[str, Any]) -> Iterator[RawBatch]:
        """Batches of objects; `position` is the line, from 1."""
        layout = None
        for block in RecordCutter(byte_chunks(file.uri, options)).blocks():
            if layout is None:
                layout = _layout(block.data, part)
            yield _parse(block, layout, part)


def _parse(block: Block, layout: Layout, part: PartSpec) -> RawBatch:
    if block.fault is not None:
        return faulty_line(block)
    found = None if layout.problem else _parse_fast(block, layout)
    if found is not None:
        return found.raw(None, part.source, found.batch.num_rows)
    found, met, rejects = read_lines(block.data, block.line, part, layout.absent, layout.problem)
    return found.raw(None, part.source, met, rejects)


def head_objects(data: bytes) -> list[dict[str, object]]:
    """The objects among the first lines of a block."""
    found = []
    for line in islice(data.split(b"\n"), HEAD_LINES):
        try:
            found.append(parse_object(line))
        except FaultError:
            continue  # counted when the block is read
    return found


def head_columns(data: bytes) -> pa.Schema | None:
    """Names and inferred types of a block's head; values of several types are strings."""
    objects = head_objects(data)
    names = list(dict.fromkeys(name for found in objects for name in found))
    fields = []
    for name in names:
        try:
            kind = pa.array([found.get(name) for found in objects]).type
        except CAST_ERRORS:
            kind = pa.string()
        fields.append(pa.field(name, plain_type(kind)))
    return pa.schema(fields) if objects else None


def _layout(head: bytes, part: PartSpec) -> Layout:
    """How to read the file whose first block is `head`."""
    source = part.source
    objects = head_objects(head)
    names = list(dict.fromkeys(name for found in objects for name in found))
    wanted = source_columns(source)
    kinds = dict(part.columns)
    types = {name: pa.string() for name in wanted}
    types |= {c.name: _parsed_type(arrow_type(kinds[c.target])) for c in source.columns}
    types |= {name: pa.string() for name in source.text}
    numbers: dict[type, pa.DataType] = {int: pa.int64(), float: pa.float64()}
    for name in (source.time, source.key):
        first = next((o[name] for o in objects if name is not None and o.get(name)), None)
        if name is not None:
            types[name] = numbers.get(type(first), pa.string())
        numbers.pop(float, None)  # no key is one, and as one all keys would be read
    absent = frozenset(name for name in wanted if objects and name not in names)
    return Layout(types, absent, column_problem(names, source) if absent else None)


def _parsed_type(kind: pa.DataType) -> pa.DataType:
    """What Arrow's parser is asked for: times and the like are strings in JSON."""
    direct = pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return kind if direct or pa.types.is_nested(kind) else pa.string()


def _parse_fast(block: Block, layout: Layout) -> Found | None:
    """The block's columns; None: look at each line.

    Arrow reads a stream of objects, wherever lines end. When each line goes from `{` to `}` and
    there are as many objects as lines, each line is one object.
    """
    data = np.frombuffer(block.data, np.uint8)
    ends = np.flatnonzero(data == ord("\n"))
    starts = np.concatenate([[0], ends[:-1] + 1])
    if np.any(data[starts] != ord("{")):
        return None  # blank lines among them: what follows looks two bytes back
    last = data[ends - 1]
    last = np.where(last == ord("\r"), data[ends - 2], last)
    if np.any(last != ord("}")):
        return None
    schema = pa.schema(list(layout.types.items()))
    try:
        table = arrow_json.read_json(
            pa.BufferReader(block.data),
            arrow_json.ReadOptions(use_threads=False, block_size=len(block.data) + 1),
            arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError):
        return None
    if table.num_rows != len(ends):
        return None
    arrays = [column.combine_chunks() for column in table.columns]
    batch = pa.RecordBatch.from_arrays(arrays, table.schema.names)
    return Found(batch, np.arange(block.line, block.line + len(ends)))


JSONL = JsonLinesReader()
