"""Words for a cluster: the terms that its texts have and the other clusters' have not.

    texts ─ terms (words, pairs of words) ─ in how many texts of each cluster ─ class TF-IDF ─ best

Class TF-IDF after Grootendorst, "BERTopic" (2022): a cluster is treated as one document. Here the
frequency is the share of the cluster's texts that have the term, so that one long text does not
name a cluster, and its weight is the logarithm of that share over the mean share of all clusters:
a word that is as common everywhere weighs nothing, in any language and without a list of words.

Pictures have words where the embedder has a text tower, too: those of a list whose vectors lie
nearest to the cluster, compared with how near they lie to the other clusters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import Any

import numpy as np

TERMS = 8
"""Terms kept of a cluster: more than these say what the first ones have said."""

WORDS_OF_PICTURES = 3
"""Words of a cluster of pictures: further ones are guesses, on Caltech-101 and with CLIP."""

MIN_SHARE = 0.05
"""Share of a cluster's texts that a term must stand in: a rarer one is about few of them."""

CUT = 800
"""Code points of a text that are read for terms: its subject stands at its beginning."""

BATCH_WORDS = 64
"""Words embedded together: a list of some hundreds is no reason to hold them all."""

SAME = 1 - 1e-4
"""Cosine from which on two words are one to the embedder: its tokenizer knows neither."""

MARKUP = frozenset({"quot", "amp", "lt", "gt", "nbsp", "href", "http", "https", "www"})
"""What is left of web pages in many corpora."""

_WORD = re.compile(r"[^\W\d_](?:[\w'’.+#-]*[\w+#])?")
"""Words as they are typed, `state-of-the-art`, `don't`, `c++` and `numpy.linalg` among them."""

_UNSPACED = "[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
"""Scripts that put no space between words: Thai, Lao, Kana, Han."""

_RUN = re.compile(f"{_UNSPACED}+")
_PAIR = re.compile(f"(?=({_UNSPACED}{{2}}))")

_LONGEST = 30
"""Code points of a term: what is longer is an address or a hash, not a word."""


def text_terms(texts: Sequence[str], clusters: np.ndarray) -> dict[int, tuple[str, ...]]:
    """The terms of each cluster, best first; none where its texts share none of their own.

    `clusters` is int32 `(n)`, a cluster for each text. Ties go by the alphabet, so that the same
    texts always give the same terms, in whatever order they come.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    numbers, codes = np.unique(clusters, return_inverse=True)
    counter = CountVectorizer(analyzer=terms_of, binary=True, dtype=np.float32)
    try:
        found = counter.fit_transform(texts)
    except ValueError as error:
        if "empty vocabulary" not in str(error):
            raise
        return {int(number): () for number in numbers}  # numbers and signs alone
    sizes = np.bincount(codes).astype(np.float32)
    shares, kept = _shares(found, codes, sizes)
    terms = counter.get_feature_names_out()[kept]
    weights = _without_empty_pairs(terms, _weights(shares, sizes))
    return {int(number): _best(terms, weights[at], TERMS) for at, number in enumerate(numbers)}


def terms_of(text: str) -> list[str]:
    """The terms of a text: words, pairs of neighbouring words, pairs of unspaced signs."""
    text = text[:CUT].casefold()
    signs = _PAIR.findall(text)
    words = _WORD.findall(_RUN.sub(" ", text))
    known = _common_words()
    plain = [w for w in words if 1 < len(w) <= _LONGEST and w not in known]
    pairs = [
        f"{a} {b}"
        for a, b in pairwise(words)
        if a != b and not known & {a, b} and len(a) > 1 < len(b) and len(a + b) < _LONGEST
    ]
    return [*plain, *pairs, *signs]


@cache
def _common_words() -> frozenset[str]:
    """English words that mean nothing by themselves: in a small sample chance makes them stand out.

    Of other languages the weights have to take care.
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return frozenset(ENGLISH_STOP_WORDS | MARKUP)


