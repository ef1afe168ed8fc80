"""How large a table's fragments are: compaction rewrites whole ones, so there are several."""

from __future__ import annotations

FRAGMENTS = 16
"""Fragments that a whole table is cut into: rewriting one leaves the old one to the releases that
are kept, so compaction must be able to take the table by small parts."""

FRAGMENT_ROWS = 1 << 20
"""Most rows of a fragment: Lance's own limit."""

FEWEST_ROWS = 256
"""A smaller fragment would be a file's header and footer before anything else."""


def fragment_rows(rows: int) -> int:
    """Rows of each fragment of a table of `rows` rows."""
    return min(max(-(-rows // FRAGMENTS), FEWEST_ROWS), FRAGMENT_ROWS)
