"""Who looks for near-duplicate texts: vecmill's own search, and its peers.

Each takes the texts in their order of arrival and says for each who is kept in its place (labels,
int64 `(texts)`; its own position where it is kept itself), so that all are judged alike.
`uv run python benchmarks/near_text_finders.py NAME TEXTS.parquet OUT.npy` runs one in a process of
its own: labels into the file, seconds and memory as a line of JSON.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
from planted_text import jaccard, shingles

PERMUTATIONS, BANDS, ROWS = 128, 32, 4
"""The signature, alike for all who use MinHash."""

SEMHASH_THRESHOLD = 0.9
"""Cosine similarity beyond which SemHash calls two texts duplicates: its own default."""


class Laps:
    """CPU-seconds of this process, by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def lap(self, name: str) -> Iterator[None]:
        begun = time.process_time()
        yield
        self.seconds[name] = self.seconds.get(name, 0) + time.process_time() - begun


Find = Callable[[pa.Array, float, Laps], np.ndarray]
"""Texts (string array), the threshold, where to count → labels."""


def find_datasketch(texts: pa.Array, threshold: float, laps: Laps, *, checked: bool) -> np.ndarray:
    """datasketch's MinHashLSH: ask the index, put the text in where nothing answers.

    What is hashed are the 5-grams of the normalised texts, as strings' own hashes (its default,
    SHA-1 of every shingle, costs several times more than everything else and finds the same).
    `checked`: the exact similarity of what answers is computed with Python sets, in the order of
    arrival; otherwise the first that answers is believed.
    """
    from datasketch import MinHash, MinHashLSH

    with laps.lap("shingles"):
        sets = [shingles(text) for text in texts.to_pylist()]
    with laps.lap("hashes"):
        hashes = [np.fromiter(map(hash, each), np.int64, len(each)) for each in sets]
        hashes = [(each & 0xFFFFFFFF).tolist() for each in hashes]
    with laps.lap("signatures"):
        signatures = list(MinHash.generator(hashes, num_perm=PERMUTATIONS, hashfunc=_same, seed=1))
    labels = np.arange(len(sets))
    with laps.lap("search"):
        index = MinHashLSH(num_perm=PERMUTATIONS, params=(BANDS, ROWS))
        for at, signature in enumerate(signatures):
            answers = index.query(signature)
            if checked:
                near = (k for k in sorted(answers) if jaccard(sets[at], sets[k]) >= threshold)
                of = next(near, None)
            else:
                of = min(answers, default=None)
            if of is None:
                index.insert(at, signature, check_duplication=False)
            else:
                labels[at] = of
    return labels


def _same(value: np.uint32) -> np.uint32:
    return value
