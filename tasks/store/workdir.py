"""The `workdir` as a store of content-addressed files: a file that exists is whole.

A file's name says what it holds and under which settings, so resuming needs no bookkeeping: it is
looked up, and only what is missing is made. Files are written under a temporary name and renamed.

    store.find("records", digest)      → path or None
    with store.create("records", digest) as path: ...   # renamed into place on success

With a `scratch` folder (a dry run) new files go there and nothing is written to the `workdir`.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.arrow import REJECTS
from schemas.refs import RejectsRef

MARK_EVERY = 86_400.0
"""Seconds after which a file that is used again is marked again: expiry counts in days."""

TEMPORARY = ".tmp-"
"""Every unfinished file's name starts so."""

ROWS_PER_GROUP = 8_192
"""Small row groups: a shard of the next stage reads a slice without its whole file."""

REJECTS_HELD = 10_000
"""Rejects kept in memory before they are written: some MB."""


@dataclass(frozen=True)
class Store:
    """A `workdir` on this machine's file system, shared by the spaces that name it.

    `owner` is the lease of whoever works there: it stands in the names of unfinished files.
    """

    root: str
    scratch: str | None = None
    owner: str = ""

    def path(self, folder: str, name: str, suffix: str = ".parquet") -> Path:
        """Where a new file of that name belongs."""
        return Path(self.scratch or self.root) / folder / f"{name}{suffix}"

    def find(self, folder: str, name: str, suffix: str = ".parquet") -> Path | None:
        """The finished file of that name, or None; it is marked as used (not by a dry run)."""
        for root in (self.root, self.scratch):
            if root is not None and (path := Path(root) / folder / f"{name}{suffix}").exists():
                if self.scratch is None:
                    mark_used(path)
                return path
        return None

    def files(self, folder: str, suffix: str = ".parquet") -> list[Path]:
        """Every finished file of a folder, sorted by name; `[]` when there is none."""
        return [Path(path) for path in self.file_names(folder, suffix)]

    def file_names(self, folder: str, suffix: str = ".parquet") -> list[str]:
        """`files` by name alone, where there are many: a path costs ten times as much."""
        found: list[str] = []
        for root in (self.root, self.scratch):
            if root is not None and (place := Path(root) / folder).is_dir():
                with os.scandir(place) as entries:
                    found += [
                        entry.path
                        for entry in entries
                        if entry.name.endswith(suffix) and not entry.name.startswith(TEMPORARY)
                    ]
        return sorted(found)

    @contextmanager
    def create(self, folder: str, name: str, suffix: str = ".parquet") -> Iterator[Path]:
        """Yield a temporary path to write; on success it becomes the file of that name.

        Two writers of one name write the same content, so the last rename wins harmlessly.
        """
        final = self.path(folder, name, suffix)
        final.parent.mkdir(parents=True, exist_ok=True)
        part = final.with_name(f"{TEMPORARY}{self.owner}-{secrets.token_hex(4)}-{final.name}")
        try:
            yield part
            part.replace(final)
        finally:
            part.unlink(missing_ok=True)


def mark_used(path: Path) -> None:
    """Let the file's time say that it was used today; expiry looks at that."""
    # Gone meanwhile, somebody else's, or read-only: it expires at worst, and is made again.
    with suppress(OSError):
        if time.time() - path.stat().st_mtime > MARK_EVERY:
            os.utime(path)


class RejectsWriter:
    """Streams rejects into `rejects/<name>.parquet`; counts them by level.

    Use as a context manager inside the stage that writes its data file *after* the rejects file
    is in place: the data file's existence then says that both are whole.
    """

    def __init__(self, store: Store, name: str, **defaults: object) -> None:
        self._store = store
        self._name = name
        self._defaults = defaults
        self._held: list[dict[str, object]] = []
        self._counts = {"record": 0, "item": 0}

    def __enter__(self) -> RejectsWriter:
        self._context = self._store.create("rejects", self._name)
        self._writer = pq.ParquetWriter(self._context.__enter__(), REJECTS, compression="zstd")
        return self

    def add(self, **reject: object) -> None:
        """Add one reject: fields of `REJECTS`, over the defaults given at construction."""
        row = {"level": "record", **self._defaults, **reject}
        self._counts[str(row["level"])] += 1
        self._held.append(row)
        if len(self._held) >= REJECTS_HELD:
            self._flush()

    def add_table(self, rejects: pa.Table) -> None:
        """Add many at once: a column for each field of `REJECTS` that no default gives, or null."""
        self._flush()
        size, defaults = rejects.num_rows, {"level": "record", **self._defaults}
        columns = []
        for field in REJECTS:
            if field.name in rejects.column_names:
                columns.append(rejects.column(field.name).cast(field.type))
            else:
                value = pa.scalar(defaults.get(field.name), field.type)
                columns.append(pa.repeat(value, size))
        self._counts[str(defaults["level"])] += size
        self._writer.write_table(pa.table(columns, schema=REJECTS))

    def _flush(self) -> None:
        if self._held:
            self._writer.write_table(pa.Table.from_pylist(self._held, REJECTS))
            self._held.clear()

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._flush()
        self._writer.close()
        self._context.__exit__(*error)  # type: ignore[arg-type]

    @property
    def ref(self) -> RejectsRef:
        """The reference to hand on, once the writer is closed."""
        path = self._store.path("rejects", self._name)
        return RejectsRef(str(path), self._counts["record"], self._counts["item"])


def read_rejects_ref(path: Path) -> RejectsRef:
    """The reference to a rejects file that an earlier build wrote."""
    levels = pq.read_table(path, columns=["level"]).column("level").to_pylist()
    return RejectsRef(str(path), levels.count("record"), levels.count("item"))


def excluded_rows(part: str, rejects: Sequence[RejectsRef]) -> list[int]:
    """The rows of records part `part` that the given rejects take out, sorted."""
    rows: set[int] = set()
    for ref in rejects:
        if ref.records:
            table = pq.read_table(ref.path, columns=["part", "row"], filters=[("part", "=", part)])
            rows.update(r for r in table.column("row").to_pylist() if r is not None)
    return sorted(rows)
