"""Guesses about a table from its head: which column is the key, which are texts, which to carry."""

from __future__ import annotations

import re
from dataclasses import dataclass

from schemas.column_names import LANCE_NAMES, RESERVED_NAMES
from schemas.errors import UsageError
from tasks.query.table_head import Column, Head

COLUMNS = 12
"""Columns carried into the table by default."""

KEY_NAMES = ["id", "key", "doc_id", "docid", "document_id", "item_id", "uuid", "guid", "pk"]
TEXT_NAMES = [
    *("title", "headline", "name", "subject", "question", "prompt", "summary", "abstract"),
    *("text", "body", "content", "document", "passage", "sentence", "description", "answer"),
    *("caption", "review", "article", "comment", "message"),
]
LONG = 40
"""Characters a text column has on average, at least, where its name says nothing."""

SHORT = 120
"""Characters above which a column that is not embedded is not carried either."""


@dataclass(frozen=True)
class Look:
    """One source as guessed; `notes` explain a guess that a user should check."""

    name: str
    kind: str
    path: str
    ending: str
    files: int
    key: str | None = None
    text: tuple[str, ...] = ()
    image: str | None = None
    columns: tuple[tuple[str, str], ...] = ()  # (name in the file, name in the table)
    left: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def look_at_table(name: str, path: str, head: Head, ending: str, files: int) -> Look:
    """The source of tables that begin with `head`.

    Raises `UsageError` where there is nothing to embed, or no column that can be a key.
    """
    columns = list(head.columns)
    images = [c for c in columns if c.kind == "bytes"]
    texts = [] if images else _texts(columns)
    if not images and not texts:
        said = ", ".join(f"{c.name} ({c.kind})" for c in columns)
        raise UsageError(
            f"{path}: no column of text and none of image bytes; its columns are {said}"
        )
    key = _key(path, columns, texts)
    notes = list(head.notes)
    if not key.unique:
        notes.append(f"key: no column is unique in the first rows; {key.name!r} is a guess")
    chosen = {key.name, *(c.name for c in texts), *(c.name for c in images)}
    carried = [c for c in columns if c.name not in chosen and c.short(SHORT)][:COLUMNS]
    renamed = _renamed([c.name for c in carried])
    return Look(
        name=name,
        kind="image" if images else "text",
        path=path,
        ending=ending,
        files=files,
        key=key.name,
        text=tuple(c.name for c in texts),
        image=images[0].name if images else None,
        columns=tuple(zip((c.name for c in carried), renamed, strict=True)),
        left=tuple(c.name for c in columns if c.name not in chosen and c not in carried),
        notes=tuple(notes),
    )


def _texts(head: list[Column]) -> list[Column]:
    """The columns to embed: by their names, else the long ones, else the longest."""
    strings = [c for c in head if c.kind == "string"]
    named = [c for c in strings if c.name.lower() in TEXT_NAMES]
    if any(c.length >= LONG for c in named) or len(named) > 1:
        return sorted(named, key=lambda c: TEXT_NAMES.index(c.name.lower()))
    long = [c for c in strings if c.length >= LONG]
    candidates = long or named or [c for c in strings if c.name.lower() not in KEY_NAMES]
    return candidates if long else sorted(candidates, key=lambda c: -c.length)[:1]


def _key(path: str, head: list[Column], texts: list[Column]) -> Column:
    """The likeliest key: by name, then by being unique, then by coming first."""

    def rank(column: Column) -> tuple[bool, int, bool]:
        name = column.name.lower()
        known = KEY_NAMES.index(name) if name in KEY_NAMES else len(KEY_NAMES)
        if known == len(KEY_NAMES) and not name.endswith("_id"):
            known += 1
        return not column.unique, known, column in texts

    usable = [c for c in head if c.kind in ("string", "integer")]
    if not usable:
        raise UsageError(
            f"{path}: no column can be the key: expected one of strings or integers, found "
            + ", ".join(f"{c.name} ({c.kind})" for c in head)
        )
    return min(usable, key=rank)


def _renamed(names: list[str]) -> list[str]:
    """Names that the table can have: none of the contract's own, no dots, none twice."""
    out: list[str] = []
    for name in names:
        target = re.sub(r"\W", "_", name) or "column"
        while target in RESERVED_NAMES | LANCE_NAMES or target in out:
            target += "_"
        out.append(target)
    return out
