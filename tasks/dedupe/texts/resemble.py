"""Who is kept among texts: candidates are compared with kept ones alone, and only when it matters.

    in order: text ─ kept texts that share a bucket ─ enough equal bytes ─ exact Jaccard
                   ─> marked by the first kept one within the threshold, or kept

The same as `keep_first` over all resembling pairs, without finding them all: of ten thousand
letters of one form each is compared with the first and no more. What was compared before is
remembered (`known`), so a walk over a corpus that grew compares what is new. Texts are read for the
pairs that need them: a first walk takes each unknown pair for alike and says which these are; what
it said is read, and the next one knows better. It judges these alone, and after a text that is kept
now and was not, or the reverse, all that share a bucket with it; so does the first one where an
earlier build has judged most texts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit

from tasks.dedupe.texts.buckets import Buckets, by_text
from tasks.dedupe.texts.jaccard import fill_table, shared_shingles, table_size
from tasks.dedupe.texts.minhash import fewest_equal, mix, shingles_of
from tasks.dedupe.texts.text_arrays import Texts

APART = np.float32(-1)
"""Score of a pair that was compared and is not within the threshold."""

_UNKNOWN = np.float32(-2)
_NO_TEXT = -1


@dataclass(frozen=True)
class Pairs:
    """Pairs that were compared: the first words of their texts' hashes (uint64), and the score.

    `first < second`. float32; `APART` below the threshold.
    """

    first: np.ndarray
    second: np.ndarray
    score: np.ndarray

    @staticmethod
    def none() -> Pairs:
        """No pairs."""
        return Pairs(np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.float32))

    def __add__(self, other: Pairs) -> Pairs:
        return Pairs(
            *(
                np.concatenate(both)
                for both in (
                    (self.first, other.first),
                    (self.second, other.second),
                    (self.score, other.score),
                )
            )
        )

    def __len__(self) -> int:
        return len(self.first)


@dataclass(frozen=True)
class Judged:
    """For each text, in order: which kept one it resembles (int64, −1: it is kept), how much."""

    through: np.ndarray
    score: np.ndarray  # float32; 0 for kept ones
    compared: Pairs  # what was not known before


@dataclass(frozen=True)
class Settled:
    """Verdicts of an earlier build, which stand unless something bears on them."""

    open: np.ndarray  # bool (n): new, moved, or beside one that is gone: to be judged again
    through: np.ndarray  # as `Judged` has them
    score: np.ndarray
    kept: np.ndarray  # bool (n): it was there, and kept


def judge_texts(
    signatures: np.ndarray,
    names: np.ndarray,
    buckets: Buckets,
    read: Callable[[np.ndarray], Texts],
    threshold: float,
    known: Pairs,
    settled: Settled | None = None,
) -> Judged:
    """Judge texts that come in the order in which they are kept.

    `signatures` uint8 `(n, 128)` and `names` uint64 `(n)`, the first words of their hashes, of n
    different texts; `buckets` of them; `read(numbers)` gives texts in their compared form. What
    is `settled` stands where nothing bears on it.
    """
    count = len(names)
    starts, held = by_text(buckets.text, buckets.bucket, count)
    sizes = np.bincount(buckets.bucket, minlength=buckets.count)
    first_place = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    shelf, found = _Shelf(count), Pairs.none()
    through, score = np.full(count, -1, np.int64), np.zeros(count, np.float32)
    active, kept = np.ones(count, bool), np.zeros(count, bool)
    if settled is not None:
        active, kept = settled.open, settled.kept
        through, score = settled.through.copy(), settled.score.copy()
    wanted = np.empty(0, np.int64) if len(known) else np.flatnonzero(active)
    for _ in range(count + 1):
        shelf.add(wanted, read)
        pairs = known + found
        table = np.full(_slots(len(pairs)), -1, np.int64)
        _put(table, pairs.first, pairs.second)
        needed, first, second, scores = _walk(
            *(signatures, names, starts, held, first_place, active, kept, through, score),
            *(table, pairs.first, pairs.second, pairs.score),
            *(shelf.data, shelf.start, shelf.end, shelf.shingles),
            *(fewest_equal(threshold), threshold),
        )
        found += Pairs(first, second, scores)
        wanted = np.flatnonzero(needed & (shelf.start == _NO_TEXT))
        if not len(wanted):
            return Judged(through, score, found)
        active, kept = needed, through < 0
    raise AssertionError("every text is at hand, and still one is missing")


class _Shelf:
    """The texts at hand: text i lies at `start[i]` … `end[i]` of `data`, −1 where it does not.

    `shingles[i]` is how many different ones it has, −1 until they are counted.
    """

    def __init__(self, count: int) -> None:
        self.data = np.empty(0, np.uint8)
        self.start = np.full(count, _NO_TEXT, np.int64)
        self.end = np.full(count, _NO_TEXT, np.int64)
        self.shingles = np.full(count, -1, np.int64)

    def add(self, numbers: np.ndarray, read: Callable[[np.ndarray], Texts]) -> None:
        """Put texts beside those that are there."""
        if not len(numbers):
            return
        texts, begin = read(numbers), len(self.data)
        self.start[numbers] = texts.offsets[:-1] + begin
        self.end[numbers] = texts.offsets[1:] + begin
        self.data = np.concatenate([self.data, texts.data]) if begin else texts.data


def _slots(pairs: int) -> int:
    return 1 << max(4, int(2 * pairs).bit_length())


@njit(cache=True, nogil=True, inline="always")
def _slot(first, second, mask):  # type: ignore[no-untyped-def]  # compiled
    return mix(first ^ (second * np.uint64(0x9E3779B97F4A7C15))) & mask


@njit(cache=True, nogil=True)
def _put(table, first, second):  # type: ignore[no-untyped-def]  # compiled
    mask = np.uint64(len(table) - 1)
    for at in range(len(first)):
        slot = _slot(first[at], second[at], mask)
        while table[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        table[slot] = at


@njit(cache=True, nogil=True)
def _score_of(one, other, table, first, second, scores):  # type: ignore[no-untyped-def]
    """What a pair scored before."""
    a, b = min(one, other), max(one, other)
    mask = np.uint64(len(table) - 1)
    slot = _slot(a, b, mask)
    while table[slot] >= 0:
        at = table[slot]
        if first[at] == a and second[at] == b:
            return scores[at]
        slot = (slot + np.uint64(1)) & mask
    return _UNKNOWN


@njit(cache=True, nogil=True)
def _may_resemble(signatures, one, other, fewest):  # type: ignore[no-untyped-def]  # compiled
    """Whether so many bytes of two signatures agree at least."""
    equal = np.uint8(0)
    for at in range(signatures.shape[1]):
        equal += np.uint8(signatures[one, at] == signatures[other, at])
    return equal >= fewest


@njit(cache=True, nogil=True)
def _room(values, count):  # type: ignore[no-untyped-def]  # compiled
    """The array with room for one more."""
    if count < len(values):
        return values
    larger = np.empty(2 * len(values), values.dtype)
    larger[:count] = values
    return larger


@njit(cache=True, nogil=True)
def _candidates(text, starts, held, first_place, filled, kept, stamp, out):  # type: ignore[no-untyped-def]
    """Write the kept texts that share a bucket with `text`, each once, in order; how many."""
    count = 0
    for at in range(starts[text], starts[text + 1]):
        bucket = held[at]
        begin = first_place[bucket]
        for place in range(begin, begin + filled[bucket]):
            other = kept[place]
            if stamp[other] != text:
                stamp[other] = text
                out[count] = other
                count += 1
    out[:count].sort()
    return count


@njit(cache=True, nogil=True)
def _any_of(buckets, starts, held, text):  # type: ignore[no-untyped-def]  # compiled
    """Whether `text` lies in any of some buckets."""
    found = False
    for at in range(starts[text], starts[text + 1]):
        found |= buckets[held[at]]
    return found


@njit(cache=True, nogil=True)
def _walk(
    signatures, names, starts, held, first_place, active, was_kept, through, score,
    table, first, second, scores,
    data, start, end, shingles,
    fewest, threshold,
):  # type: ignore[no-untyped-def]  # compiled  # fmt: skip
    """Judge the active texts and those before which others are kept than were (`was_kept`) when
    they were judged, writing `through`, `score` and `shingles`.

    Returns which texts are needed to judge them for good, and what was compared.
    """
    texts = len(names)
    most = 0
    for text in range(texts):
        most = max(most, end[text] - start[text])
    hashes = np.empty(most + 1, np.uint64)
    slots = np.empty(table_size(most), np.uint64)
    owner = np.zeros(len(slots), np.int32)
    met = np.zeros(len(slots), np.int32)
    needed = np.zeros(texts, np.bool_)
    kept = np.empty(first_place[-1], np.int64)
    filled = np.zeros(len(first_place) - 1, np.int64)
    stirred = np.zeros(len(filled), np.bool_)  # buckets in which others are kept than were
    stamp = np.full(texts, -1, np.int64)
    candidates = np.empty(texts, np.int64)
    new_first, new_second = np.empty(1024, np.uint64), np.empty(1024, np.uint64)
    new_score = np.empty(1024, np.float32)
    new = turn = visit = 0
    for text in range(texts):
        count = 0
        if active[text] or _any_of(stirred, starts, held, text):
            through[text], score[text] = -1, 0
            count = _candidates(text, starts, held, first_place, filled, kept, stamp, candidates)
        in_use = 0  # slots of the table that hold this text's shingles
        guessed = False
        for at in range(count):
            other = candidates[at]
            value = _score_of(names[text], names[other], table, first, second, scores)
            if value == _UNKNOWN and not _may_resemble(signatures, text, other, fewest):
                continue
            if value == _UNKNOWN and (guessed or start[text] < 0 or start[other] < 0):
                needed[text] = needed[other] = True
                if not guessed:
                    guessed = True
                    through[text] = other  # taken for alike until both are at hand
                continue
            if guessed:
                if value >= 0:
                    break  # no later one matters
                continue
            if value == _UNKNOWN:
                if shingles[other] < 0:
                    found = shingles_of(data, start[other], end[other], hashes)
                    turn += 1
                    shingles[other] = fill_table(hashes, found, slots, owner, turn)
                    in_use = 0
                if not in_use:
                    found = shingles_of(data, start[text], end[text], hashes)
                    in_use = table_size(found)
                    turn += 1
                    shingles[text] = fill_table(hashes, found, slots, owner, turn)
                small = min(shingles[text], shingles[other])
                value = APART
                if small >= threshold * max(shingles[text], shingles[other]):
                    found = shingles_of(data, start[other], end[other], hashes)
                    visit += 1
                    shared = shared_shingles(hashes, found, slots, owner, turn, in_use, met, visit)
                    ratio = shared / (shingles[text] + shingles[other] - shared)
                    if ratio >= threshold:
                        value = np.float32(ratio)
                new_first, new_second = _room(new_first, new), _room(new_second, new)
                new_score = _room(new_score, new)
                new_first[new] = min(names[text], names[other])
                new_second[new] = max(names[text], names[other])
                new_score[new] = value
                new += 1
            if value >= 0:
                through[text], score[text] = other, value
                break
        if through[text] < 0:
            for at in range(starts[text], starts[text + 1]):
                bucket = held[at]
                kept[first_place[bucket] + filled[bucket]] = text
                filled[bucket] += 1
        if (through[text] < 0) != was_kept[text]:
            for at in range(starts[text], starts[text + 1]):
                stirred[held[at]] = True
    return needed, new_first[:new], new_second[:new], new_score[:new]
