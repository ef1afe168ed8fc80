"""Paths in a spec: made absolute against the spec's folder, and checked for sense.

A relative path is relative to the folder that the spec lies in. A URI stays as it is, a glob stays
a glob, `~` is the home folder, `..` is allowed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from schemas.formats import GLOB, file_path, scheme_of
from schemas.mistakes import HIDDEN, KeyPath, Mistake, holds_credentials, mistake
from schemas.spec import SpaceSpec

Found = Iterator[tuple[KeyPath, Mistake]]

_VARIABLE = re.compile(r"\$\{?[A-Za-z_]|%[A-Z_]+%")
_EVERY_NAME = frozenset({"**", "*", "*.*", "*.parquet", "*.pq"})
"""Parts of a glob that match the folders and files that vecmill writes."""

_TIMM_LOCAL = "local-dir:"


def absolute(place: str, base: str) -> str:
    """The place as an absolute path, or as the URI that it is.

    `base` is the spec's folder: a path, or a URI when the spec itself was read from one.
    """
    if (path := file_path(place)) is not None:
        return os.path.normpath(path)
    if scheme_of(place) is not None:
        return place
    place = os.path.expanduser(place)  # noqa: PTH111 - a glob is no path yet
    if scheme_of(base) is not None and not place.startswith("/"):
        head, _, tail = base.partition("://")
        return f"{head}://{os.path.normpath(f'{tail}/{place}')}"
    return os.path.normpath(os.path.join(base, place))  # noqa: PTH118 - the same


def model_place(model: str, base: str) -> str:
    """A folder as an absolute path; a hub id as it is.

    A folder is what begins with `.`, `/` or `~`, and what exists beside the spec.
    """
    place = model.removeprefix(_TIMM_LOCAL)
    if scheme_of(place) is not None:
        return model
    named = place != model or place.startswith(("/", "~", "./", "../")) or place in (".", "..")
    return absolute(place, base) if named or _is_folder(place, base) else model


def _is_folder(place: str, base: str) -> bool:
    return scheme_of(base) is None and Path(absolute(place, base)).is_dir()


def resolved(data: dict[str, Any], spec: SpaceSpec, base: str) -> dict[str, Any]:
    """The data of a right spec with every path made absolute."""
    out = dict(data)
    out["uri"] = absolute(spec.uri, base)
    out["workdir"] = absolute(spec.workdir, base)
    out["sources"] = [
        {**each, "path": absolute(source.path, base)}
        for each, source in zip(data["sources"], spec.sources, strict=True)
    ]
    out["embedder"] = {**data["embedder"], "model": model_place(spec.embedder.model, base)}
    if spec.chunk is not None and spec.chunk.tokenizer is not None:
        out["chunk"] = {**data["chunk"], "tokenizer": model_place(spec.chunk.tokenizer, base)}
    if spec.expectations.suite is not None:
        suite = absolute(spec.expectations.suite, base)
        out["expectations"] = {**data["expectations"], "suite": suite}
    return out


def place_mistakes(spec: SpaceSpec, base: str) -> list[tuple[KeyPath, Mistake]]:
    """What is wrong with the places of a salvaged spec, with the path of each."""
    written = list(_written(spec))
    unreadable = [each for path, place in written for each in _unreadable(path, place)]
    wrong = {path for path, _ in unreadable}
    if ("uri",) in wrong or ("workdir",) in wrong or spec.uri is None:
        return unreadable
    return [*unreadable, *_folders(spec, base), *_sources(spec, base), *_suite(spec, base)]


def _written(spec: SpaceSpec) -> Iterator[tuple[KeyPath, str]]:
    places: list[tuple[KeyPath, Any]] = [(("uri",), spec.uri), (("workdir",), spec.workdir)]
    places += [(("sources", i, "path"), s.path) for i, s in enumerate(spec.sources or ())]
    places.append((("expectations", "suite"), spec.expectations.suite))
    if spec.embedder is not None:
        places.append((("embedder", "model"), spec.embedder.model))
    if spec.chunk is not None:
        places.append((("chunk", "tokenizer"), spec.chunk.tokenizer))
    yield from ((path, place) for path, place in places if isinstance(place, str))


def _unreadable(path: KeyPath, place: str) -> Found:
    if holds_credentials(place):
        yield (
            path,
            mistake(
                path,
                HIDDEN,
                "a place without a user name, password or signature",
                "name environment variables under storage_options instead",
            ),
        )
    elif _VARIABLE.search(place):
        step = "write the path out (relative to the spec, absolute, or from ~)"
        yield path, mistake(path, place, "a path; variables are not replaced in a spec", step)
    elif "\0" in place:
        yield path, mistake(path, place, "a path without NUL characters", "correct it")


def _folders(spec: SpaceSpec, base: str) -> Found:
    """The table's folder and the workdir are folders, and neither lies in the other."""
    places = {"uri": absolute(spec.uri, base), "workdir": absolute(spec.workdir, base)}
    local = {name: Path(place) for name, place in places.items() if scheme_of(place) is None}
    for name, folder in local.items():
        for part in (folder, *folder.parents):
            if part.is_file():
                expected = "a folder, or a place where one can be made"
                step = f"{part} is a file: choose another place"
                yield (name,), mistake((name,), getattr(spec, name), expected, step)
    if len(local) < 2:
        return
    uri, workdir = local["uri"], local["workdir"]
    if workdir.is_relative_to(uri) or uri.is_relative_to(workdir):
        expected = f"a folder apart from uri ({spec.uri}), since the workdir may be deleted"
        step = "put both beside each other, for example uri: ./lancedb and workdir: ./.vecmill"
        yield ("workdir",), mistake(("workdir",), spec.workdir, expected, step)


def _sources(spec: SpaceSpec, base: str) -> Found:
    """No source reads the table or the work in progress."""
    own = {name: absolute(getattr(spec, name), base) for name in ("uri", "workdir")}
    for i, source in enumerate(spec.sources or ()):
        if not isinstance(source.path, str) or scheme_of(place := absolute(source.path, base)):
            continue
        for name, folder in own.items():
            if scheme_of(folder) is None and _may_read(place, Path(folder)):
                path: KeyPath = ("sources", i, "path")
                expected = f"files outside {name}, which vecmill writes ({folder})"
                yield path, mistake(path, source.path, expected, "keep the source elsewhere")


def _may_read(place: str, folder: Path) -> bool:
    """Whether a source's path may lead into `folder`, as far as the path alone tells.

    Sources leave hidden names out, and neither a table nor the workdir holds documents.
    """
    *fixed, last = GLOB.split(place, maxsplit=1)
    root = Path(fixed[0].rpartition("/")[0] or "/") if fixed else Path(last)
    if root.is_relative_to(folder):
        return True
    if not folder.is_relative_to(root):
        return False
    hidden = any(part.startswith(".") for part in folder.relative_to(root).parts)
    below = place.removeprefix(str(root)).strip("/").split("/") if fixed else []
    everywhere = not fixed or ("**" in below and _EVERY_NAME.issuperset(below))
    return everywhere and not hidden


def _suite(spec: SpaceSpec, base: str) -> Found:
    suite = spec.expectations.suite
    if not isinstance(suite, str) or scheme_of(place := absolute(suite, base)) is not None:
        return
    if not Path(place).is_file():
        path: KeyPath = ("expectations", "suite")
        expected = f"a Great Expectations suite as a JSON file (looked for {place})"
        yield path, mistake(path, suite, expected, "correct the path, or leave suite out")
