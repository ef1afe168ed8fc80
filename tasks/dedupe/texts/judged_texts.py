"""What the last build judged, kept in the `workdir`: the next one judges what may be different now.

    near-texts/<rules>-<threshold>/<scope>.npz    texts, their buckets, who is kept, in order

A text is judged again if it is new, or shares a bucket with one that was kept and is gone, that has
another place in the order now, or that is kept now and was not (or the reverse). Nothing else bears
on it, so the result is the same with this file and without. Each scope (sources that are compared
with each other) has one, of its last build.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from schemas.identity import digest_json
from tasks.dedupe.texts.buckets import Buckets, add_buckets, by_text, find_buckets
from tasks.dedupe.texts.resemble import Judged, Settled
from tasks.dedupe.texts.signatures import RULES, SignatureIndex
from tasks.store.workdir import Store

NEAR_TEXTS = "near-texts"
SUFFIX = ".npz"

FEW = 0.1
"""The share of new texts up to which their keys are looked for; above, all are put into buckets."""

GROWN = 2
"""Times as many entries of buckets, by those that grew, at which all are put into buckets anew."""


@dataclass(frozen=True)
class Before:
    """What the last build judged, in the numbers of today's n texts."""

    fresh: np.ndarray  # bool (n): it did not know them
    disturbed: np.ndarray  # bool (n): they shared a bucket with a kept one that is gone
    buckets: Buckets  # of texts that are not fresh
    entries: int  # of all buckets, when all texts were put into them
    order: np.ndarray  # int64 (m): the texts it looked at, in order; -1: gone
    through: np.ndarray  # int64 (m): which of these each resembles, -1 for kept ones
    score: np.ndarray  # float32 (m)


@dataclass(frozen=True)
class TextJudge:
    """Remembers between builds how texts of a scope were judged.

    `sources` are those whose texts are compared with each other, at `threshold`.
    """

    store: Store
    sources: Sequence[str]
    threshold: float

    @property
    def _file(self) -> tuple[str, str, str]:
        folder = f"{NEAR_TEXTS}/{RULES}-{self.threshold:g}"
        return folder, digest_json(sorted(set(self.sources))), SUFFIX

    def before(self, index: SignatureIndex, places: np.ndarray) -> Before | None:
        """What is known of the texts at `places`; None where that is little, or nothing."""
        path = self.store.find(*self._file)
        if path is None:
            return None
        with np.load(path) as held:
            told = {name: held[name] for name in held.files}
        number = np.full(len(index) + 1, -1, np.int64)  # the last one: of what is not there
        number[places] = np.arange(len(places))
        text = number[index.places(told["hashes"])]
        fresh, disturbed = np.ones(len(places), bool), np.zeros(len(places), bool)
        fresh[text[text >= 0]] = False
        entries = int(told["entries"])
        if fresh.sum() > FEW * len(fresh) or len(told["text"]) > GROWN * entries:
            return None
        member, bucket = text[told["text"]], told["bucket"]
        stays = member >= 0
        broken = np.zeros(int(bucket.max(initial=-1)) + 1, bool)
        kept = np.zeros(len(text), bool)
        kept[told["order"][told["through"] < 0]] = True
        broken[bucket[~stays & kept[told["text"]]]] = True
        disturbed[member[stays & broken[bucket]]] = True
        buckets = Buckets(member[stays].astype(np.int32), bucket[stays], len(broken))
        order = text[told["order"]]
        return Before(fresh, disturbed, buckets, entries, order, told["through"], told["score"])

    def keep(
        self,
        hashes: np.ndarray,
        buckets: Buckets,
        order: np.ndarray,
        judged: Judged,
        before: Before | None,
    ) -> None:
        """Keep how the texts of those hashes were judged; `order` are those looked at, in order."""
        with self.store.create(*self._file) as path:
            np.savez(
                path,
                hashes=hashes,
                text=buckets.text,
                bucket=buckets.bucket,
                entries=before.entries if before else len(buckets.text),
                order=order,
                through=judged.through,
                score=judged.score,
            )


def buckets_of(signatures: np.ndarray, before: Before | None) -> Buckets:
    """The buckets of all texts: found, or added to those of `before`."""
    if before is None:
        return find_buckets(signatures)
    return add_buckets(signatures, before.buckets, before.fresh)


def settled(before: Before, buckets: Buckets, numbers: np.ndarray) -> Settled:
    """What is known of the texts `numbers`, in order; `buckets` are of their ranks."""
    count, held = len(numbers), before.order >= 0
    was = np.full(len(before.fresh), -1, np.int64)
    was[before.order[held]] = np.flatnonzero(held)
    place = was[numbers]
    of_text = by_text(buckets.text, buckets.bucket, count)
    open_ = before.disturbed[numbers] | (place < 0) | _moved(*of_text, buckets.count, place)
    rank = np.full(len(before.fresh), -1, np.int64)
    rank[numbers] = np.arange(count)
    through, score = np.full(count, -1, np.int64), np.zeros(count, np.float32)
    known = np.flatnonzero(place >= 0)
    pointed = before.through[place[known]]
    target = before.order[pointed]
    # one that is gone: any number, who pointed to it is open
    through[known] = np.where(pointed >= 0, rank[np.maximum(target, 0)], -1)
    score[known] = before.score[place[known]]
    kept = np.zeros(count, bool)
    kept[known] = pointed < 0
    return Settled(open_, through, score, kept)


@njit(cache=True, nogil=True)
def _moved(starts, held, buckets, place):  # type: ignore[no-untyped-def]  # compiled
    """Which texts share a bucket whose texts had another order; `place` is what each had then.

    `starts` and `held` as `by_text` gives them, of `buckets` buckets.
    """
    last = np.full(buckets, -1, np.int64)
    turned = np.zeros(buckets, np.bool_)
    for text in range(len(place)):
        if place[text] >= 0:
            for at in range(starts[text], starts[text + 1]):
                turned[held[at]] |= place[text] < last[held[at]]
                last[held[at]] = max(last[held[at]], place[text])
    found = np.zeros(len(place), np.bool_)
    for text in range(len(place)):
        for at in range(starts[text], starts[text + 1]):
            found[text] |= turned[held[at]]
    return found
