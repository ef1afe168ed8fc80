"""Near-duplicate texts: records whose shingles overlap by the threshold at least.

    records ─ text hash ─ signature, made or found ─ buckets ─ in order: against kept ones ─> marks

Records with the same text are one text here, and the first of them in the order stands for all.
The marks depend on the records alone: not on files, their order, or what was compared before.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import VecmillError
from schemas.identity import item_ids
from schemas.spec import DedupeSpec
from tasks.dedupe.near import MARKS, RecordSet
from tasks.dedupe.order import in_order
from tasks.dedupe.texts.buckets import Buckets
from tasks.dedupe.texts.compared_pairs import keep_pairs, known_pairs
from tasks.dedupe.texts.documents import kept_documents
from tasks.dedupe.texts.judged_texts import TextJudge, buckets_of, settled
from tasks.dedupe.texts.resemble import Judged, judge_texts
from tasks.dedupe.texts.signatures import (
    SignatureIndex,
    TextPart,
    read_hashes,
    release_signatures,
    sign_part,
)
from tasks.processes.cores import usable_cores
from tasks.store.workdir import Store

_WHO: dict[str, Any] = {
    "source": pl.String,
    "key": pl.String,
    "size": pl.Int64,
    "time": pl.Datetime("us", "UTC"),
}


@dataclass(frozen=True)
class _Records:
    """Some records with a text: in which file, at which position there, and the text's hash."""

    part: np.ndarray  # int64 (n)
    position: np.ndarray  # int64 (n)
    hashes: np.ndarray  # uint64 (n, 2)

    def take(self, numbers: np.ndarray) -> _Records:
        return _Records(self.part[numbers], self.position[numbers], self.hashes[numbers])


def near_texts(records: RecordSet, spec: DedupeSpec, store: Store) -> pl.DataFrame:
    """The marked records among texts: a frame of `MARKS`."""
    assert spec.near is not None
    parts = [TextPart(p.digest, p.source, p.path, p.records) for p, _ in records.parts]
    parts += [kept_documents(part, store) for part in records.kept]
    left_out = [rows for _, rows in records.parts] + [()] * len(records.kept)
    every = _every(_sign(parts, store), left_out)
    index = SignatureIndex.of(store)
    lost = np.unique(every.part[index.places(every.hashes) < 0])
    if len(lost):  # their signatures expired before the hashes did, or somebody deleted them
        _sign([parts[number] for number in lost], store, anew=True)
        index = SignatureIndex.of(store)
    release_signatures()
    marked = [_mark(parts, scope, index, spec, store) for scope in _scopes(parts, every, spec)]
    return pl.concat([pl.DataFrame(schema=MARKS), *marked])


def _sign(parts: list[TextPart], store: Store, *, anew: bool = False) -> list[str]:
    """The hashes of each part, as a path; their texts are signed then."""
    sign = partial(sign_part, store=store, anew=anew)
    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="dedupe") as pool:
        return list(pool.map(sign, parts))


def _every(signed: list[str], left_out: list[tuple[int, ...]]) -> _Records:
    """The records of all parts, but those that are left out."""
    empty = np.empty(0, np.int64)
    parts, positions, hashes = [empty], [empty], [np.empty((0, 2), np.uint64)]
    for number, (path, out) in enumerate(zip(signed, left_out, strict=True)):
        rows, named = read_hashes(path)
        stays = np.flatnonzero(~np.isin(rows, out)) if out else np.arange(len(rows))
        parts.append(np.full(len(stays), number))
        positions.append(stays)
        hashes.append(named[stays])
    return _Records(*(np.concatenate(each) for each in (parts, positions, hashes)))


def _scopes(parts: list[TextPart], every: _Records, spec: DedupeSpec) -> Iterator[_Records]:
    """The records that are compared with each other: all, or those of a source."""
    if spec.within == "space":
        yield every
        return
    sources = sorted({part.source for part in parts})
    of_part = np.array([sources.index(part.source) for part in parts], np.int64)
    of_record = of_part[every.part]
    for number in range(len(sources)):
        yield every.take(np.flatnonzero(of_record == number))


