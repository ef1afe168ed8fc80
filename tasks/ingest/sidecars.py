"""What stands beside an image in a WebDataset: `json`, `txt` and `cls` files of the same stem.

A column is a top-level field of the json, or `txt` or `cls`: the whole of that file as a string.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from schemas.reasons import Reason
from schemas.spec import SourceSpec
from tasks.ingest.judged_pictures import Unusable
from tasks.ingest.record_checks import shown

SIDECARS = ("json", "txt", "cls")

PARSE_ERRORS = (ValueError, RecursionError)
"""What `json.loads` raises: bad syntax, numbers of too many digits, brackets too deep."""


def sidecar_values(files: Mapping[str, bytes]) -> dict[str, object] | Unusable:
    """Every column that the sidecars of one sample hold; `files` are bytes by ending."""
    values: dict[str, object] = {}
    for ending, data in sorted(files.items(), reverse=True):  # json last: its fields win
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            return Unusable(Reason.NOT_UTF8, f"the sidecar .{ending}: {error}")
        if ending != "json":
            values[ending] = text.rstrip("\r\n")
            continue
        try:
            fields = json.loads(text)
        except PARSE_ERRORS as error:
            return Unusable(Reason.BAD_VALUE, f"the sidecar .json cannot be parsed: {error}")
        if not isinstance(fields, dict):
            return Unusable(
                Reason.BAD_VALUE, f"the sidecar .json is {shown(fields)}, expected an object"
            )
        values |= fields
    return values


@dataclass(frozen=True)
class SampleValues:
    """What a source takes from one sample: `columns` by the names it asks for, or a problem."""

    key: str | None
    columns: dict[str, object]
    problem: Unusable | None = None


class SidecarColumns:
    """The columns that a source asks of a tar's sidecars.

    `known` are the names in the head of the tar: one that is not among them is a column that is
    not there, and then each sample without it is a reject; one that is may be null in a sample.
    """

    def __init__(self, source: SourceSpec, known: Sequence[str] = ()) -> None:
        self._key = source.key
        asked = [source.key, source.time, *(column.name for column in source.columns)]
        self.names = tuple(dict.fromkeys(name for name in asked if name is not None))
        self._known = list(known)

    def of(self, files: Mapping[str, bytes]) -> SampleValues:
        """The values of one sample; `files` are its sidecars by ending."""
        if not self.names:
            return SampleValues(None, {})
        values = sidecar_values(files)
        if isinstance(values, Unusable):
            return SampleValues(None, {}, values)
        chosen = {name: values.get(name) for name in self.names}
        if (problem := _surrogate(chosen)) is not None:
            return SampleValues(None, {}, problem)
        key = None if self._key is None else _key_text(chosen[self._key])
        if isinstance(key, Unusable):
            return SampleValues(None, {}, key)
        return SampleValues(key, chosen, self._problem(values))

    def _problem(self, values: Mapping[str, object]) -> Unusable | None:
        lost = [name for name in self.names if name not in values and name not in self._known]
        if not lost:
            return None
        said = ", ".join(self._known) or "nothing"
        detail = f"no column {', '.join(map(repr, lost))} in the sidecars, which have {said}"
        return Unusable(Reason.MISSING_COLUMN, detail)


def _surrogate(values: Mapping[str, object]) -> Unusable | None:
    for name, value in values.items():
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            detail = f"column {name!r} holds half of a surrogate pair: {shown(value)}"
            return Unusable(Reason.LONE_SURROGATE, detail)
    return None


def _key_text(value: object) -> str | Unusable | None:
    """A sidecar's value as a record's key: strings and integers can be one; null stays null."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    detail = f"the key {shown(value)} is a {type(value).__name__}; expected a string or an integer"
    return Unusable(Reason.BAD_KEY, detail)


def column_array(values: list[object]) -> pa.Array:
    """The values as Arrow infers them; where they do not fit together, as strings (json)."""
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        return pa.array([None if value is None else _as_string(value) for value in values])


def _as_string(value: object) -> str:
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return said.encode("utf-8", "backslashreplace").decode()
