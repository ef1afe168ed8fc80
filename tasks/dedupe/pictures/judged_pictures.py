"""Verdicts about pictures, kept in the `workdir`: the next build compares what is new.

    near-pictures/<rules>-<threshold>[-<source>]/<digest>.parquet
        content_hash, through, score, in order

One verdict is about some pictures in an order. Of the newest ones that is taken up which tells of
the most pictures. What it says is true of the pictures alone, so the result is the same with any of
them, and without.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from schemas.identity import digest_bytes
from tasks.dedupe.pictures.keep_pictures import KEPT, NEW, keep_pictures, steady
from tasks.dedupe.pictures.phash import SIGNATURE_VERSION
from tasks.dedupe.pictures.same_picture import SAME_VERSION
from tasks.store.hashes import frame_hashes
from tasks.store.workdir import Store, mark_used

NEAR_PICTURES = "near-pictures"

LOOKED_INTO = 4
"""Verdicts, the newest ones: of several spaces that share a `workdir` each has its own."""


@dataclass(frozen=True)
class JudgedPictures:
    """For each picture, in order: which kept one it resembles (int64, `KEPT` for kept ones), and
    how much (float32, 0 for kept ones)."""

    through: np.ndarray
    score: np.ndarray


def judge_pictures(
    contents: pl.Series,
    hashes: np.ndarray,
    levels: np.ndarray,
    threshold: float,
    store: Store,
    source: str = "",
) -> JudgedPictures:
    """Judge pictures that come in the order in which they are kept, each content once.

    `contents` are their content hashes (binary), `hashes` (uint64 `[n, 25]`) and `levels` (uint8
    `[n, 1152]`, or whole signatures) what they are compared by.
    `source` is theirs where each is judged alone: its verdicts stand apart, or those of many
    sources would hide each other.
    """
    folder = f"{NEAR_PICTURES}/{SIGNATURE_VERSION}.{SAME_VERSION}-{threshold:g}"
    if source:
        folder += f"-{digest_bytes(source.encode()).hex()}"
    name = digest_bytes(frame_hashes(contents).tobytes()).hex()
    if found := store.find(folder, name):
        told = pl.read_parquet(found)
        return JudgedPictures(told["through"].to_numpy(), told["score"].to_numpy())
    known, scores = _known(contents, store, folder)
    through, score = keep_pictures(hashes, levels, known, scores, threshold)
    frame = pl.DataFrame({"content_hash": contents, "through": through, "score": score})
    with store.create(folder, name) as path:
        frame.write_parquet(path)
    return JudgedPictures(through, score)


def _known(contents: pl.Series, store: Store, folder: str) -> tuple[np.ndarray, np.ndarray]:
    """What an earlier verdict says of the pictures, as `keep_pictures` takes it."""
    known = np.full(len(contents), NEW, np.int64)
    scores = np.zeros(len(contents), np.float32)
    told = _fullest(contents, store, folder)
    if told is None:
        return known, scores
    now = pl.DataFrame({"content_hash": contents}).with_row_index("now")
    both = told.with_row_index("was").join(now, on="content_hash", how="left")
    places = both.sort("was")["now"].fill_null(-1).to_numpy().astype(np.int64)  # -1: it is gone
    ranks = np.full(len(contents), -1, np.int64)
    ranks[places[places >= 0]] = np.flatnonzero(places >= 0)
    stays = steady(ranks)
    was = ranks[stays]
    pointed = told["through"].to_numpy()[was]
    target = np.where(pointed >= 0, places[pointed], KEPT)
    # who pointed to one that is gone, or has moved, is judged like a new one
    lost = (pointed >= 0) & ((target < 0) | ~stays[np.maximum(target, 0)])
    known[stays] = np.where(lost, NEW, target)
    scores[stays] = told["score"].to_numpy()[was]
    return known, scores


def _fullest(contents: pl.Series, store: Store, folder: str) -> pl.DataFrame | None:
    """Of the newest verdicts the one that tells of the most of these pictures, if any."""
    best: tuple[int, Path, pl.DataFrame] | None = None
    wanted = pl.DataFrame({"content_hash": contents})
    for path in _newest(store, folder):
        told = pl.read_parquet(path)
        shared = told.join(wanted, on="content_hash", how="semi").height
        if shared and (best is None or shared > best[0]):
            best = shared, path, told
    if best is None:
        return None
    mark_used(best[1])
    return best[2]


def _newest(store: Store, folder: str) -> list[Path]:
    times: list[tuple[float, Path]] = []
    for path in store.files(folder):
        try:
            times.append((path.stat().st_mtime, path))
        except FileNotFoundError:
            continue  # it has just expired
    return [path for _, path in sorted(times, reverse=True)[:LOOKED_INTO]]
