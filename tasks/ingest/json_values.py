"""JSON objects line by line, as columns: the slow way, for blocks in which Arrow found a fault.

Values of one name may be of several types here; each is cast to its column's type by itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa

from schemas.reasons import Reason
from schemas.refs import PartSpec
from schemas.spec import SourceSpec
from tasks.ingest.column_types import CAST_ERRORS, TIME, arrow_type, cast_column
from tasks.ingest.reader import Rejected
from tasks.ingest.record_checks import encoding_problem, shown
from tasks.ingest.tabular import FaultError, Found


def parse_object(line: bytes) -> dict[str, object]:
    """The object on a line. Raises `FaultError`: not UTF-8, no JSON, or JSON but no object."""
    reason = encoding_problem(line)
    if reason is not None:
        raise FaultError(reason, shown(line))
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise FaultError(Reason.MALFORMED_LINE, f"{error}: {shown(line)}") from error
    if not isinstance(value, dict):
        found = f"JSON {type(value).__name__}; expected an object: {shown(line)}"
        raise FaultError(Reason.MALFORMED_LINE, found)
    return value


def read_lines(
    data: bytes, first_line: int, part: PartSpec, absent: frozenset[str], problem: str | None
) -> tuple[Found, int, tuple[Rejected, ...]]:
    """The records of a block, how many were met, and those that are no record.

    `absent` are the columns that the file's head does not have (`problem` says so in words): an
    object without one is rejected.
    """
    rows: list[dict[str, object]] = []
    places: list[int] = []
    lines: list[int] = []
    rejects: list[Rejected] = []
    met = 0
    for number, line in enumerate(data.split(b"\n"), first_line):
        if not line.strip():
            continue
        try:
            rows.append(_record(parse_object(line), part.source, absent, problem or ""))
        except FaultError as fault:
            rejects.append(Rejected(met, fault.reason, fault.detail, fault.key, number))
        else:
            places.append(met)
            lines.append(number)
        met += 1
    columns: dict[str, pa.Array] = {}
    faults: dict[int, str] = {}
    for name, kind in _kinds(part).items():
        columns[name], bad = _column([row.get(name) for row in rows], kind)
        for at, value in bad.items():
            faults.setdefault(at, f"column {name!r}: {shown(value)} cannot be read as {kind}")
    for at, detail in faults.items():
        key = rows[at].get(part.source.key or "")
        said = None if key is None else str(key)
        rejects.append(Rejected(places[at], Reason.BAD_VALUE, detail, said, lines[at]))
    good = pa.array([i for i in range(len(rows)) if i not in faults], pa.int64())
    batch = pa.RecordBatch.from_pydict(columns).take(good)
    at_line, at_place = (pa.array(v, pa.int64()).take(good).to_numpy() for v in (lines, places))
    return Found(batch, at_line, at_place), met, tuple(rejects)


def _kinds(part: PartSpec) -> dict[str, pa.DataType]:
    """The types in the end, by the names in the file."""
    source, kinds = part.source, dict(part.columns)
    found = {column.name: arrow_type(kinds[column.target]) for column in source.columns}
    if source.time is not None:
        found[source.time] = found.get(source.time, TIME)
    if source.key is not None:
        found[source.key] = found.get(source.key, pa.string())
    return found | dict.fromkeys(source.text, pa.string())


def _record(
    found: dict[str, object], source: SourceSpec, absent: frozenset[str], problem: str
) -> dict[str, object]:
    """The object, if its key and texts are of a type that can be. Raises `FaultError`."""
    key = None if source.key is None else found.get(source.key)
    said = str(key) if isinstance(key, str | int) else None
    if any(name not in found for name in absent):
        raise FaultError(Reason.MISSING_COLUMN, problem, said)
    if key is not None and (isinstance(key, bool) or not isinstance(key, str | int)):
        kind = type(key).__name__
        detail = f"the key {shown(key)} is {kind}; expected a string or an integer"
        raise FaultError(Reason.BAD_KEY, detail)
    for name in source.text:
        value = found.get(name)
        if value is not None and not isinstance(value, str):
            detail = f"text column {name!r}: {shown(value)} is {type(value).__name__}"
            raise FaultError(Reason.BAD_VALUE, f"{detail}; expected text", said)
    for name, value in found.items():
        if isinstance(value, str) and not value.isascii() and _has_surrogate(value):
            raise FaultError(Reason.LONE_SURROGATE, f"column {name!r}: {shown(value)}", said)
    return found


def _has_surrogate(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False


def _column(values: Sequence[object], kind: pa.DataType) -> tuple[pa.Array, dict[int, object]]:
    """The values as `kind`, and by row those that are no such thing (null in the column).

    Arrow takes a plain number for microseconds or days, so times go the way of `cast_column`.
    """
    bad: dict[int, object] = {}
    if pa.types.is_nested(kind):
        bad = {at: value for at, value in enumerate(values) if not _has_shape(value, kind)}
        values = [None if at in bad else value for at, value in enumerate(values)]
    if pa.types.is_floating(kind):
        values = [_nearest_float(value) for value in values]
    elif pa.types.is_string(kind):  # an integer may be longer than any type of Arrow's
        values = [str(value) if type(value) is int else value for value in values]
    attempts = [None] if pa.types.is_temporal(kind) else [kind, None]
    for attempt in attempts:
        try:
            column, worse = cast_column(pa.array(values, attempt), kind)
            return column, bad | worse
        except CAST_ERRORS:
            continue  # of several types: one by one
    pieces = []
    for at, value in enumerate(values):
        try:
            piece, worse = cast_column(pa.array([value]), kind)
        except CAST_ERRORS:
            piece, worse = pa.nulls(1, kind), {0: value}
        pieces.append(piece)
        if worse:
            bad[at] = value
    return pa.concat_arrays(pieces), bad


def _nearest_float(value: object) -> object:
    """A large integer as Arrow's parser has it: JSON knows one kind of number."""
    try:
        return float(value) if type(value) is int else value
    except OverflowError:
        return value


def _has_shape(value: object, kind: pa.DataType) -> bool:
    """Whether lists are lists and objects are objects: Arrow takes a string for a list too."""
    if value is None or not pa.types.is_nested(kind):
        return True
    if pa.types.is_struct(kind):
        fits = isinstance(value, dict)
        return fits and all(_has_shape(value.get(field.name), field.type) for field in kind)
    return isinstance(value, list) and all(_has_shape(v, kind.value_type) for v in value)
