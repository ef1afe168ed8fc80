"""Which file formats have columns: what a source must and may not say about its files.

Readers of other formats can be added by others (see `tasks.ingest`); an ending that is not named
here is left to them.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

# The endings that vecmill's own readers take; a test compares.
PARQUET = frozenset({"parquet", "pq"})
TABLES = PARQUET | {"csv", "tsv", "jsonl", "ndjson"}
DOCUMENTS = frozenset({"txt", "text", "md", "markdown", "html", "htm", "xhtml"})
PICTURES = frozenset(
    [
        *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "gif"),
        *("tif", "tiff", "bmp", "dib", "avif", "avifs"),
    ]
)
ARCHIVES = frozenset({"tar"})
COMPRESSIONS = frozenset({"gz", "zst"})

KNOWN = TABLES | DOCUMENTS | PICTURES | ARCHIVES

SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+)://")
GLOB = re.compile(r"[*?\[{]")


def scheme_of(place: str) -> str | None:
    """The URI's scheme in small letters; None for a path on this machine."""
    found = SCHEME.match(place)
    return found[1].lower() if found else None


def file_path(place: str) -> str | None:
    """The path that a `file://` URI names; None for anything else.

    What stands behind a `?` or a `#` belongs to it: one is a wildcard, both may be in a name.
    """
    if scheme_of(place) not in ("file", "local"):
        return None
    return unquote(place.partition("://")[2].removeprefix("localhost"))


def format_of(path: str) -> str | None:
    """The format that a source's path names by its ending, or None where it names none.

    `docs/*.csv.gz` is csv; a folder, `docs/**` and `docs/*.*` name none.
    """
    name = path.replace("\\", "/").rsplit("/", 1)[-1]
    parts = name.lower().split(".")[1:]
    if parts and parts[-1] in COMPRESSIONS:
        parts.pop()
    if not parts or parts[-1] not in KNOWN:
        return None
    if scheme_of(path) is None and not GLOB.search(path) and Path(path).is_dir():
        return None
    return parts[-1]