def _shares(found: Any, codes: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of each cluster's texts that have each term, and which terms those are.

    Returns float32 `(k, kept)` and int64 `(kept)`: without the nine of ten terms that stand in one
    text alone, where its cluster has others.
    """
    from scipy.sparse import csr_matrix

    size = len(codes)
    member = csr_matrix((np.ones(size, np.float32), (codes, np.arange(size))))
    counts = (member @ found).tocsr()
    wanted = np.asarray(found.sum(axis=0)).ravel() >= 2
    wanted[counts[sizes < 2].indices] = True
    kept = np.flatnonzero(wanted)
    return counts[:, kept].toarray() / sizes[:, None], kept


def _weights(share: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Class TF-IDF, `(k, terms)`: 0 for what is too rare in a cluster or as common elsewhere.

    In a cluster of several texts a term must stand in two of them. One cluster alone has nothing to
    be compared with: there the share alone counts.
    """
    least = np.maximum(np.minimum(2 / sizes, 1), MIN_SHARE)[:, None]
    usual = share.mean(axis=0)
    if len(share) == 1:
        return np.where(share >= least, share, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = share * np.log(share / usual)
    return np.where((share >= least) & (share > usual), weight, 0)


def _without_empty_pairs(terms: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """No weight for a pair of words of which one says nothing of the cluster (`the sea`)."""
    place = {term: at for at, term in enumerate(terms)}
    pairs = [(at, term.split()) for at, term in enumerate(terms) if " " in term]
    for at, words in pairs:
        for word in words:
            weights[:, at] *= weights[:, place[word]] > 0 if word in place else 0
    return weights


def _best(terms: np.ndarray, weights: np.ndarray, most: int) -> tuple[str, ...]:
    """The heaviest terms, none of which says again what another has said."""
    heavy = np.flatnonzero(weights)
    pairs = np.array([" " in term for term in terms[heavy]], bool)
    order = heavy[np.lexsort((terms[heavy], pairs, -weights[heavy]))[: 6 * most]]
    chosen: list[str] = []
    for at in order:
        term = str(terms[at])
        if not any(_says_again(term, other) for other in chosen):
            chosen.append(term)
    return tuple(chosen[:most])


def _says_again(term: str, other: str) -> bool:
    """Whether the two share a word, or one is but another form of the other (`cat`, `cats`)."""
    mine, its = set(term.split()), set(other.split())
    if mine & its:
        return True
    short, long = sorted((term, other), key=len)
    return len(short) > 2 and long.startswith(short) and len(long) - len(short) <= 2


@cache
def picture_words() -> tuple[str, ...]:
    """The words that clusters of pictures are named by: things, places, colours, ways to draw."""
    text = (resources.files("tasks.cluster") / "picture_words.txt").read_text(encoding="utf-8")
    lines = (line.partition("//")[0] for line in text.splitlines())
    return tuple(sorted({word.strip() for line in lines for word in line.split(",")} - {""}))


def known_words(words: Sequence[str], vectors: np.ndarray) -> np.ndarray:
    """Which words the embedder tells apart (bool `(n)`); `vectors` float32 `(n, d)`, unit length.

    What its tokenizer does not know becomes one and the same vector.
    """
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, 0)
    return likeness.max(axis=1, initial=0) < SAME


def word_terms(
    words: Sequence[str], vectors: np.ndarray, centroids: np.ndarray
) -> list[tuple[str, ...]]:
    """The words nearest to each centroid, best first.

    `vectors` float32 `(n, d)` are the words', `centroids` float32 `(k, d)` those of the pictures,
    all of unit length. Pictures and texts lie apart in such a space and some words near to every
    picture, so what counts is how much nearer a word is to this cluster than to the others.
    """
    likeness = centroids @ vectors.T
    if len(centroids) > 1:
        likeness = likeness - likeness.mean(axis=0)
    order = np.argsort(-likeness.round(5), axis=1, kind="stable")[:, : 4 * WORDS_OF_PICTURES]
    return [_distinct([words[at] for at in row]) for row in order]


def _distinct(words: Sequence[str]) -> tuple[str, ...]:
    """The first words, without one that is part of another (`ring`, `red ring`)."""
    chosen: list[str] = []
    for word in words:
        mine = set(word.split())
        if not any(mine <= set(its.split()) or mine >= set(its.split()) for its in chosen):
            chosen.append(word)
    return tuple(chosen[:WORDS_OF_PICTURES])
