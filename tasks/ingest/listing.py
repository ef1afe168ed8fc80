"""The files of a source: one file, every file below a folder, or what a glob matches.

Local paths and URIs come out alike, sorted by key. Names that begin with a dot are left out.
A link that leads out of the source's root is listed with that problem and never followed; so is a
folder link that leads back to a folder it lies in, and what is neither file nor folder.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from schemas.errors import SourceError, VecmillError
from schemas.formats import scheme_of
from schemas.reasons import Reason
from schemas.refs import FileRef
from schemas.spec import SourceSpec
from tasks.ingest.path_pattern import PathPattern, path_pattern
from tasks.store.opening import filesystem, local_path, without_values


def list_files(source: SourceSpec, options: dict[str, Any]) -> list[FileRef]:
    """The source's files sorted by key.

    Raises `SourceError` where the place cannot be listed or nothing matches.
    """
    local = local_path(source.path)
    try:
        if local is not None:
            root, files = _list_local(local)
        else:
            root, files = _list_remote(source.path, options)
    except VecmillError:
        raise
    except Exception as error:  # noqa: BLE001  each driver raises errors of its own
        said = without_values(str(error) or type(error).__name__, options)
        raise SourceError(
            source.name,
            f"source {source.name!r}: cannot list {source.path!r}: {said}; "
            "expected a file, a folder or a glob that this machine can read",
        ) from None  # the error itself may quote a secret, and would be shown as the cause
    if not files:
        raise SourceError(
            source.name,
            f"source {source.name!r}: {source.path!r} matched no file (looked in {root}); "
            "expected at least one: check the path",
        )
    return sorted(files, key=lambda file: (file.key, file.uri))


def _list_local(path: Path) -> tuple[str, list[FileRef]]:
    """Files of a path on this machine."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100  links in the root stay as written
    if absolute.is_file():
        return str(absolute.parent), [_local_file(absolute, absolute.name)]
    if absolute.is_dir():
        pattern = PathPattern(str(absolute), "")
    else:
        pattern = path_pattern(absolute.as_posix())
        if not pattern.pattern:
            raise FileNotFoundError("no such file or folder")
    root = Path(pattern.root)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}")
    walk = _LocalWalk(root, pattern)
    return str(root), [
        _local_file(file, relative, problem)
        for file, relative, problem in walk.below(root, "")
        if not pattern.pattern or pattern.matches(relative)
    ]


class _LocalWalk:
    """Every file below a root, with what is wrong with it."""

    def __init__(self, root: Path, pattern: PathPattern) -> None:
        self._real_root = root.resolve()
        self._depth = pattern.depth if pattern.pattern else None
        self._hidden = pattern.hidden

    def below(self, folder: Path, prefix: str) -> Iterator[tuple[Path, str, Reason | None]]:
        """Path, path relative to the root, and problem of each file in `folder` and deeper."""
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            if entry.name.startswith(".") and not self._hidden:
                continue
            path, relative = Path(entry.path), prefix + entry.name
            if entry.is_symlink() and (problem := self._link_problem(path)) is not None:
                yield path, relative, problem
            elif not entry.is_dir():
                yield path, relative, None
            elif self._depth is None or relative.count("/") + 1 < self._depth:
                yield from self.below(path, relative + "/")

    def _link_problem(self, path: Path) -> Reason | None:
        target = Path(os.path.realpath(path))
        if not target.is_relative_to(self._real_root):
            return Reason.OUTSIDE_ROOT
        if target.is_dir() and Path(os.path.realpath(path.parent)).is_relative_to(target):
            return Reason.UNREADABLE_FILE  # a loop
        return None


def _local_file(path: Path, relative: str, problem: Reason | None = None) -> FileRef:
    """The reference to a file, which may be gone or unreadable by now."""
    try:
        status = path.lstat() if problem else path.stat()
        size, stamp = status.st_size, str(status.st_mtime_ns)
        if not problem and not (stat.S_ISREG(status.st_mode) and os.access(path, os.R_OK)):
            # A named pipe would be waited for; a right that is missing may be given later, and
            # that shall be another listing.
            problem = Reason.UNREADABLE_FILE
    except OSError as error:
        size, stamp, problem = 0, f"errno {error.errno}", problem or Reason.UNREADABLE_FILE
    key, uri = _name(relative), _name(str(path), normalize=False)
    if "\\x" in key + uri and not _is_utf8(str(path)):
        problem = problem or Reason.NOT_UTF8
    return FileRef(uri, key, size, stamp, problem)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _name(path: str, normalize: bool = True) -> str:
    """The path as valid Unicode, bytes that are none written out; as a key also NFC."""
    name = path if _is_utf8(path) else os.fsencode(path).decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", name) if normalize else name


STAMPS = ("ETag", "etag", "md5Hash", "generation", "version_id", "LastModified", "mtime", "created")
"""What drivers call the mark that changes with an object's content; the first known one counts."""


def _list_remote(path: str, options: dict[str, Any]) -> tuple[str, list[FileRef]]:
    """Files of a URI, through fsspec."""
    system = filesystem(path, options)
    scheme = scheme_of(path)
    pattern = path_pattern(path)
    if scheme in ("http", "https") or system.isfile(path):
        info = system.info(path)
        uri = path
        return path.rpartition("/")[0], [_remote_file(uri, _name(path.rpartition("/")[2]), info)]
    root = pattern.root.rstrip("/")
    if not system.isdir(root):
        raise FileNotFoundError(f"no file or folder {root}")
    base = str(system._strip_protocol(root)).strip("/")
    files = []
    found = system.find(root, maxdepth=pattern.depth if pattern.pattern else None, detail=True)
    for name, info in found.items():
        relative = str(name).strip("/").removeprefix(base).strip("/")
        if not relative or (not pattern.hidden and _is_hidden(relative)):
            continue
        if not pattern.pattern or pattern.matches(relative):
            files.append(_remote_file(f"{root}/{relative}", _name(relative), info))
    return root, files


def _is_hidden(relative: str) -> bool:
    return any(part.startswith(".") for part in relative.split("/"))


def _remote_file(uri: str, key: str, info: dict[str, Any]) -> FileRef:
    stamp = next((str(info[name]) for name in STAMPS if info.get(name) is not None), "")
    return FileRef(uri, key, int(info.get("size") or 0), stamp)
