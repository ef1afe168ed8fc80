"""What the sources hold before anything is read: their files, the parts, the user's columns.

sources ─ list_files ─ check ─ columns ─ group ─> Survey
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from schemas.errors import UsageError
from schemas.identity import RULES_VERSION, digest_json
from schemas.refs import FileRef, PartSpec, SourceListing
from schemas.spec import SourceSpec, SpaceSpec
from tasks.ingest.column_types import CAST_ERRORS, DECLARED, plain_type, type_name
from tasks.ingest.forgotten import forgotten_digest
from tasks.ingest.grouping import group_files
from tasks.ingest.listing import list_files
from tasks.ingest.reader import Reader, UnreadableError, reader_for
from tasks.store.opening import resolve_options

READING_VERSION = 1
"""Raised when any reader or check gives other records for the same file: all is read again."""

NO_TOMBSTONES: Mapping[str, str] = MappingProxyType({})

HEADS_READ = 16
"""Files of a source whose heads are looked at for the types of its columns."""


@dataclass(frozen=True)
class Survey:
    """Every source's listing, and the user's columns of the table in the order of the spec."""

    listings: tuple[SourceListing, ...]
    columns: tuple[pa.Field, ...]


@dataclass(frozen=True)
class Column:
    """A user's column as one source would have it; `kind` None: the source does not say."""

    field: str  # for example sources[0].columns[1]
    name: str
    kind: pa.DataType | None
    declared: bool


def survey(
    spec: SpaceSpec,
    known: pa.Schema | None = None,
    tombstones: Mapping[str, str] = NO_TOMBSTONES,
) -> Survey:
    """List every source, decide the columns' types and group the files into parts.

    `known` are the user's columns of the published table: its types win. `tombstones` are the
    files of `tombstone_files`, by source: what they name is not read. Raises `SourceError`
    where a source cannot be listed or matches nothing, `UsageError` for a column whose types clash
    and for a field that the source's format cannot do without.
    """
    names = spec.storage_variables
    options = resolve_options(names)
    listed = []
    columns: list[Column] = []
    for index, source in enumerate(spec.sources):
        files = list_files(source, options)
        _check_needs(source, index, files)
        columns += _columns(source, index, files, options)
        listed.append((source, files))
    fields = _agree(columns, known)
    kinds = {field.name: type_name(field.type) for field in fields}
    listings = tuple(
        _listing(
            source, files, kinds, spec.publish.thumbnails, names, tombstones.get(source.name, "")
        )
        for source, files in listed
    )
    return Survey(listings, fields)


def _readers(source: SourceSpec, files: Sequence[FileRef]) -> list[tuple[FileRef, Reader]]:
    """The files that some reader takes, each with it."""
    usable = [file for file in files if file.problem is None]
    paired = [(file, reader_for(file.uri, source.kind)) for file in usable]
    return [(file, reader) for file, reader in paired if reader is not None]


def _check_needs(source: SourceSpec, index: int, files: Sequence[FileRef]) -> None:
    """Refuse a source whose files need a field that is not set, or that sets one they lack."""
    read = _readers(source, files)
    for file, reader in read:
        for need in reader.needs:
            if not getattr(source, need):
                raise UsageError(
                    f"sources[{index}].{need}: not set, but {file.key!r} is a table; expected the "
                    f"name of {NEEDED[need]}"
                )
    if read and not any(reader.has_columns for _, reader in read):
        for field in ("key", "text", "image", "time", "columns"):
            if value := getattr(source, field):
                said = value if isinstance(value, str) else [getattr(v, "name", v) for v in value]
                raise UsageError(
                    f"sources[{index}].{field} {said!r}: no file of this source has columns (for "
                    f"example {read[0][0].key!r}); expected it to be left out: a file's key is its "
                    "relative path"
                )


NEEDED = {
    "key": "the column that holds a record's key",
    "text": "the columns to embed",
    "image": "the column that holds the image's bytes",
}


