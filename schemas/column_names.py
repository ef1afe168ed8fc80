"""Names that a user's column may not take.

Written out rather than read from `schemas.arrow`, so that a spec is checked without loading
pyarrow; a test keeps the two the same.
"""

from __future__ import annotations

RESERVED_NAMES = frozenset(
    {
        *("id", "source", "key", "kind", "chunk", "start", "end", "text", "uri"),
        *("content_hash", "row_hash", "vector", "duplicate_of", "duplicate_kind"),
        *("duplicate_score", "cluster", "x", "y", "thumbnail"),
        # Work in progress has these beside the table's.
        *("row", "locator", "size", "width", "height", "time"),
    }
)
"""Every column of the published table, of records and of items."""

LANCE_NAMES = frozenset(
    {"_distance", "_score", "_relevance_score", "_rowid", "_rowaddr", "_rowoffset"}
)
"""Columns that Lance adds to the results of a search."""