def _mark(
    parts: list[TextPart],
    records: _Records,
    index: SignatureIndex,
    spec: DedupeSpec,
    store: Store,
) -> pl.DataFrame:
    """The marks among records that are compared with each other."""
    assert spec.near is not None
    threshold = spec.near.threshold
    places, text = _texts(index.places(records.hashes), len(index))
    signatures = index.signatures(places)
    judge = TextJudge(
        store, [parts[number].source for number in np.unique(records.part)], threshold
    )
    before = judge.before(index, places)
    buckets = buckets_of(signatures, before)
    involved = np.zeros(len(places), bool)
    involved[buckets.text] = True
    copies = np.bincount(text, minlength=len(places)) > 1
    looked_at = np.flatnonzero((involved | copies)[text])
    who = _who(parts, records.take(looked_at)).with_columns(
        pl.Series("record", looked_at), pl.Series("text", text[looked_at])
    )
    ordered = in_order(who, spec.keep)
    standing = ordered.unique("text", keep="first", maintain_order=True)
    compared_ones = standing.filter(pl.Series(involved).gather(standing["text"]))
    numbers = compared_ones["text"].to_numpy()
    rank = np.full(len(places), -1, np.int32)
    rank[numbers] = np.arange(len(numbers))
    at = places[numbers]
    signatures = signatures[numbers]  # all others go: of a million texts 128 MB
    ranked = Buckets(rank[buckets.text], buckets.bucket, buckets.count)
    judged = judge_texts(
        signatures,
        index.hashes[at, 0],
        ranked,
        lambda wanted: index.texts(at[wanted]),
        threshold,
        known_pairs(store, threshold),
        settled(before, ranked, numbers) if before else None,
    )
    judge.keep(index.hashes[places], buckets, numbers, judged, before)
    keep_pairs(store, threshold, judged.compared)
    return _marks(ordered, standing, numbers, judged)


def _texts(place: np.ndarray, places: int) -> tuple[np.ndarray, np.ndarray]:
    """The different ones among the places, ascending, and which of them each record has (int64).

    Raises `VecmillError` where a text has none: signatures went while they were needed.
    """
    if (place < 0).any():
        raise VecmillError(
            f"{int((place < 0).sum())} texts have no signature in the workdir any more: files were "
            "removed there while the build ran; build again"
        )
    used = np.zeros(places, bool)
    used[place] = True
    number = np.cumsum(used) - 1
    return np.flatnonzero(used), number[place]


def _who(parts: list[TextPart], records: _Records) -> pl.DataFrame:
    """Source, key, size, time and id of the records, in their order."""
    found = [pl.DataFrame(schema=_WHO).to_arrow()]
    starts = np.flatnonzero(np.diff(records.part, prepend=-1))  # records come part by part
    for start, end in pairwise([*starts, len(records.part)]):
        rows = pq.read_table(parts[records.part[start]].path, columns=list(_WHO), use_threads=False)
        found.append(rows.take(pa.array(records.position[start:end])).cast(found[0].schema))
    who = pl.DataFrame(pa.concat_tables(found))
    sources, keys = (
        pa.chunked_array([who[name].to_arrow().cast(pa.string())]) for name in ("source", "key")
    )
    ids = item_ids(sources, keys, None)
    return who.with_columns(pl.Series("id", ids))


def _marks(
    ordered: pl.DataFrame, standing: pl.DataFrame, numbers: np.ndarray, judged: Judged
) -> pl.DataFrame:
    """The marks: of `standing`, one record of each text, those that resemble another, and all
    other records of their texts."""
    texts = pl.DataFrame(
        {
            "text": numbers,
            "kept_text": numbers[np.maximum(judged.through, 0)],
            "score": judged.score,
            "marked": judged.through >= 0,
        }
    ).filter("marked")
    kept = standing.select(
        pl.col("text").alias("kept_text"),
        pl.col("source").alias("kept_source"),
        pl.col("key").alias("kept_key"),
        pl.col("id").alias("kept_id"),
    )
    return (
        ordered.join(texts.drop("marked"), on="text", how="left")
        .with_columns(pl.col("kept_text").fill_null(pl.col("text")), pl.col("score").fill_null(1.0))
        .join(kept, on="kept_text", how="left")
        .filter(pl.col("id") != pl.col("kept_id"))
        .with_columns(pl.lit("text").alias("kind"), pl.col("score").cast(pl.Float32))
        .select(list(MARKS))
    )
