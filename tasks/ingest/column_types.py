"""The types that a user's column can have, their names in a `PartSpec`, and casting to them.

A type is named as Arrow prints it where Arrow can read that back (`int64`, `timestamp[us]`), else
by its serialised form (`ipc:…`), so that lists, structs, decimals and time zones travel too.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

TIME = pa.timestamp("us", tz="UTC")

DECLARED: dict[str, pa.DataType] = {
    "string": pa.string(),
    "bool": pa.bool_(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "date": pa.date32(),
    "timestamp": TIME,
    "list<string>": pa.list_(pa.string()),
}
"""The spec's names of types (`ColumnType`)."""

CAST_ERRORS = (
    pa.ArrowInvalid,
    pa.ArrowNotImplementedError,
    pa.ArrowTypeError,
    OverflowError,
    ValueError,
    TypeError,
)

IPC = "ipc:"


def type_name(kind: pa.DataType) -> str:
    """The name under which `arrow_type` finds the type again."""
    name = str(kind)
    try:
        if pa.type_for_alias(name) == kind:
            return name
    except ValueError:
        pass  # Arrow cannot read its own name for it: serialise
    data = pa.schema([pa.field("c", kind)]).serialize().to_pybytes()
    return IPC + base64.b64encode(data).decode("ascii")


def arrow_type(name: str) -> pa.DataType:
    """The type of that name, as `type_name` wrote it."""
    if not name.startswith(IPC):
        return pa.type_for_alias(name)
    data = pa.py_buffer(base64.b64decode(name.removeprefix(IPC)))
    return pa.ipc.read_schema(data).field(0).type


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type as the table stores it: no dictionaries, views or large variants; null → string."""
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if is_text(kind) or pa.types.is_null(kind):
        return pa.string()
    if is_bytes(kind):
        return pa.binary()
    if pa.types.is_large_list(kind) or pa.types.is_list(kind):
        return pa.list_(plain_type(kind.value_type))
    return kind


def is_text(kind: pa.DataType) -> bool:
    """Whether values are strings, in any of Arrow's layouts."""
    return (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def is_bytes(kind: pa.DataType) -> bool:
    """Whether values are bytes of any length, in any of Arrow's layouts."""
    return (
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    )


def decoded(column: pa.Array) -> pa.Array:
    """The column without a dictionary."""
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def cast_column(column: pa.Array, kind: pa.DataType) -> tuple[pa.Array, dict[int, object]]:
    """The column as `kind`, and the values that are no such thing by row (null in the column).

    Blank strings are null for every type but string. `timestamp` also reads ISO 8601 in any of
    its forms (without an offset: UTC) and numbers as seconds since 1970.
    """
    column = decoded(column)
    if column.type == kind:
        return column, {}
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), kind), {}
    if is_text(column.type) and not is_text(kind):
        column = pc.utf8_trim_whitespace(column)
        column = pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column)
    convert = _as_time if kind == TIME else _plain_cast
    try:
        return convert(column, kind), {}
    except CAST_ERRORS:
        return _cast_each(column, kind, convert)


def _plain_cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Arrow's safe cast; only the finer digits of a time may get lost."""
    options = pc.CastOptions(kind, allow_time_truncate=pa.types.is_timestamp(kind))
    return pc.cast(column, options=options)


def _as_time(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """The column as microseconds in UTC; raises one of `CAST_ERRORS` where a value is no time."""
    given = column.type
    if pa.types.is_boolean(given):
        raise pa.ArrowTypeError("a boolean is no time")
    if pa.types.is_integer(given) or pa.types.is_floating(given):
        seconds = column.cast(pa.float64(), safe=False)
        if pc.any(pc.greater(pc.abs(seconds), MAX_SECONDS)).as_py():
            raise pa.ArrowInvalid("more seconds than there are to the year 9999")
        exact = pc.round(pc.multiply(seconds, 1e6)).cast(pa.int64())
        return exact.cast(pa.timestamp("us")).cast(kind)
    if not is_text(given):
        return _plain_cast(column, kind)
    try:
        return column.cast(kind)  # every value says its offset
    except CAST_ERRORS:
        return column.cast(pa.timestamp("us")).cast(kind)  # none does


MAX_SECONDS = 253_402_300_799.0
"""The last second of the year 9999: a larger number is in milliseconds, which we do not guess."""


def _iso_time(value: str) -> datetime:
    """One ISO 8601 time; `ValueError` when it is none."""
    time = datetime.fromisoformat(value)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def _cast_each(
    column: pa.Array,
    kind: pa.DataType,
    convert: Callable[[pa.Array, pa.DataType], pa.Array],
) -> tuple[pa.Array, dict[int, object]]:
    """Value by value: only for a batch in which some value cannot be cast."""
    text_time = kind == TIME and is_text(column.type)
    bad: dict[int, object] = {}
    pieces = []
    for i in range(len(column)):
        try:
            if text_time and column[i].is_valid:
                pieces.append(pa.array([_iso_time(column[i].as_py())], kind))
            else:
                pieces.append(convert(column.slice(i, 1), kind))
        except CAST_ERRORS:
            bad[i] = column[i].as_py()
            pieces.append(pa.nulls(1, kind))
    return pa.concat_arrays(pieces), bad


def mask_rows(mask: pa.Array) -> list[int]:
    """The rows where a boolean column is true (null counts as false)."""
    return np.flatnonzero(mask.fill_null(False).to_numpy(zero_copy_only=False)).tolist()
