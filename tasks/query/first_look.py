"""A first look at files, to write a spec for them: formats, columns, and which is likely what.

    paths → files by folder and ending → one source each, with its key, text and other columns

Only names and the first rows are read. The guesses are written with their reasons, for the user to
correct.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from schemas.column_names import LANCE_NAMES, RESERVED_NAMES
from schemas.errors import UsageError
from schemas.formats import ARCHIVES, COMPRESSIONS, DOCUMENTS, KNOWN, PICTURES, TABLES
from tasks.query.table_head import Column, read_head

FILES = 50_000
"""Files looked at below a folder; more of them change no guess."""

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
    notes: tuple[str, ...] = field(default=())


def look_at(paths: Sequence[Path]) -> list[Look]:
    """The sources that `paths` (files or folders) hold.

    Raises `UsageError` for a path that is missing and where nothing is readable.
    """
    groups: dict[tuple[Path, str, bool], list[Path]] = {}
    unknown: Counter[str] = Counter()
    for path in paths:
        if not path.exists():
            raise UsageError(f"'{path}' does not exist; expected a file or folder to look at")
        for file in _files(path):
            ending = _ending(file)
            if ending is None:
                unknown[file.suffix or file.name] += 1
            else:
                place = path if path.is_dir() else file.parent
                groups.setdefault((place, ending, path.is_dir()), []).append(file)
    if not groups:
        seen = ", ".join(f"{n} × {name}" for name, n in unknown.most_common(5)) or "no file"
        raise UsageError(
            f"nothing to embed in {', '.join(str(p) for p in paths)} (found {seen}); "
            f"expected files ending in {', '.join(sorted(KNOWN))}"
        )
    taken: set[str] = set()
    return [
        _look(place, ending, whole, sorted(files), taken)
        for (place, ending, whole), files in _merge_pictures(groups, unknown).items()
    ]


def _files(path: Path) -> Iterator[Path]:
    """The files at or below `path` in order, hidden ones left out, `FILES` at most."""
    if path.is_file():
        yield path
        return
    seen = 0
    for folder, below, names in os.walk(path):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(folder) / name
                seen += 1
        if seen >= FILES:
            return


def _ending(file: Path) -> str | None:
    """The ending as the file writes it (`JPG`, `csv.gz`), or None for no known format."""
    parts = file.name.split(".")[1:]
    if not parts:
        return None
    take = 2 if parts[-1].lower() in COMPRESSIONS and len(parts) > 1 else 1
    return ".".join(parts[-take:]) if parts[-take].lower() in KNOWN else None


def _merge_pictures(
    groups: dict[tuple[Path, str, bool], list[Path]], unknown: Counter[str]
) -> dict[tuple[Path, str, bool], list[Path]]:
    """A folder of nothing but pictures is one source, whatever their formats."""
    out: dict[tuple[Path, str, bool], list[Path]] = {}
    for (place, ending, whole), files in groups.items():
        others = [end for at, end, _ in groups if at == place]
        pure = whole and not unknown and all(_format(end) in PICTURES for end in others)
        out.setdefault((place, "" if pure else ending, whole), []).extend(files)
    return out


def _format(ending: str) -> str:
    return ending.split(".")[0].lower()


def _look(place: Path, ending: str, whole: bool, files: list[Path], taken: set[str]) -> Look:
    if len(files) == 1 and not whole:
        path, stem = str(files[0]), files[0].name.split(".")[0]
    elif not ending:
        path, stem = str(place), place.resolve().name
    else:
        path = str(place / (f"**/*.{ending}" if whole else f"*.{ending}"))
        stem = place.resolve().name
    name = _name(stem, taken)
    form = _format(ending) if ending else "pictures"
    if form in TABLES:
        return _table(name, path, ending, files)
    if form in DOCUMENTS:
        return Look(name, "text", path, ending, len(files))
    assert not ending or form in PICTURES | ARCHIVES
    return Look(name, "image", path, ending or "pictures", len(files))


def _name(stem: str, taken: set[str]) -> str:
    """A legal name that no other source has."""
    base = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_") or "source"
    base = base if base[0].isalpha() else f"s_{base}"
    name, number = base[:90], 1
    while name in taken:
        number += 1
        name = f"{base[:90]}_{number}"
    taken.add(name)
    return name


def _table(name: str, path: str, ending: str, files: list[Path]) -> Look:
    head = read_head(files[0], _format(ending))
    images = [c for c in head if c.kind == "bytes"]
    texts = [] if images else _texts(head)
    if not images and not texts:
        raise UsageError(
            f"{files[0]}: no column of text and none of image bytes; its columns are "
            + ", ".join(f"{c.name} ({c.kind})" for c in head)
        )
    notes = []
    key = _key(head, texts)
    if not key.unique:
        notes.append(f"key: no column is unique in the first rows; {key.name} is a guess")
    chosen = {key.name, *(c.name for c in texts), *(c.name for c in images)}
    carried = [c for c in head if c.name not in chosen and c.short(SHORT)][:COLUMNS]
    renamed = _renamed([c.name for c in carried])
    return Look(
        name=name,
        kind="image" if images else "text",
        path=path,
        ending=ending,
        files=len(files),
        key=key.name,
        text=tuple(c.name for c in texts),
        image=images[0].name if images else None,
        columns=tuple(zip((c.name for c in carried), renamed, strict=True)),
        left=tuple(c.name for c in head if c.name not in chosen and c not in carried),
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


def _key(head: list[Column], texts: list[Column]) -> Column:
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
            "no column can be the key: expected one of strings or integers, found "
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
