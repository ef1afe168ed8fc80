"""A first look at files, to write a spec for them: which sources there are, and what is left out.

    paths → files by folder and ending → one source each (tables: `table_look`) → FirstLook

Only names and the first rows are read. The guesses are written with their reasons, for the user to
correct.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from schemas.errors import UsageError
from schemas.formats import COMPRESSIONS, DOCUMENTS, KNOWN, PICTURES, TABLES
from tasks.query.table_head import Head, read_head
from tasks.query.table_look import Look, look_at_table

FILES = 50_000
"""Files looked at below a folder; more of them change no guess."""

HEADS = 20
"""Tables of a folder whose columns are compared."""

ANY_PICTURE = "pictures"
"""Stands for the ending of a folder's pictures: they are one source, whatever their formats."""

PACKED = ("csv", "tsv", "jsonl", "ndjson")
"""The formats that are read compressed too."""


@dataclass(frozen=True)
class FirstLook:
    """The sources as guessed; `left` says what is not taken and why."""

    sources: tuple[Look, ...]
    left: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """Files of one ending: all below the folder `place`, or those that were named in it."""

    place: Path
    ending: str
    whole: bool


def look_at(paths: Sequence[Path]) -> FirstLook:
    """The sources that `paths` (files or folders) hold.

    Raises `UsageError` for a path that is missing, for a named file that cannot be read, and where
    nothing can be embedded.
    """
    groups: dict[Group, list[Path]] = {}
    unknown: Counter[str] = Counter()
    for path in dict.fromkeys(paths):
        if not path.exists():
            raise UsageError(f"'{path}' does not exist; expected a file or folder to look at")
        whole = path.is_dir()
        for file in _files(path):
            ending = _ending(file)
            if ending is None:
                unknown[file.suffix or file.name] += 1
                continue
            any_picture = whole and ending.lower() in PICTURES
            place = path if whole else file.parent
            group = Group(place, ANY_PICTURE if any_picture else ending, whole)
            groups.setdefault(group, []).append(file)
    left = [f"{n} × {name}: no reader knows this ending" for name, n in unknown.most_common()]
    looks: list[Look] = []
    for group, files in groups.items():
        alone = not unknown and [g.place for g in groups].count(group.place) == 1
        looks += _look(group, sorted(files), alone, left)
    if not looks:
        said = "; ".join(left) or "no file"
        raise UsageError(
            f"nothing to embed in {', '.join(str(p) for p in paths)} (found {said}); "
            f"expected files ending in {', '.join(sorted(KNOWN))}"
        )
    return FirstLook(tuple(_named(looks)), tuple(left))


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
    if len(parts) > 1 and parts[-1].lower() in COMPRESSIONS:
        return ".".join(parts[-2:]) if parts[-2].lower() in PACKED else None
    return parts[-1] if parts and parts[-1].lower() in KNOWN else None


def _look(group: Group, files: list[Path], alone: bool, left: list[str]) -> list[Look]:
    """The sources of one group; what cannot be taken is added to `left`."""
    form = group.ending.split(".")[0].lower()
    if form in TABLES:
        return _tables(group, files, form, left)
    kind = "text" if form in DOCUMENTS else "image"
    folder = group.ending == ANY_PICTURE and alone
    path = str(group.place) if folder else _pattern(group, files, group.whole)
    return [Look(_stem(group, files), kind, path, group.ending, len(files))]


def _tables(group: Group, files: list[Path], form: str, left: list[str]) -> list[Look]:
    """One source for the tables that have the same columns; of very many the first speaks."""
    many = len(files) > HEADS
    found: dict[tuple[str, ...], tuple[Head, list[Path]]] = {}
    for file in files:
        if many and found:
            break
        with _leaving_out(group, left):
            head = read_head(file, form)
            names = tuple(column.name for column in head.columns)
            found.setdefault(names, (head, []))[1].append(file)
    looks = []
    for head, same in found.values():
        mine = files if many else same
        with _leaving_out(group, left):
            path = _pattern(group, mine, group.whole and len(mine) == len(files))
            looks.append(look_at_table(_stem(group, mine), path, head, group.ending, len(mine)))
    return looks


@contextmanager
def _leaving_out(group: Group, left: list[str]) -> Iterator[None]:
    """What cannot be read is left out where a folder was named, and an error where the file was."""
    try:
        yield
    except UsageError as error:
        if not group.whole:
            raise
        left.append(str(error))


def _stem(group: Group, files: list[Path]) -> str:
    """What the source is called after: the only file that was named, or the folder."""
    if len(files) == 1 and not group.whole:
        return files[0].name.split(".")[0]
    return group.place.resolve().name


def _pattern(group: Group, files: list[Path], everything: bool) -> str:
    """A path or glob that means these files; `everything`: all of that ending below the folder."""
    if len(files) == 1 and not everything:
        return str(files[0])
    if not everything:
        names = [_escaped(file.relative_to(group.place).as_posix()) for file in files]
        return f"{_escaped(str(group.place))}/{{{','.join(re.sub('[,}]', '?', n) for n in names)}}}"
    endings = sorted({file.name.rpartition(".")[2] for file in files})
    ending = group.ending if group.ending != ANY_PICTURE else endings[0]
    if group.ending == ANY_PICTURE and len(endings) > 1:
        ending = f"{{{','.join(endings)}}}"
    return f"{_escaped(str(group.place))}/**/*.{ending}"


def _escaped(path: str) -> str:
    """The path with its own wildcards as characters."""
    return re.sub(r"[*?\[{]", r"[\g<0>]", path)


def _named(looks: Sequence[Look]) -> Iterator[Look]:
    """The looks, each with a legal name that no other has."""
    taken: set[str] = set()
    for look in looks:
        base = re.sub(r"[^a-z0-9]+", "_", look.name.lower()).strip("_") or "source"
        base = (base if base[0].isalpha() else f"s_{base}")[:90]
        name, number = base, 1
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name)
        yield replace(look, name=name)
