"""Which fragments are rewritten now, and which wait until older releases have gone."""

from __future__ import annotations

import pytest

from tasks.table.compaction import FILE_BYTES, MANY_SMALL, Piece, choose

ROW = 1_000


def pieces(*live: int, stored: int = 1_000, held: bool = True) -> list[Piece]:
    """Fragments of `stored` rows each, with so many live ones."""
    return [Piece(i, stored, rows, stored * ROW, held) for i, rows in enumerate(live)]


def test_full_fragments_stay():
    assert choose(pieces(*[1_000] * 16), 0) == []


def test_those_with_most_deleted_rows_first_and_not_more_than_may_be_held():
    table = pieces(*[950] * 8, 600, 500, *[950] * 4, 700, 800)
    # live: 14.2 MB; two fifths of it may be held, which is five fragments
    assert choose(table, 0) == [9, 8, 14, 15]
    assert choose(table, 2_000 * ROW) == [9, 8, 14]
    assert choose(table, 4_000 * ROW) == [9]
    assert choose(table, 5_000 * ROW) == []


def test_what_no_older_release_holds_costs_nothing():
    assert sorted(choose(pieces(*[700] * 16, held=False), 0)) == list(range(16))


def test_a_table_that_is_mostly_deleted_rows_is_compacted_whatever_is_held():
    assert choose(pieces(490, stored=1_000), 10_000 * ROW) == [0]
    assert choose(pieces(510, stored=1_000), 10_000 * ROW) == []


def test_neighbours_that_are_small_become_one():
    big = [Piece(i, 10_000, 10_000, 10_000 * ROW, True) for i in range(16)]
    small = [Piece(100 + i, 40, 40, 40 * ROW + FILE_BYTES, True) for i in range(10)]
    assert sorted(choose([*big, *small], 0)) == [100 + i for i in range(10)]
    apart = [each for pair in zip(big, small, strict=False) for each in pair]
    assert choose(apart, 0) == []  # Lance merges neighbours alone


@pytest.mark.parametrize(("count", "merged"), [(MANY_SMALL, False), (MANY_SMALL + 1, True)])
def test_many_small_files_are_merged_though_nothing_is_deleted(count, merged):
    big = [Piece(i, 100_000, 100_000, 100_000 * ROW, True) for i in range(16)]
    small = [Piece(100 + i, 1_000, 1_000, 1_000 * ROW, True) for i in range(count)]
    assert (sorted(choose([*big, *small], 0)) == [p.number for p in small]) == merged
