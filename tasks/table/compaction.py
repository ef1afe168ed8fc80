"""Compaction of the published table: a few fragments at a time, those with most deleted rows first.

Every fragment that is rewritten stays on disk for the releases that are kept, so rewriting the
whole table would double it. The rows that only kept releases hold are bounded instead: in a
simulation of 400 builds with 1 % random changes each, 10 releases kept and an upkeep every 10
builds, disk use stayed within 1.34 times of live and changed rows; a bound of 0.15 gave 1.61 and
one of 0.5 gave 1.43. Where each upkeep rewrites all, it is 2 and more.

Compaction is a `Rewrite` on main: the rows stay, a build under way conflicts and plans again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tasks.table.dataset import TableRef, open_main, open_version, read_tags
from tasks.table.fragments import fragment_rows

DEAD_SHARE = 0.1
"""Deleted share of a fragment from which on it is rewritten: Lance's own threshold."""

HELD_SHARE = 0.3
"""Rows that only older releases hold, over live rows, up to which fragments are rewritten."""

OVERDUE = 2.0
"""Stored over live rows, in the latest version alone, from which on the bound is not looked at:
else a table in one fragment, as earlier versions wrote it, would never be compacted."""

MANY_SMALL = 32
"""Fragments of less than half the wanted rows, from which on they are merged: each is a file that
every search opens."""


@dataclass(frozen=True)
class Piece:
    """A fragment of the latest version; `held`: an older release that is kept has its file, too."""

    number: int
    stored: int  # rows in its file
    live: int  # rows that are not deleted
    held: bool

    @property
    def dead_share(self) -> float:
        """Deleted rows over stored ones."""
        return 1 - self.live / self.stored if self.stored else 1.0


@dataclass(frozen=True)
class Compacted:
    """Fragments that were rewritten, and those that came of them."""

    removed: int
    added: int


def pieces_of(dataset: Any, older: Iterable[Any]) -> tuple[list[Piece], int]:
    """The fragments of `dataset`, and how many rows are stored for `older` versions alone."""
    files: dict[str, int] = {}
    for version in older:
        files |= {_file(f): f.metadata.physical_rows for f in version.get_fragments()}
    pieces = []
    for fragment in dataset.get_fragments():
        rows = fragment.metadata.physical_rows
        held = files.pop(_file(fragment), None) is not None
        live = rows - fragment.num_deletions
        pieces.append(Piece(fragment.fragment_id, rows, live, held))
    return pieces, sum(files.values())


def choose(pieces: list[Piece], held_rows: int) -> list[int]:
    """The fragments to rewrite now, those with the largest deleted share first."""
    live = sum(piece.live for piece in pieces)
    stored = sum(piece.stored for piece in pieces)
    small = {p.number for p in pieces if p.live < fragment_rows(live) / 2}
    merged = small if len(small) > MANY_SMALL else set()
    chosen = []
    for piece in sorted(pieces, key=lambda p: (-p.dead_share, p.number)):
        if piece.dead_share < DEAD_SHARE and piece.number not in merged:
            continue
        cost = piece.stored if piece.held else 0
        if held_rows + cost <= HELD_SHARE * live or stored > OVERDUE * live:
            chosen.append(piece.number)
            held_rows += cost
    return chosen


def compact(ref: TableRef) -> Compacted | None:
    """Rewrite what is due; None where nothing is. Raises what Lance raises on a conflict."""
    dataset = open_main(ref)
    tagged = {int(tag["version"]) for tag in read_tags(dataset).values()} - {dataset.version}
    older = [open_version(ref, version) for version in sorted(tagged)]
    pieces, held_rows = pieces_of(dataset, older)
    chosen = choose(pieces, held_rows)
    if not chosen:
        return None
    done = dataset.optimize.compact_files(
        target_rows_per_fragment=fragment_rows(sum(piece.live for piece in pieces)),
        materialize_deletions_threshold=DEAD_SHARE,
        excluded_fragment_ids=[p.number for p in pieces if p.number not in set(chosen)],
    )
    return Compacted(done.fragments_removed, done.fragments_added) if done.files_removed else None


def _file(fragment: Any) -> str:
    return fragment.metadata.files[0].path
