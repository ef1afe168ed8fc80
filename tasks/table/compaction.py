"""Compaction of the published table: a few fragments at a time, those with most deleted rows first.

Every fragment that is rewritten stays on disk for the releases that are kept, so rewriting the
whole table would double it. The bytes that only kept releases hold are bounded instead: in a
simulation of 300 builds with 1 % random changes each, 10 releases kept, an upkeep every 10 builds
and indexes of a fifth of the rows' bytes, a bound of 0.4 kept disk use within 1.38 times of live
and changed rows; 0.25 gave 1.73 (too little is freed) and 0.6 gave 1.45.

Indexes are not rewritten with the rows: they would stay twice, too. Lance keeps a map from old row
addresses to new ones (`REMAP`) until the pieces of each index are merged.

Compaction is a `Rewrite` on main: the rows stay, a build under way conflicts and plans again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tasks.table.dataset import TableRef, open_main, open_version, read_tags
from tasks.table.fragments import fragment_rows
from tasks.table.releases import BASE_PREFIX

DEAD_SHARE = 0.1
"""Share of a group's bytes that a rewrite must free: Lance's own threshold for deleted rows."""

HELD_SHARE = 0.4
"""Bytes that only older releases hold, over live ones, up to which fragments are rewritten."""

OVERDUE = 2.0
"""Stored over live bytes, in the latest version alone, from which on that bound is not looked at:
else a table in one fragment, as somebody else's compaction leaves it, would never be compacted."""

FILE_BYTES = 6_000
"""What a data file costs beside its rows (measured: 103 kB for 100 rows, 923 kB for 943)."""

ROW_BYTES = 1_000
"""A row of 384 float16 dimensions with a short text."""

MANY_SMALL = 32
"""Fragments of less than half the wanted rows, from which on they are merged whatever that frees:
each is a file that every search opens."""


@dataclass(frozen=True)
class Piece:
    """A fragment of the latest version; `held`: an older release that is kept has its file, too."""

    number: int
    stored: int  # rows in its file
    live: int  # rows that are not deleted
    size: int  # bytes
    held: bool

    @property
    def dead_bytes(self) -> float:
        """Bytes of deleted rows."""
        return self.size * (1 - self.live / self.stored) if self.stored else self.size


@dataclass(frozen=True)
class Compacted:
    """Fragments that were rewritten, and those that came of them."""

    removed: int
    added: int


def pieces_of(dataset: Any, older: Iterable[Any]) -> tuple[list[Piece], int]:
    """The fragments of `dataset`, and the bytes that are stored for `older` versions alone."""
    files: dict[str, int] = {}
    indexes: dict[str, int] = {}
    for version in older:
        files |= {_file(f): _size(f) for f in version.get_fragments()}
        indexes |= _index_sizes(version)
    pieces = []
    for fragment in dataset.get_fragments():
        rows = fragment.metadata.physical_rows
        held = files.pop(_file(fragment), None) is not None
        live = rows - fragment.num_deletions
        pieces.append(Piece(fragment.fragment_id, rows, live, _size(fragment), held))
    for uuid in _index_sizes(dataset):
        indexes.pop(uuid, None)
    return pieces, sum(files.values()) + sum(indexes.values())


def choose(pieces: list[Piece], held_bytes: float) -> list[int]:
    """The fragments to rewrite now: groups of neighbours, those first of which most is freed."""
    rows = fragment_rows(sum(piece.live for piece in pieces))
    stored = sum(piece.size for piece in pieces)
    live = stored - sum(piece.dead_bytes for piece in pieces)
    many = sum(_small(piece, rows) for piece in pieces) > MANY_SMALL
    ranked = []
    for group in _groups(pieces, rows):
        freed = sum(p.dead_bytes for p in group) + FILE_BYTES * (len(group) - 1)
        share = freed / max(sum(p.size for p in group), 1)
        if share >= DEAD_SHARE or (many and len(group) > 1):
            ranked.append((share, group))
    chosen: list[int] = []
    for _, group in sorted(ranked, key=lambda each: (-each[0], each[1][0].number)):
        cost = sum(piece.size for piece in group if piece.held)
        if held_bytes + cost <= HELD_SHARE * live or stored > OVERDUE * live:
            chosen += [piece.number for piece in group]
            held_bytes += cost
    return chosen


def _groups(pieces: list[Piece], rows: int) -> Iterator[list[Piece]]:
    """Neighbours that could become one fragment of `rows` rows: each small, or with deleted rows.

    Lance merges neighbours alone.
    """
    group: list[Piece] = []
    for piece in pieces:
        fits = sum(p.live for p in group) + piece.live <= rows
        worth = _small(piece, rows) or piece.dead_bytes >= DEAD_SHARE * piece.size
        if group and not (worth and fits):
            yield group
            group = []
        if worth:
            group.append(piece)
    if group:
        yield group


def _small(piece: Piece, rows: int) -> bool:
    return piece.live < rows / 2


def compact(ref: TableRef) -> Compacted | None:
    """Rewrite what is due; None where nothing is. Raises what Lance raises on a conflict."""
    dataset = open_main(ref)
    tags = read_tags(dataset).items()  # but of builds under way, which go soon
    tagged = {int(tag["version"]) for name, tag in tags if not name.startswith(BASE_PREFIX)}
    older = [open_version(ref, version) for version in sorted(tagged - {dataset.version})]
    pieces, held_bytes = pieces_of(dataset, older)
    chosen = choose(pieces, held_bytes)
    if not chosen:
        return None
    done = dataset.optimize.compact_files(
        target_rows_per_fragment=fragment_rows(sum(piece.live for piece in pieces)),
        materialize_deletions_threshold=DEAD_SHARE,
        defer_index_remap=True,
        excluded_fragment_ids=[p.number for p in pieces if p.number not in set(chosen)],
    )
    return Compacted(done.fragments_removed, done.fragments_added) if done.files_removed else None


def _file(fragment: Any) -> str:
    return fragment.metadata.files[0].path


def _size(fragment: Any) -> int:
    """Bytes of the fragment's files; what a row of a small model takes where Lance does not say."""
    sizes = [file.file_size_bytes for file in fragment.metadata.files]
    return sum(sizes) if all(sizes) else fragment.metadata.physical_rows * ROW_BYTES


def _index_sizes(dataset: Any) -> dict[str, int]:
    return {
        str(piece.uuid): piece.size_bytes or 0
        for index in dataset.describe_indices()
        for piece in index.segments
    }
