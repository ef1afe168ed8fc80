"""Checks between fields: what each field allows alone, but the spec as a whole does not.

Every check takes the salvaged spec (`schemas.shape.salvage`), in which a required field may be
None because its value was wrong, and yields what it finds beside the other mistakes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from schemas.column_names import LANCE_NAMES, RESERVED_NAMES
from schemas.engines import AUTO, PRECISIONS_OF
from schemas.formats import ARCHIVES, DOCUMENTS, PARQUET, PICTURES, TABLES, format_of, scheme_of
from schemas.mistakes import HIDDEN, KeyPath, Mistake, Shown, looks_secret, mistake
from schemas.places import absolute
from schemas.spec import SourceSpec, SpaceSpec

Found = Iterator[tuple[KeyPath, Mistake]]

ONE_KIND = {"sentence-transformers": "text", "timm": "image"}
"""The embedders that embed one kind alone; open-clip embeds both."""

WHOLE_TIMES = ("timestamp", "string", "int64", "float64")
"""The types that hold the times of an append source as exactly as they were read."""

TABLE_SCHEMES = frozenset({None, "file", "s3", "gs", "az", "abfss"})
"""Where a table may lie: a folder (no scheme), or an object store that Lance writes to."""

_FOR_LANCE = re.compile("[.`]")
"""Lance takes a dot for a path and a backtick for a quote; a table with such a column is lost."""

_RELEASE_TAG = re.compile(r"^(v\d+$|data-|base-)")
_VARIABLE = re.compile(r"^[A-Z_][A-Z0-9_]*$")
_LONGEST_WORD = 16
"""Capital letters and digits without a `_`: longer is a key (AWS's have 20), not a name."""


def _found(path: KeyPath, value: object, expected: str, step: str) -> tuple[KeyPath, Mistake]:
    return path, mistake(path, value, expected, step)


def source_names(spec: SpaceSpec) -> Found:
    """Each source has a name of its own."""
    first: dict[str, int] = {}
    for i, source in enumerate(spec.sources or ()):
        if source.name in first:
            yield _found(
                ("sources", i, "name"),
                source.name,
                f"a name of its own (sources[{first[source.name]}] has this one)",
                "the name is part of every id: choose another",
            )
        elif source.name is not None:
            first[source.name] = i


def source_formats(spec: SpaceSpec, base: str) -> Found:
    """What a source says about columns fits the files that its path names (from `base`)."""
    for i, source in enumerate(spec.sources or ()):
        path: KeyPath = ("sources", i)
        yield from _kind_options(source, path)
        ending = None if source.path is None else format_of(absolute(source.path, base))
        if ending is None:
            continue
        if (wrong := _wrong_kind(source, ending)) is not None:
            yield _found((*path, "kind"), source.kind, *wrong)
        elif ending in TABLES:
            yield from _table_options(source, path, ending)
        else:
            yield from _file_options(source, path, ending)


def _kind_options(source: SourceSpec, path: KeyPath) -> Found:
    if source.kind == "image" and source.text:
        yield _found(
            (*path, "text"),
            source.text,
            "no text columns on a source of kind image",
            "remove text, or write kind: text",
        )
    if source.kind == "text" and source.image:
        yield _found(
            (*path, "image"),
            source.image,
            "no image column on a source of kind text",
            "remove image, or write kind: image",
        )


def _wrong_kind(source: SourceSpec, ending: str) -> tuple[str, str] | None:
    if source.kind == "text" and ending in PICTURES | ARCHIVES:
        return f"image, since the path names .{ending} files", "write kind: image"
    if source.kind == "image" and ending in DOCUMENTS:
        return f"text, since the path names .{ending} files", "write kind: text"
    if source.kind == "image" and ending in TABLES - PARQUET:
        return (
            f"text, since the path names .{ending} files, which hold no pictures",
            "write kind: text, or give pictures, a WebDataset .tar or parquet with their bytes",
        )
    return None


def _table_options(source: SourceSpec, path: KeyPath, ending: str) -> Found:
    if source.key is None:
        yield _found(
            (*path, "key"),
            Shown("is missing"),
            f"the column that holds each record's key, since the path names .{ending} files",
            "add key: <column of strings or integers, each value once>",
        )
    if source.kind == "text" and not source.text:
        yield _found(
            (*path, "text"),
            Shown("is missing"),
            f"the columns to embed, since the path names .{ending} files",
            "add text: [<column>, …]",
        )
    if source.kind == "image" and source.image is None:
        yield _found(
            (*path, "image"),
            Shown("is missing"),
            f"the column that holds the pictures' bytes, since the path names .{ending} files",
            "add image: <column>",
        )


def _file_options(source: SourceSpec, path: KeyPath, ending: str) -> Found:
    options: dict[str, object] = {}
    if source.kind == "text":
        options["text"] = source.text
    else:
        options["image"] = source.image
    if ending not in ARCHIVES:  # a WebDataset's sidecars have columns
        options |= {"key": source.key, "time": source.time, "columns": source.columns}
    for name, value in options.items():
        if value:
            yield _found(
                (*path, name),
                value,
                f"nothing, since .{ending} files have no such column",
                "remove it (the key is the relative path)" if name == "key" else "remove it",
            )


def columns(spec: SpaceSpec) -> Found:
    """A user's column has one name and one type, none of the contract's, once in a source."""
    types: dict[str, tuple[str, str]] = {}
    for i, source in enumerate(spec.sources or ()):
        seen: set[str] = set()
        for j, column in enumerate(source.columns):
            path: KeyPath = ("sources", i, "columns", j)
            if column.name is None:
                continue
            name = column.target
            place = (*path, "as" if column.as_ else "name")
            yield from _column_name(place, name, column.name, seen)
            seen.add(name)
            if column.type is not None:
                known, where = types.setdefault(name, (column.type, source.name))
                if known != column.type:
                    yield _found(
                        (*path, "type"),
                        column.type,
                        f"{known}, as source {where} has it: a column of the table has one type",
                        "write the same type, or give the column another name with as:",
                    )
        yield from _repeated_text(i, source)


def _column_name(path: KeyPath, name: str, original: str, seen: set[str]) -> Found:
    plain = re.sub(r"\W", "_", original).strip("_") or "column"
    if name in RESERVED_NAMES | LANCE_NAMES:
        rename = f"rename it: {{name: {original!r}, as: source_{plain}}}"
        yield _found(path, name, "a name that vecmill does not use itself", rename)
    elif _FOR_LANCE.search(name) or name == "*" or name != name.strip() or not name.isprintable():
        rename = f"rename it: {{name: {original!r}, as: {plain}}}"
        expected = "a name without '.', '`', control characters and outer blanks"
        yield _found(path, name, expected, rename)
    if name in seen:
        yield _found(path, name, "each column of a source once", "remove it, or rename it with as:")


def _repeated_text(i: int, source: SourceSpec) -> Found:
    names = source.text
    for j, name in enumerate(names):
        if name is not None and name in names[:j]:
            yield _found(("sources", i, "text", j), name, "each column once", "remove it")


def append_times(spec: SpaceSpec) -> Found:
    """The times of an append source are carried: a published record outlives its file."""
    for i, source in enumerate(spec.sources or ()):
        if source.mode != "append" or not source.time:
            continue
        carried = [(j, c) for j, c in enumerate(source.columns) if c.name == source.time]
        if not carried:
            expected = "a column that the table carries too: mode append keeps rows without a file"
            step = f"add it: columns: [{source.time}], perhaps under another name with as:"
            yield _found(("sources", i, "time"), source.time, expected, step)
        elif all(c.type not in (None, *WHOLE_TIMES) for _, c in carried):
            j, column = carried[0]
            expected = f"{', '.join(WHOLE_TIMES)} or none: any other type loses part of the time"
            path: KeyPath = ("sources", i, "columns", j, "type")
            yield _found(path, column.type, expected, "write type: timestamp, or leave it out")


def chunks(spec: SpaceSpec) -> Found:
    """Neighbouring chunks share less than a whole chunk."""
    if spec.chunk is not None and spec.chunk.overlap >= spec.chunk.max_tokens:
        yield _found(
            ("chunk", "overlap"),
            spec.chunk.overlap,
            f"less than chunk.max_tokens ({spec.chunk.max_tokens})",
            f"a tenth of it is usual: {spec.chunk.max_tokens // 10}",
        )


def embedded_kinds(spec: SpaceSpec) -> Found:
    """The embedder can embed every source's kind."""
    kind = None if spec.embedder is None else spec.embedder.kind
    only = ONE_KIND.get(kind or "")
    for i, source in enumerate(spec.sources or ()):
        if only is not None and source.kind is not None and source.kind != only:
            yield _found(
                ("sources", i, "kind"),
                source.kind,
                f"{only}: an embedder of kind {kind} embeds {only} only",
                "embedder.kind: open-clip embeds text and images into one space",
            )
    if kind == "timm":
        for name in ("prompt", "query_prompt"):
            if getattr(spec.embedder, name):
                yield _found(
                    ("embedder", name),
                    getattr(spec.embedder, name),
                    "nothing: a timm model embeds images only and takes no prompt",
                    "remove it",
                )


def engines(spec: SpaceSpec) -> Found:
    """The engine computes in that precision."""
    if spec.embedder is None:
        return
    engine, precision = spec.embedder.engine, spec.embedder.precision
    known = PRECISIONS_OF.get(engine or "")
    if known is None or precision is None or precision in (AUTO, *known):
        return
    others = [name for name, each in PRECISIONS_OF.items() if precision in each]
    yield _found(
        ("embedder", "precision"),
        precision,
        f"one of {', '.join((AUTO, *known))}, since embedder.engine is {engine}",
        f"leave it out (auto), or write engine: {' or '.join(others)}",
    )


def kept_copies(spec: SpaceSpec) -> Found:
    """`dedupe.keep` names each rule once, and no rule with its opposite."""
    opposite = {"earliest": "latest", "longest": "shortest"}
    opposite |= {value: key for key, value in opposite.items()}
    names = spec.dedupe.keep
    for i, name in enumerate(names):
        if name is not None and name in names[:i]:
            yield _found(("dedupe", "keep", i), name, "each rule once", "remove it")
        elif name is not None and opposite[name] in names[:i]:
            expected = f"no opposite of {opposite[name]}, which stands before it"
            yield _found(("dedupe", "keep", i), name, expected, "remove one of the two")


def tag(spec: SpaceSpec) -> Found:
    """The moving tag is none of the release tags, and one that Lance takes."""
    name = spec.publish.tag
    if _RELEASE_TAG.match(name):
        expected = "a tag of your own: v0001…, data-… and base-… are the releases' tags"
        yield _found(("publish", "tag"), name, expected, "choose a name such as prod")
    elif name.startswith(".") or name.endswith((".", ".lock")) or ".." in name:
        expected = "a tag without a '.' at either end, without '..' and '.lock'"
        yield _found(("publish", "tag"), name, expected, "choose a name such as prod")


def table_place(spec: SpaceSpec) -> Found:
    """The table lies where Lance can keep one."""
    if isinstance(spec.uri, str) and scheme_of(spec.uri) not in TABLE_SCHEMES:
        step = "write a path such as ./lancedb, or a URI such as s3://bucket/folder"
        yield _found(("uri",), spec.uri, "a folder, or an s3://, gs:// or az:// URI", step)


def storage_options(spec: SpaceSpec) -> Found:
    """Options are names of environment variables; no value is ever shown."""
    options: Any = spec.storage_options
    if options is None or isinstance(options, str):
        return  # a block's name is refused in `schemas.unbuilt`
    if not isinstance(options, dict):
        expected = "a mapping of storage option to the name of an environment variable, or null"
        yield _found(
            ("storage_options",),
            HIDDEN,
            expected,
            "write for example storage_options: {aws_region: AWS_REGION}",
        )
        return
    for option, value in options.items():
        if is_variable(value):
            continue
        name = re.sub(r"\W", "_", option).upper()
        yield _found(
            ("storage_options", option),
            HIDDEN,
            "the name of an environment variable (capital letters, digits and _), never the value",
            f"write {option}: {name}, and set {name} in the environment",
        )


def is_variable(value: object) -> bool:
    """Whether a value is the name of an environment variable rather than a secret itself."""
    if not isinstance(value, str) or not _VARIABLE.match(value) or looks_secret(value):
        return False
    return len(max(value.split("_"), key=len)) < _LONGEST_WORD


CHECKS: tuple[Callable[[SpaceSpec], Found], ...] = (
    source_names,
    columns,
    append_times,
    chunks,
    embedded_kinds,
    engines,
    kept_copies,
    tag,
    table_place,
    storage_options,
)


def combination_mistakes(spec: SpaceSpec, base: str) -> list[tuple[KeyPath, Mistake]]:
    """Everything that the checks between fields find in a salvaged spec, with its path."""
    return [*(each for check in CHECKS for each in check(spec)), *source_formats(spec, base)]
