"""The first rows of a table file: its columns with what can be told from so few."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import UsageError
from schemas.formats import PARQUET

ROWS = 200
"""Rows looked at: enough to see whether a column repeats itself."""

BYTES = 1 << 20
"""Bytes read of a text file, unpacked; more where its first lines are longer."""

MOST_BYTES = 32 << 20
"""Bytes read for the sake of long lines."""


@dataclass(frozen=True)
class Column:
    """`kind` is string, integer, number, bool, time, bytes or other; `length` characters, mean."""

    name: str
    kind: str
    length: float
    unique: bool

    def short(self, limit: int) -> bool:
        """Whether it is worth carrying: a plain value, no long text."""
        plain = ("integer", "number", "bool", "time")
        return self.kind in plain or (self.kind == "string" and self.length <= limit)


@dataclass(frozen=True)
class Head:
    """A table's columns in their order, and what looks wrong with the file."""

    columns: tuple[Column, ...]
    notes: tuple[str, ...] = ()


def read_head(file: Path, form: str) -> Head:
    """The head of a parquet, csv, tsv or jsonl file.

    Raises `UsageError` for a file that cannot be read as what its name says.
    """
    notes: list[str] = []
    try:
        rows = _parquet(file) if form in PARQUET else _lines(file, form, notes)
    except (OSError, ValueError, csv.Error, pa.ArrowInvalid) as error:
        raise UsageError(f"{file} cannot be read as {form}: {error}") from error
    if not rows:
        raise UsageError(f"{file} has no rows to look at; expected a {form} file with some")
    return Head(tuple(_column(name, values) for name, values in rows.items()), tuple(notes))


def _parquet(file: Path) -> dict[str, list[Any]]:
    with pq.ParquetFile(file) as parquet:
        heavy = [f.name for f in parquet.schema_arrow if _has_bytes(f.type)]
        light = [f.name for f in parquet.schema_arrow if f.name not in heavy]
        batch = next(parquet.iter_batches(ROWS, columns=light), None) if light else None
        values = batch.to_pydict() if batch is not None else {}
        # Bytes are not read: their type says enough, and a row may be a picture of megabytes.
        return {
            f.name: [b""] if f.name in heavy else values.get(f.name, [])
            for f in parquet.schema_arrow
        }


def _has_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(_has_bytes(kind.field(i).type) for i in range(kind.num_fields))
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _lines(file: Path, form: str, notes: list[str]) -> dict[str, list[Any]]:
    data = _first_lines(file)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        notes.append(
            f"line {line} is not UTF-8: such lines are rejected until the file is converted"
        )
    text = data.decode("utf-8-sig", errors="replace")
    if form in ("jsonl", "ndjson"):
        return _transposed(islice(_objects(text), ROWS))
    csv.field_size_limit(MOST_BYTES)
    reader = csv.reader(io.StringIO(text, ""), delimiter="\t" if form == "tsv" else ",")
    names = next(reader, [])
    once = [at for at, name in enumerate(names) if names.count(name) == 1]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        notes.append(f"columns that stand more than once are left out: {', '.join(twice)}")
    if len(names) == 1 and (other := next((c for c in ";\t|" if c in names[0]), None)):
        notes.append(f"the columns seem to be set apart by {other!r}; expected ',' (or .tsv: tabs)")
    rows = (row for row in reader if len(row) == len(names))
    return _transposed({names[at]: _plain(row[at]) for at in once} for row in islice(rows, ROWS))


def _plain(value: str) -> object:
    """What a csv's text stands for: nothing, a number, or the text."""
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value or None


def _first_lines(file: Path) -> bytes:
    """The first megabyte, in whole lines; more where that is not even two of them."""
    packed = {".gz": "gzip", ".zst": "zstd"}.get(file.suffix.lower())
    with file.open("rb") as raw:
        stream = pa.CompressedInputStream(raw, packed) if packed else raw
        data = more = stream.read(BYTES)
        while more and data.count(b"\n") < 2 and len(data) < MOST_BYTES:
            data += (more := stream.read(BYTES))
    return data[: data.rfind(b"\n") + 1] if len(data) >= BYTES and more else data


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects among the lines; raises `ValueError` where there is none."""
    found, wrong = False, "no line"
    for line in text.split("\n"):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            wrong = str(error)
            continue
        if isinstance(value, dict):
            found = True
            yield value
        else:
            wrong = f"found {type(value).__name__}"
    if not found and text.strip():
        raise ValueError(f"expected one object a line: {wrong}")


def _transposed(rows: Iterable[dict[str, Any]]) -> dict[str, list[Any]]:
    """Rows as columns; what a row does not have is None."""
    held = list(rows)
    names = dict.fromkeys(name for row in held for name in row)
    return {name: [row.get(name) for row in held] for name in names}


def _column(name: str, values: list[Any]) -> Column:
    present = [value for value in values if value is not None]
    kinds = {_kind(value) for value in present} or {"other"}
    kind = (
        kinds.pop() if len(kinds) == 1 else "number" if kinds == {"integer", "number"} else "other"
    )
    texts = [str(value) for value in present]
    unique = kind in ("string", "integer") and len(set(texts)) == len(values) > 0
    return Column(name, kind, sum(map(len, texts)) / max(len(texts), 1), unique)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    for kind, types in {"string": str, "integer": int, "number": float, "bytes": bytes}.items():
        if isinstance(value, types):
            return kind
    return "time" if hasattr(value, "isoformat") else "other"
