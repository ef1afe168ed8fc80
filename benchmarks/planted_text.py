"""Made documents among which the near-duplicates are known: seeded, twelve kinds of edit.

    seed + number of a family ─ original ─┬─ copies, each edited in one of twelve ways
                                          └─ look-alikes: much in common, but not a copy

`uv run python benchmarks/planted_text.py` prints, for each kind of edit, how alike the copies are.

**What is true.** Two truths are kept apart:

- *by definition* (`by_definition`): what a perfect near-duplicate search finds. A document is
  marked when its Jaccard similarity (5-grams of characters, text normalised) to a kept document
  before it is at least the threshold, and it belongs to the first such. It is computed with plain
  Python sets, comparing all pairs of a family, copies and look-alikes alike. Documents of different
  families share next to nothing (`tests/benchmarks/test_planted_text.py` compares all pairs).
- *as planted* (`Planted.original`): a copy belongs to its original however much was edited,
  a look-alike to nothing. What is missed against this truth was edited beyond the threshold.

A family depends on the seed and its own number alone.
"""

from __future__ import annotations

import argparse
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from text_edits import EDITS, LOOK_ALIKES, SCRIPTS, SENTENCES, TOPICS, Hand, Quoting, write

NGRAM = 5
"""Characters of a shingle, as in the method that is measured."""

COPIED, LOOKED_ALIKE, CROWDED = 0.35, 0.15, 0.003
"""Shares of families with a few copies, with look-alikes, with a crowd of `CROWD` copies."""

FEW, CROWD, ALIKE = (1, 4), (20, 40), (1, 3)
"""Copies of most families, of the crowded ones, and look-alikes: fewest and most."""


STRETCH = 8
"""Words that stand for a sentence in given texts, whose real sentences are few."""


@dataclass(frozen=True)
class Planted:
    """Documents in their order of arrival: whoever comes first is kept.

    `family` and `original` are int64 `(documents)`: the number of the family, and the position of
    the document that this one is a copy of (its own when it is none). `edit` says what was done.
    """

    texts: list[str]
    family: np.ndarray
    original: np.ndarray
    edit: list[str]

    def __len__(self) -> int:
        return len(self.texts)


# --- families ------------------------------------------------------------------------------------


def family(seed: int, number: int) -> list[tuple[str, str, bool]]:
    """A family's documents, its original first: text, what was done, whether it is a copy."""
    draw = Random(f"{seed} {number}")
    script = draw.choices(range(len(SCRIPTS)), [share for share, _, _ in SCRIPTS])[0]
    hand = Hand(draw, script, draw.randrange(TOPICS))
    return with_copies(hand, [hand.sentence() for _ in range(draw.randint(*SENTENCES))])


def with_copies(hand: Hand, document: list[str]) -> list[tuple[str, str, bool]]:
    """A document with its copies and look-alikes."""
    draw, made = hand.draw, [(write(document), "original", False)]
    kind = draw.random()
    copies = 0
    if kind < CROWDED:
        copies = draw.randint(*CROWD)
    elif kind < COPIED:
        copies = draw.randint(*FEW)
    for _ in range(copies):
        edit = draw.choice(EDITS)
        made.append((edit(hand, document), edit.__name__, True))
    if draw.random() < LOOKED_ALIKE:
        for _ in range(draw.randint(*ALIKE)):
            edit = draw.choice(LOOK_ALIKES)
            made.append((edit(hand, document), f"not a copy: {edit.__name__}", False))
    return made


def families(documents: int, seed: int) -> Iterator[tuple[int, list[tuple[str, str, bool]]]]:
    """Families by number, until `documents` are made; the last one is cut off."""
    number = 0
    while documents > 0:
        made = family(seed, number)[:documents]
        yield number, made
        documents -= len(made)
        number += 1


def plant(documents: int, seed: int = 0) -> Planted:
    """`documents` documents in an order in which an original comes before its copies."""
    return arrange(families(documents, seed), seed)


def plant_among(texts: Sequence[str], seed: int = 0) -> Planted:
    """Given texts with copies and look-alikes of them; new words and sentences are from the texts.

    Texts of fewer than 32 words are left out: they have too few parts to be edited in all ways.
    What resembles what by itself is not known: their truth is `among_all`.
    """
    words = [text.split() for text in texts]
    split = [
        [" ".join(own[at : at + STRETCH]) for at in range(0, len(own), STRETCH)]
        for own in words
        if len(own) >= SENTENCES[0] * STRETCH
    ]
    pool = [each for document in split for each in document]
    made = (
        (number, with_copies(Quoting(Random(f"{seed} {number}"), 0, pool=pool), document))
        for number, document in enumerate(split)
    )
    return arrange(made, seed)


