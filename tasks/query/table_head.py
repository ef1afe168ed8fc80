"""The first rows of a table file: its columns with what can be told from so few."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import UsageError

ROWS = 200
"""Rows looked at: enough to see whether a column repeats itself."""

BYTES = 1 << 20
"""Bytes read of a text file, unpacked."""


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


def read_head(file: Path, form: str) -> list[Column]:
    """The columns of a parquet, csv, tsv or jsonl file, in its order.

    Raises `UsageError` for a file that cannot be read as what its name says.
    """
    try:
        rows = _parquet(file) if form == "parquet" else _lines(file, form)
    except (OSError, ValueError, csv.Error, pa.ArrowInvalid) as error:
        raise UsageError(f"{file} cannot be read as {form}: {error}") from error
    if not rows:
        raise UsageError(f"{file} has no rows to look at; expected a {form} file with some")
    return [_column(name, values) for name, values in rows.items()]


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


def _lines(file: Path, form: str) -> dict[str, list[Any]]:
    packed = {".gz": "gzip", ".zst": "zstd"}.get(file.suffix.lower())
    with file.open("rb") as raw:
        data = (pa.CompressedInputStream(raw, packed) if packed else raw).read(BYTES)
    text = data.decode("utf-8-sig", errors="replace")
    if len(data) == BYTES:
        text = text[: text.rfind("\n") + 1]
    if form == "jsonl":
        lines = [line for line in text.splitlines() if line.strip()][:ROWS]
        return _transposed(json.loads(line) for line in lines)
    reader = csv.DictReader(io.StringIO(text), delimiter="\t" if form == "tsv" else ",")
    return _transposed(row for row, _ in zip(reader, range(ROWS), strict=False))


def _transposed(rows: Iterable[dict[str, Any]]) -> dict[str, list[Any]]:
    out: dict[str, list[Any]] = {}
    for row in rows:
        if not isinstance(row, dict):
            raise ValueError(f"expected one object a line, found {type(row).__name__}")
        for name, value in row.items():
            if name is not None:
                out.setdefault(name, []).append(value)
    return out


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
