"""The ids of a new fit: those of the old one's clusters that hold the same rows.

    sample ─ places by the old fit × places by the new ─ rows in common ─ Hungarian ─ ids

The pairing that has the most rows in common in all (Kuhn, 1955). A cluster that shares next to
nothing with its partner gets an id that none has had.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tasks.geometry.fit import KindFit
from tasks.geometry.place import place

LEAST_SHARED = 0.25
"""A cluster takes over an id when the two share this part of the rows of the larger: one that was
split in four has no heir."""


@dataclass(frozen=True)
class Moved:
    """What a new fit of a kind changed, on the sample that it was made from."""

    kind: str
    rows: int
    moved: int  # rows whose cluster id is another, −1 included
    kept: tuple[int, ...]  # ids that the new fit has from the old one
    gone: tuple[int, ...]  # ids of the old fit that it has not
    made: tuple[int, ...]  # ids that are new

    @property
    def kept_share(self) -> float:
        """The share of the rows that keep their cluster id."""
        return 1 - self.moved / self.rows if self.rows else 1.0


def match(
    old: KindFit, new: KindFit, vectors: np.ndarray, first_free: int = 0
) -> tuple[KindFit, Moved]:
    """`new` with the ids of `old` where their clusters are the same ones, and what moved.

    `vectors`, float32 `(n, d)`, are those that are compared. A new id is at least `first_free`
    and greater than every id of `old`.
    """
    before, after = place(old, vectors).cluster, place(new, vectors).cluster
    partner = _partners(old.ids, new.ids, before, after)
    free = max(first_free, int(old.ids.max(initial=-1)) + 1)
    fresh = iter(range(free, free + len(new.ids)))
    ids = np.array([partner.get(n, -1) for n in range(len(new.ids))], np.int32)
    ids = np.array([next(fresh) if own < 0 else own for own in ids], np.int32)
    carried = {int(own): int(given) for own, given in zip(new.ids, ids, strict=True)}
    carried[-1] = -1
    now = np.array([carried[own] for own in after.tolist()], np.int32)
    kept = tuple(sorted(set(ids.tolist()) & set(old.ids.tolist())))
    return replace(new, ids=ids), Moved(
        kind=new.kind,
        rows=len(vectors),
        moved=int((now != before).sum()),
        kept=kept,
        gone=tuple(sorted(set(old.ids.tolist()) - set(kept))),
        made=tuple(sorted(set(ids.tolist()) - set(kept))),
    )


def _partners(
    old_ids: np.ndarray, new_ids: np.ndarray, before: np.ndarray, after: np.ndarray
) -> dict[int, int]:
    """New centroid's number → old cluster's id."""
    from scipy.optimize import linear_sum_assignment

    old_place = {int(own): n for n, own in enumerate(old_ids)}
    new_place = {int(own): n for n, own in enumerate(new_ids)}
    both = (before >= 0) & (after >= 0)
    rows = np.array([new_place[own] for own in after[both].tolist()], np.int64)
    columns = np.array([old_place[own] for own in before[both].tolist()], np.int64)
    shared = np.bincount(
        rows * len(old_ids) + columns, minlength=len(new_ids) * len(old_ids)
    ).reshape(len(new_ids), len(old_ids))
    largest = np.maximum(shared.sum(axis=1)[:, None], shared.sum(axis=0)[None, :])
    return {
        int(row): int(old_ids[column])
        for row, column in zip(*linear_sum_assignment(shared, maximize=True), strict=True)
        if shared[row, column] > 0 and shared[row, column] >= LEAST_SHARED * largest[row, column]
    }
