"""Pairs of texts that were compared, kept in the `workdir`: no build compares them again.

    near-pairs/<rules>-<threshold>/*.parquet    first, second, score

A pair is named by the first 64 bits of its texts' hashes: among a million texts two share them with
a probability of 3e-8, and then a pair's score may be that of another.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.identity import digest_bytes
from tasks.dedupe.texts.resemble import Pairs
from tasks.dedupe.texts.signatures import RULES
from tasks.store.workdir import Store, mark_used

NEAR_PAIRS = "near-pairs"


def pairs_folder(threshold: float) -> str:
    """The folder, below the `workdir`, of the pairs that were compared at a threshold."""
    return f"{NEAR_PAIRS}/{RULES}-{threshold:g}"


def known_pairs(store: Store, threshold: float) -> Pairs:
    """Every pair that the files hold."""
    found = Pairs.none()
    for path in store.files(pairs_folder(threshold)):
        mark_used(Path(path))
        table = pq.read_table(path)
        found += Pairs(*(table.column(name).to_numpy() for name in ("first", "second", "score")))
    return found


def keep_pairs(store: Store, threshold: float, pairs: Pairs) -> None:
    """Write pairs that no file holds, in their order."""
    if not len(pairs):
        return
    order = np.lexsort((pairs.second, pairs.first))
    first, second, score = pairs.first[order], pairs.second[order], pairs.score[order]
    name = digest_bytes(first.tobytes() + second.tobytes()).hex()
    table = pa.table({"first": first, "second": second, "score": score})
    with store.create(pairs_folder(threshold), name) as path:
        pq.write_table(table, path, compression="none", use_dictionary=False)
