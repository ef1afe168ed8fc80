"""What killed builds leave on disk, by looking at every file: nothing here trusts the sweeper."""

from __future__ import annotations

import re
from pathlib import Path

import lance

DATABASE_FOLDERS = ("data", "_deletions", "_transactions", "_indices")


def workdir_debris(root: Path) -> list[str]:
    """Unfinished files, plans, claims and leases of a `workdir`."""
    paths = [p.relative_to(root).as_posix() for p in sorted(root.rglob("*")) if p.is_file()]
    at_work = ("plans/", "claims/", "leases/")
    return [p for p in paths if p.startswith(at_work) or Path(p).name.startswith(".tmp")]


def table_debris(path: Path) -> list[str]:
    """Files that no version refers to, candidates and base tags of one Lance table."""
    dataset = lance.dataset(str(path))
    held = set(dataset.tracked_files().read_all().column("path").to_pylist())
    paths = [p.relative_to(path).as_posix() for p in sorted(path.rglob("*")) if p.is_file()]
    return [p for p in paths if p not in held and not _belongs(p)]


def _belongs(path: str) -> bool:
    if path.startswith("_refs/tags/"):
        return not Path(path).name.startswith("base-")
    return bool(re.fullmatch(r"_versions/(latest_version_hint\.json|\d+\.manifest)", path))


def space_debris(uri: Path, workdir: Path) -> list[str]:
    """All of it: of the `workdir` and of each table of the database."""
    found = workdir_debris(workdir)
    for table in sorted(uri.glob("*.lance")):
        found += [f"{table.name}/{path}" for path in table_debris(table)]
    return found
