"""What a record must be, whatever it was read from: a key, a text, columns of the right type.

    RawBatch ── judge ──> rows of `records/*.parquet`, rejects

Columns at a time: a batch without a suspect value costs no Python per row. Each record has one
reason, the first that is found in the order key, text, columns, time.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import records_schema
from schemas.identity import canonical_text
from schemas.reasons import Reason
from schemas.refs import FileRef, PartSpec
from schemas.spec import SourceSpec
from tasks.ingest.column_types import (
    TIME,
    arrow_type,
    cast_column,
    decoded,
    is_bytes,
    is_text,
    mask_rows,
)
from tasks.ingest.reader import RawBatch, Rejected

MAX_TEXT = 8 * 1024 * 1024
"""Code points of one record's text: the longest novels have 4 million."""

MAX_KEY = 4_096
"""Code points of a key: a long URL has 2,000."""

BLANK = (
    r"^[\x{9}-\x{d}\x{1c}-\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}"
    r"\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]*$"
)
"""Nothing but what `str.isspace` calls space, as canonical text has it."""

SHOWN = 80
"""Characters of a value that a reject's detail quotes."""


def shown(value: object) -> str:
    """The value for a person: quoted, printable, cut."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    said = repr(value).encode("utf-8", "backslashreplace").decode()
    return said if len(said) <= SHOWN else f"{said[:SHOWN]}…"


@dataclass
class Verdicts:
    """The first reason found against each record of a batch."""

    found: dict[int, tuple[Reason, str]]

    def add(self, rows: list[int] | dict[int, object], reason: Reason, detail: str) -> None:
        """Reject `rows` unless they are already; `{}` in the detail stands for the value."""
        values = rows if isinstance(rows, dict) else dict.fromkeys(rows)
        for row, value in values.items():
            said = detail.replace("{}", shown(value)) if isinstance(rows, dict) else detail
            self.found.setdefault(row, (reason, said))


def judge(
    raw: RawBatch, file: FileRef, part: PartSpec, first_row: int
) -> tuple[pa.Table, list[Rejected]]:
    """The batch's usable records, whose first place is row `first_row`, and all its rejects.

    Returns a table of `records_schema(columns)` and rejects in the order of their places.
    """
    records, n = raw.records, raw.records.num_rows
    if n == 0:
        empty = records_schema(pa.field(name, arrow_type(kind)) for name, kind in part.columns)
        return empty.empty_table(), sorted(raw.rejects, key=lambda r: r.place)
    against = Verdicts({})
    out: dict[str, pa.Array] = {"key": _keys(_column(records, "key"), against)}
    if part.source.kind == "text":
        out["text"] = _texts(records, part.source, against)
        out["size"] = pc.utf8_length(out["text"].fill_null("")).cast(pa.int64())
    for name, kind in part.columns:
        out[name] = _user_column(_column(records, name), name, arrow_type(kind), against)
    out["time"], bad = cast_column(_valid(_column(records, "time"), "time", against), TIME)
    against.add(bad, Reason.BAD_VALUE, f"time column {part.source.time!r}: {{}} is no time")
    places = np.arange(n) if raw.places is None else raw.places
    positions = None if raw.positions is None else raw.positions
    keep = np.ones(n, bool)
    keep[list(against.found)] = False
    out["row"] = pa.array(places + first_row, pa.int64())
    out["uri"] = _filled(_column(records, "uri"), file.uri)
    table = _records(out, records, part, pa.array(keep))
    rejects = [
        Rejected(
            int(places[i]),
            reason,
            detail,
            out["key"][i].as_py(),
            None if positions is None else int(positions[i]),
            out["uri"][i].as_py(),
        )
        for i, (reason, detail) in against.found.items()
    ]
    return table, sorted([*raw.rejects, *rejects], key=lambda r: r.place)


def _column(records: pa.RecordBatch, name: str) -> pa.Array:
    """The column, or nulls where the reader left it out."""
    if name in records.schema.names:
        return decoded(records.column(name))
    return pa.nulls(records.num_rows)


def _filled(column: pa.Array, default: str) -> pa.Array:
    return column.cast(pa.string()).fill_null(default)


def _records(
    out: dict[str, pa.Array], records: pa.RecordBatch, part: PartSpec, keep: pa.Array
) -> pa.Table:
    """The kept rows under the schema of records files."""
    schema = records_schema(pa.field(name, arrow_type(kind)) for name, kind in part.columns)
    constant = {"source": part.source.name, "kind": part.source.kind}
    arrays = []
    for field in schema:
        if field.name in constant:
            value = pa.repeat(pa.scalar(constant[field.name], field.type), len(keep))
        elif field.name in out:
            value = out[field.name]
        else:
            value = _column(records, field.name)
        kept = value.filter(keep)
        arrays.append(kept if kept.type == field.type else kept.cast(field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def _valid(column: pa.Array, name: str, against: Verdicts) -> pa.Array:
    """The column, as `string` where it is text; rows whose bytes are no UTF-8 are rejected.

    Parquet may carry anything under the type string, and Arrow does not look before it is asked.
    """
    return _decoded_text(column, name, against) if is_text(column.type) else column


def _decoded_text(column: pa.Array, name: str, against: Verdicts) -> pa.Array:
    """Strings or bytes as valid strings."""
    data = column.cast(pa.binary())
    try:
        return data.cast(pa.string())
    except pa.ArrowInvalid:
        values = data.to_pylist()
    checked: list[str | None] = []
    for row, value in enumerate(values):
        reason = None if value is None else encoding_problem(value)
        if reason is not None:
            against.add({row: value}, reason, f"{name}: {{}}")
        checked.append(None if value is None or reason else value.decode())
    return pa.array(checked, pa.string())


def encoding_problem(data: bytes) -> Reason | None:
    """Why the bytes are no UTF-8; None when they are."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        try:
            data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return Reason.NOT_UTF8
        return Reason.LONE_SURROGATE
    return None