def arrange(made_families: Iterable[tuple[int, list[tuple[str, str, bool]]]], seed: int) -> Planted:
    """Families scattered, each in the order in which it was made."""
    rows = [
        (number, place, *row) for number, made in made_families for place, row in enumerate(made)
    ]
    owner = np.array([row[0] for row in rows])
    where = np.random.default_rng(seed).permutation(len(rows))
    # Each family keeps its places, but its documents stand there in the order they were made in.
    by_family = np.lexsort((where, owner))
    where[np.arange(len(rows))] = where[by_family]
    texts, edit = [""] * len(rows), [""] * len(rows)
    placed, original = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    first = 0
    for row, (number, place, text, done, copy) in enumerate(rows):
        at = where[row]
        first = at if place == 0 else first
        texts[at], edit[at], placed[at] = text, done, number
        original[at] = first if copy else at
    return Planted(texts, placed, original, edit)


# --- truth ---------------------------------------------------------------------------------------


def normalise(text: str) -> str:
    """Compatibility forms folded (NFKC), no case, runs of whitespace as one space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def shingles(text: str) -> frozenset[str]:
    """The distinct 5-grams of characters of the normalised text; all of it where it is shorter."""
    text = normalise(text)
    return frozenset(text[at : at + NGRAM] for at in range(max(1, len(text) - NGRAM + 1)))


def jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    """Shared shingles over all shingles."""
    shared = len(first & second)
    return shared / (len(first) + len(second) - shared)


def by_definition(planted: Planted, threshold: float) -> np.ndarray:
    """Who is kept for each document, int64 `(documents)`: the truth by definition (see above)."""
    members: dict[int, list[int]] = defaultdict(list)
    for at, number in enumerate(planted.family.tolist()):
        members[number].append(at)
    labels = np.arange(len(planted))
    for group in members.values():
        if len(group) == 1:
            continue
        kept: list[tuple[int, frozenset[str]]] = []
        for at in group:  # ascending: in the order of arrival
            own = shingles(planted.texts[at])
            of = next((k for k, other in kept if jaccard(own, other) >= threshold), None)
            if of is None:
                kept.append((at, own))
            else:
                labels[at] = of
    return labels


def among_all(texts: Sequence[str], threshold: float, rows: int = 500) -> np.ndarray:
    """`by_definition` where families are not known: all pairs, by a product of sparse matrices."""
    from scipy import sparse

    numbers: dict[str, int] = {}
    own = [[numbers.setdefault(each, len(numbers)) for each in shingles(text)] for text in texts]
    sizes = np.array([len(each) for each in own])
    starts = np.concatenate([[0], np.cumsum(sizes)])
    ones = np.ones(starts[-1], np.int32)
    table = sparse.csr_matrix((ones, np.concatenate(own), starts), (len(own), len(numbers)))
    labels = np.arange(len(own))
    for begin in range(0, len(own), rows):
        shared = (table[begin : begin + rows] @ table[: begin + rows].T).tocoo()
        later, earlier = shared.row + begin, shared.col
        alike = shared.data / (sizes[later] + sizes[earlier] - shared.data)
        pairs = np.stack([later, earlier], 1)[(alike >= threshold) & (earlier < later)]
        for one, other in pairs[np.lexsort(pairs.T[::-1])]:
            if labels[other] == other and labels[one] == one:
                labels[one] = other
    return labels


@dataclass(frozen=True)
class Score:
    """Pairs of documents in one cluster: found rightly, found in all, and there in truth."""

    right: int
    found: int
    true: int

    @property
    def precision(self) -> float:
        return self.right / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        return self.right / self.true if self.true else 1.0

    @property
    def f1(self) -> float:
        both = self.found + self.true
        return 2 * self.right / both if both else 1.0


def score(labels: np.ndarray, truth: np.ndarray) -> Score:
    """Pairwise-cluster score: each argument says for each document which cluster it is in."""

    def pairs(of: np.ndarray) -> int:
        sizes = np.unique(of, return_counts=True, axis=0)[1].astype(np.int64)
        return int((sizes * (sizes - 1) // 2).sum())

    return Score(pairs(np.stack([labels, truth], 1)), pairs(labels), pairs(truth))


def similarities(planted: Planted) -> dict[str, list[float]]:
    """How alike copies and look-alikes are to the original of their family, by what was done."""
    firsts: dict[int, int] = {}
    found: dict[str, list[float]] = defaultdict(list)
    for at, number in enumerate(planted.family.tolist()):
        first = firsts.setdefault(number, at)
        if first != at:
            alike = jaccard(shingles(planted.texts[at]), shingles(planted.texts[first]))
            found[planted.edit[at]].append(alike)
    return dict(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print how alike the copies of each kind are, and how the two truths differ."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--documents", type=int, default=20_000)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--threshold", type=float, default=0.7)
    options = asked.parse_args(arguments)
    planted = plant(options.documents, options.seed)
    print(f"{'edit':26} {'copies':>7} {'least':>6} {'median':>6} {'beyond':>6} (the threshold)")
    for done, alike in sorted(similarities(planted).items()):
        values = np.array(alike)
        beyond = (values < options.threshold).mean()
        print(
            f"{done:26} {len(values):7,} {values.min():6.2f} {np.median(values):6.2f} {beyond:6.1%}"
        )
    truth = by_definition(planted, options.threshold)
    both = score(truth, planted.original)
    marked = int((truth != np.arange(len(planted))).sum())
    print(f"{marked:,} of {len(planted):,} marked by definition")
    print(f"definition against planting: precision {both.precision:.4f} recall {both.recall:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