def _columns(
    source: SourceSpec, index: int, files: Sequence[FileRef], options: dict[str, Any]
) -> list[Column]:
    """The source's columns with the types that it declares or its files have."""
    undeclared = {column.name for column in source.columns if column.type is None}
    types = _head_types(source, files, undeclared, options) if undeclared else {}
    return [
        Column(
            f"sources[{index}].columns[{at}]",
            column.target,
            types.get(column.name) if column.type is None else DECLARED[column.type],
            column.type is not None,
        )
        for at, column in enumerate(source.columns)
    ]


def _head_types(
    source: SourceSpec, files: Sequence[FileRef], wanted: set[str], options: dict[str, Any]
) -> dict[str, pa.DataType]:
    """The type of each wanted column in the first file that has it."""
    types: dict[str, pa.DataType] = {}
    heads = [(f, r) for f, r in _readers(source, files) if r.has_columns][:HEADS_READ]
    for file, reader in heads:
        try:
            schema = reader.columns(file, options)
        except (UnreadableError, OSError):
            continue  # reading the part will count it
        for field in schema or ():
            if field.name in wanted:
                types.setdefault(field.name, plain_type(field.type))
        if len(types) == len(wanted):
            break
    return types


def _agree(columns: Sequence[Column], known: pa.Schema | None) -> tuple[pa.Field, ...]:
    """One type for each name over all sources: declared, else the table's, else the file's."""
    published = {} if known is None else {field.name: field.type for field in known}
    first: dict[str, Column] = {}
    for found in columns:
        kind = found.kind if found.declared else published.get(found.name, found.kind)
        column = replace(found, kind=kind)
        before = first.setdefault(column.name, column)
        if before.kind is None:
            first[column.name] = column
        elif kind not in (None, before.kind):
            raise UsageError(
                f"{column.field} {column.name!r}: {kind}, but {before.kind} in {before.field}; "
                "expected one type: cast one with {name, type}, or rename it with {name, as}"
            )
    fields = []
    for name, column in first.items():
        kind = pa.string() if column.kind is None else column.kind
        _check_storable(column, kind)
        fields.append(pa.field(name, kind))
    return tuple(fields)


def _check_storable(column: Column, kind: pa.DataType) -> None:
    """Refuse a type that rows cannot be compared by (DESIGN: the row hash)."""
    if pa.types.is_nested(kind) or pa.types.is_binary(kind):
        return
    try:
        pa.nulls(1, kind).cast(pa.string())
    except CAST_ERRORS as error:
        raise UsageError(
            f"{column.field} {column.name!r}: values of type {kind} cannot be stored; expected a "
            "type to cast to: {name, type}"
        ) from error


def _listing(
    source: SourceSpec,
    files: Sequence[FileRef],
    kinds: dict[str, str],
    thumbnails: bool,
    names: tuple[tuple[str, str], ...],
    tombstones: str,
) -> SourceListing:
    """The source's parts, each named by what its result depends on."""
    columns = tuple((c.target, kinds[c.target]) for c in source.columns)
    reading = {
        "rules": RULES_VERSION,
        "reading": READING_VERSION,
        **source.model_dump(include={"name", "kind", "key", "text", "image", "columns", "time"}),
        "types": columns,
        "thumbnails": thumbnails and source.kind == "image",
    }
    parts = tuple(
        PartSpec(
            digest=digest_json(
                {
                    **reading,
                    "files": [asdict(file) for file in group],
                    **forgotten_digest(tombstones, source, group),
                }
            ),
            source=source,
            files=group,
            columns=columns,
            thumbnails=thumbnails and source.kind == "image",
            storage_options=names,
            tombstones=tombstones,
        )
        for group in group_files(files, source.kind)
    )
    fingerprint = digest_json([part.digest for part in parts])
    return SourceListing(source.name, source.kind, len(files), fingerprint, parts)