def _keys(column: pa.Array, against: Verdicts) -> pa.Array:
    """Keys as strings; null, blank, over-long and other than string or integer are rejected."""
    if pa.types.is_integer(column.type):
        keys = column.cast(pa.string())
    elif is_text(column.type):
        keys = _valid(column, "key", against)
    else:
        rows = mask_rows(column.is_valid())
        values = {row: column[row].as_py() for row in rows}
        expected = f"the key {{}} is {column.type}; expected a string or an integer"
        against.add(values, Reason.BAD_KEY, expected)
        keys = pa.nulls(len(column), pa.string())
    against.add(mask_rows(keys.is_null()), Reason.MISSING_KEY, "the key is null")
    blank = pc.match_substring_regex(keys, BLANK).fill_null(False)
    against.add(mask_rows(blank), Reason.MISSING_KEY, "the key is blank")
    keys = pc.if_else(blank, pa.scalar(None, pa.string()), keys)
    nul = pc.match_substring(keys, "\x00")
    against.add(mask_rows(nul), Reason.NUL_BYTE, "the key holds a NUL character")
    long = pc.greater(pc.utf8_length(keys), MAX_KEY)
    against.add(mask_rows(long), Reason.BAD_KEY, f"the key is longer than {MAX_KEY} characters")
    return keys


def _user_column(column: pa.Array, name: str, kind: pa.DataType, against: Verdicts) -> pa.Array:
    """The column cast to its type in the table."""
    cast, bad = cast_column(_valid(column, f"column {name!r}", against), kind)
    detail = f"column {name!r}: {{}} cannot be read as {kind}"
    against.add(bad, Reason.BAD_VALUE, detail)
    return cast


def _texts(records: pa.RecordBatch, source: SourceSpec, against: Verdicts) -> pa.Array:
    """Canonical texts of a batch; null where a record is rejected for its text."""
    if "text" in records.schema.names:
        named = [("text", "text")]
    else:
        named = [(f"text_{i}", f"text column {n!r}") for i, n in enumerate(source.text)]
    parts = [_text_part(_column(records, name), said, against) for name, said in named]
    text = parts[0]
    for part in parts[1:]:
        # Not `null_handling="skip"`: it loses the rows in which every part is null (pyarrow 26).
        text = pc.coalesce(pc.binary_join_element_wise(text, part, "\n\n"), text, part)
    against.add(mask_rows(text.is_null()), Reason.EMPTY_TEXT, "no text but null, empty or blank")
    length = pc.utf8_length(text)
    long = {row: length[row].as_py() for row in mask_rows(pc.greater(length, MAX_TEXT))}
    detail = f"{{}} characters; at most {MAX_TEXT} are taken: split the record"
    against.add(long, Reason.TEXT_TOO_LONG, detail)
    return text


def _text_part(column: pa.Array, said: str, against: Verdicts) -> pa.Array:
    """One of the columns that make the text: canonical, blank as null."""
    if is_text(column.type) or is_bytes(column.type):
        column = _decoded_text(column, said, against)
    elif not pa.types.is_null(column.type):
        values = {row: column[row].as_py() for row in mask_rows(column.is_valid())}
        detail = f"{said}: {{}} is {column.type}; expected text"
        against.add(values, Reason.BAD_VALUE, detail)
        return pa.nulls(len(column), pa.string())
    column = column.cast(pa.string())
    nul = mask_rows(pc.match_substring(column, "\x00"))
    against.add(nul, Reason.NUL_BYTE, f"{said} holds a NUL character")
    blank = pc.match_substring_regex(column, BLANK)
    column = pc.if_else(blank.fill_null(True), pa.scalar(None, pa.string()), column)
    return column if _is_canonical(column) else _canonical(column)


def _is_canonical(column: pa.Array) -> bool:
    """Whether the whole column is NFC without CR: three looks at its bytes, none at its rows.

    Every substring of a string in NFC is in NFC, so one check of them all joined is enough.
    """
    joined = _text_bytes(column).to_pybytes()
    if b"\r" in joined:
        return False
    return joined.isascii() or unicodedata.is_normalized("NFC", joined.decode("utf-8"))


def _text_bytes(column: pa.Array) -> pa.Buffer:
    """The bytes of a string column's values, one after the other."""
    compact = pc.drop_null(column)
    if len(compact) == 0:
        return pa.py_buffer(b"")
    _, offsets, data = compact.buffers()
    ends = np.frombuffer(offsets, np.int32)[compact.offset : compact.offset + len(compact) + 1]
    return data.slice(int(ends[0]), int(ends[-1] - ends[0]))


def _canonical(column: pa.Array) -> pa.Array:
    """Canonical text row by row: only where a batch holds a CR or something that is not NFC."""
    values = [None if v is None else canonical_text([v]) for v in column.to_pylist()]
    return pa.array(values, pa.string())
