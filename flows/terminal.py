"""What commands print: one JSON document, or tables for people. Texts of documents are cleaned.

stdout carries the answer and nothing else; everything said on the way goes to stderr.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from tasks.table.releases import Release


def print_json(document: object) -> None:
    """Exactly one JSON document on stdout."""
    json.dump(document, sys.stdout, ensure_ascii=False, indent=2, default=_plain, allow_nan=False)
    sys.stdout.write("\n")


def _plain(value: object) -> object:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def say(text: str) -> None:
    """A line for people, on stderr."""
    print(text, file=sys.stderr)


WIDTH = 160
"""Columns of a table that goes to a file or a pipe, which have no width of their own."""


def print_table(
    heads: Sequence[str],
    rows: Iterable[Sequence[object]],
    right: Sequence[str] = (),
    wrap: Sequence[str] = (),
) -> None:
    """A table without frames on stdout: `right` names columns of numbers, `wrap` long ones."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from tasks.query.snippet import one_line

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for head in heads:
        side = "right" if head in right else "left"
        table.add_column(head, justify=side, no_wrap=head not in wrap)
    for row in rows:
        table.add_row(*(Text(one_line(_shown(value), 400)) for value in row))
    width = None if sys.stdout.isatty() else WIDTH
    Console(file=sys.stdout, highlight=False, width=width).print(table)


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else str(value)


# --- what each command shows -------------------------------------------------------------------

HIT_FIELDS = [
    *("id", "source", "key", "kind", "chunk", "start", "end", "text", "uri"),
    *("duplicate_of", "duplicate_kind", "duplicate_score"),
]
SNIPPET = 110
"""Code points of a text that one line of results shows."""


def hit_documents(hits: pa.Table) -> list[dict[str, Any]]:
    """The hits for `--json`: score, the table's own columns, and the user's under `columns`."""
    from schemas.arrow import TABLE_NAMES
    from tasks.query.search import SCORE

    users = [name for name in hits.column_names if name not in (*TABLE_NAMES, SCORE)]
    return [
        {
            "score": finite(row[SCORE]),
            **{name: finite(row[name]) for name in HIT_FIELDS},
            "columns": {name: finite(row[name]) for name in users},
        }
        for row in hits.to_pylist()
    ]


def finite(value: object) -> object:
    """`value` as JSON can say it: null for NaN and infinity, at any depth."""
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    bad = isinstance(value, float) and (value != value or value in (float("inf"), -float("inf")))
    return None if bad else value


def print_hits(documents: Sequence[Mapping[str, Any]]) -> None:
    """Hits as lines: score, id, the text's beginning or the picture's place, user columns."""
    from tasks.query.snippet import one_line

    rows = []
    for hit in documents:
        columns = " · ".join(f"{k}={v}" for k, v in hit["columns"].items() if v is not None)
        content = one_line(hit["text"], SNIPPET) if hit["text"] else hit["uri"]
        marked = " (duplicate)" if hit["duplicate_of"] else ""
        rows.append((f"{hit['score'] or 0:.3f}", f"{hit['id']}{marked}", content, columns))
    heads = ["score", "id", "text or file", "columns"]
    if not any(row[3] for row in rows):
        heads, rows = heads[:3], [row[:3] for row in rows]
    print_table(heads, rows, right=["score"], wrap=["id", "text or file", "columns"])


def release_documents(releases: Sequence[Release]) -> list[dict[str, Any]]:
    """The releases for `versions --json`, oldest first: place and tags, then the manifest."""
    return [
        {
            "release": release.name,
            "version": release.version,
            "tags": list(release.tags),
            "rollback_to": release.rollback_to,
            "at": release.at,
            "manifest": json.loads(release.manifest.to_json()),
        }
        for release in releases
    ]


def print_releases(releases: Sequence[Release]) -> None:
    """The history, the newest release first."""
    heads = ["release", "tags", "built", "rows", "new", "changed", "removed", "rejected", "version"]
    heads, rows = [*heads, "what"], []
    for release in reversed(releases):
        counts = release.manifest.counts
        tags = [t for t in release.tags if t != release.name and not t.startswith("data-")]
        rows.append(
            (
                release.name,
                ", ".join(tags),
                release.manifest.finished_at or release.at,
                *(counts.rows, counts.new, counts.changed, counts.removed),
                counts.records_rejected + counts.items_rejected,
                release.version,
                f"rollback to {release.rollback_to}" if release.rollback_to else "",
            )
        )
    if not any(release.rollback_to for release in releases):
        heads, rows = heads[:-1], [row[:-1] for row in rows]
    print_table(heads, rows, right=heads[3:9])
