"""The peers that look for near-duplicate texts beside vecmill: datasketch and SemHash.

Each takes the texts in their order of arrival and says for each who is kept in its place (labels,
int64 `(texts)`; its own position where it is kept itself), so that all are judged alike.
`near_text.py` runs each in a process of its own, where the package was put beside vecmill's.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from near_text_stage import Laps, peak_bytes
from planted_text import shingles

SHARED = Path(os.environ.get("VECMILL_SHARED", Path(__file__).parents[1].parent / "shared"))
MODEL = SHARED / "models" / "potion-4m-fp16"

PERMUTATIONS, BANDS, ROWS = 128, 32, 4
"""The signature, alike for all who use MinHash."""

SEMHASH_THRESHOLD = 0.9
"""Cosine similarity beyond which SemHash calls two texts duplicates: its own default."""


Find = Callable[[pa.Array, float, Laps], np.ndarray]
"""Texts (string array), the threshold, where to count → labels."""


def find_datasketch(texts: pa.Array, threshold: float, laps: Laps, *, checked: bool) -> np.ndarray:
    """datasketch's MinHashLSH: ask the index, put the text in where nothing answers.

    What is hashed are the 5-grams of the normalised texts, by the hash that strings have in
    Python: its default, SHA-1 of every shingle, costs several times more and finds the same.
    `checked`: the exact similarity of what answers is computed with Python sets, in the order of
    arrival; otherwise the first that answers is believed.
    """
    from datasketch import MinHash, MinHashLSH

    hashes: list[np.ndarray] = []  # 32 bits each: the strings of 100,000 texts would take 12 GB
    for text in texts.to_pylist():
        with laps.lap("shingles"):
            distinct = shingles(text)
        with laps.lap("hashes"):
            whole = np.fromiter(map(hash, distinct), np.int64, len(distinct))
            hashes.append((whole & 0xFFFFFFFF).astype(np.uint32))
    with laps.lap("signatures"):
        lists = (each.tolist() for each in hashes)
        signatures = list(MinHash.generator(lists, num_perm=PERMUTATIONS, hashfunc=_same, seed=1))
    labels = np.arange(len(hashes))
    with laps.lap("search"):
        index = MinHashLSH(num_perm=PERMUTATIONS, params=(BANDS, ROWS))
        for at, signature in enumerate(signatures):
            answers = index.query(signature)
            if not checked or not answers:
                of = min(answers, default=None)
            else:
                own = set(hashes[at].tolist())
                near = (k for k in sorted(answers) if _alike(own, hashes[k]) >= threshold)
                of = next(near, None)
            if of is None:
                index.insert(at, signature, check_duplication=False)
            else:
                labels[at] = of
    return labels


def _alike(own: set[int], other: np.ndarray) -> float:
    shared = len(own.intersection(other.tolist()))
    return shared / (len(own) + len(other) - shared)


def _same(value: int) -> int:
    return value


def find_semhash(texts: pa.Array, threshold: float, laps: Laps) -> np.ndarray:
    """SemHash: neighbours by the vectors of a static model, at its own threshold of cosine."""
    from semhash import SemHash
    from sentence_transformers import SentenceTransformer

    class Encoder:
        model = SentenceTransformer(str(MODEL), device="cpu")

        def encode(self, inputs: Sequence[str], **_: object) -> np.ndarray:
            return self.model.encode(list(inputs), show_progress_bar=False)

    rows = [{"id": str(at), "text": text} for at, text in enumerate(texts.to_pylist())]
    encoder = Encoder()
    encoder.encode(["warm"])
    with laps.lap("all"):
        index = SemHash.from_records(rows, columns=["text"], model=encoder)
        result = index.self_deduplicate(SEMHASH_THRESHOLD)
    labels = np.arange(len(texts))
    for each in result.filtered:
        labels[int(each.record["id"])] = int(each.duplicate_of["id"])
    return labels


PEERS: dict[str, Find] = {
    "datasketch, checked": partial(find_datasketch, checked=True),
    "datasketch as it comes": partial(find_datasketch, checked=False),
    "SemHash": find_semhash,
}


def main() -> int:
    """Run one peer: its name, the files with texts, where the labels go, the threshold."""
    name, files, out, threshold = sys.argv[1:]
    tables = [pq.read_table(path, columns=["text"]) for path in json.loads(files)]
    texts = pa.concat_tables(tables)["text"].combine_chunks()
    find = PEERS[name]
    find(pa.array(["a few words", "a few words more", "something else"]), 0.7, Laps())  # imports
    laps = Laps()
    np.save(out, find(texts, float(threshold), laps))
    print(json.dumps({"seconds": laps.seconds, "peak": peak_bytes()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
