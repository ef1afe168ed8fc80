"""Exact Jaccard similarity of two texts' sets of shingles, computed from the texts themselves.

The set of one text lies in an open hash table; the shingles of the other are looked up as they are
read. No set is kept: a text is a tenth of its shingles' size.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def table_size(shingles):  # type: ignore[no-untyped-def]  # compiled
    """Slots of the hash table of so many shingles: a power of two, at most half of them taken."""
    size = 16
    while size < 2 * shingles:
        size *= 2
    return size


@njit(cache=True, nogil=True)
def fill_table(hashes, found, table, owner, turn):  # type: ignore[no-untyped-def]  # compiled
    """Put `found` shingles into a table whose slots are taken where `owner` is `turn`; how many
    different ones there are."""
    mask = np.uint64(table_size(found) - 1)
    distinct = 0
    for at in range(found):
        slot = hashes[at] & mask
        while owner[slot] == turn and table[slot] != hashes[at]:
            slot = (slot + np.uint64(1)) & mask
        if owner[slot] != turn:
            owner[slot] = turn
            table[slot] = hashes[at]
            distinct += 1
    return distinct


@njit(cache=True, nogil=True)
def shared_shingles(hashes, found, table, owner, turn, size, met, visit):  # type: ignore[no-untyped-def]
    """How many different ones of `found` shingles are in the table that `fill_table` filled.

    `met` is `visit` where one was counted already; `size` are the slots in use.
    """
    mask = np.uint64(size - 1)
    shared = 0
    for at in range(found):
        slot = hashes[at] & mask
        while owner[slot] == turn and table[slot] != hashes[at]:
            slot = (slot + np.uint64(1)) & mask
        if owner[slot] == turn and met[slot] != visit:
            met[slot] = visit
            shared += 1
    return shared
