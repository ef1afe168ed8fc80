"""Keys that a source has more than once: which record stays, before any is validated.

    on_repeat: reject   the first in file order; the others are rejects, `repeated-key`
    on_repeat: latest   the greatest `time`, then the last in file order; `superseded`

File order is (relative path, row). In a source of `mode: append` the published records that their
own files no longer hold take part by the same rule; those that win, or that nobody challenges, are
kept. All of a source's keys are looked at together, by their hashes: eight bytes a record.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from schemas.identity import digest_json
from schemas.reasons import Reason
from schemas.refs import ItemsPart, RecordsPart, RejectsRef
from tasks.ingest.kept import keep_rows
from tasks.ingest.published import CONTENDERS, PublishedRef, find_contenders, relative
from tasks.store.batches import read_batches
from tasks.store.hashes import repeated
from tasks.store.workdir import RejectsWriter, Store, read_rejects_ref

REPEATS_VERSION = 1
"""Raised when another record of a repeated key would stay."""

PUBLISHED = -1
"""The `part` of a record that stands in the release alone."""

SEED = 20_261_120
"""Of the keys' hashes: the same ones are compared in every process."""

KEYS_AT_ONCE = 65_536

PLACE = ["rel", "part", "row"]
"""File order. `rel` is the same for all of a source that keeps no published record."""


@dataclass(frozen=True)
class Repeats:
    """Rejects for the records that did not stay; the published ones that do, as items.

    `repeated` counts the rejects by source.
    """

    rejects: RejectsRef
    repeated: dict[str, int]
    kept: tuple[ItemsPart, ...] = ()


@dataclass(frozen=True)
class Decision:
    """`losers` of the present records, `kept` of the published ones (`CONTENDERS`)."""

    losers: pl.DataFrame
    kept: pl.DataFrame


def find_repeats(
    parts: Sequence[RecordsPart],
    store: Store,
    latest: Collection[str] = (),
    published: PublishedRef | None = None,
) -> Repeats:
    """Decide every key that stands more than once in its source.

    `parts` come in listing order; `latest` names the sources of `on_repeat: latest`; `published` is
    None where no source keeps published rows. Each reject names the part's digest and the row.
    """
    seen = [REPEATS_VERSION, [part.digest for part in parts], sorted(latest)]
    name = f"repeats-{digest_json([*seen, published.digest if published else None])}"
    found = _find(store, name)
    if found is not None:
        return found
    contenders = None if published is None else find_contenders(published, parts)
    roots = {} if published is None else {s.name: s.roots for s in published.sources}
    decision = decide(parts, latest, contenders, roots)
    with RejectsWriter(store, name, stage="ingest") as rejects:
        rejects.add_table(_rejects(decision.losers, parts))
    kept = () if published is None else keep_rows(published, decision.kept, store)
    repeated = dict(decision.losers["source"].value_counts().iter_rows())
    repeats = Repeats(rejects.ref, repeated, kept)
    with store.create("repeats", name, ".json") as path:
        path.write_text(json.dumps(asdict(repeats)), "utf-8")
    return repeats


def _find(store: Store, name: str) -> Repeats | None:
    """What an earlier build decided, if all that it refers to is still there."""
    note, rejects = store.find("repeats", name, ".json"), store.find("rejects", name)
    if note is None or rejects is None:
        return None
    found = json.loads(note.read_text("utf-8"))
    kept = []
    for each in found["kept"]:
        path, refused = store.find("items", each["digest"]), store.find("rejects", each["digest"])
        if path is None or refused is None:
            return None
        kept.append(ItemsPart(**each | {"path": str(path), "rejects": RejectsRef(str(refused))}))
    return Repeats(read_rejects_ref(rejects), found["repeated"], tuple(kept))


def decide(
    parts: Sequence[RecordsPart],
    latest: Collection[str],
    contenders: pl.DataFrame | None = None,
    roots: dict[str, tuple[str, ...]] | None = None,
) -> Decision:
    """Who stays. `contenders` are published records; `roots` those of the sources that have any."""
    if contenders is None:
        contenders = pl.DataFrame(schema=CONTENDERS)
    rivals = _with_rivals(parts, contenders, roots or {})
    published = contenders.with_columns(
        part=pl.lit(PUBLISHED, pl.Int64), row=pl.lit(PUBLISHED, pl.Int64), kind=pl.lit("")
    )
    every = pl.concat([rivals, published.select(rivals.columns)])
    by_time = pl.col("source").is_in(list(latest))
    first = (
        every.filter(~by_time).sort(PLACE).unique(["source", "key"], keep="first"),
        # A record without a time is older than any with one: nulls come first.
        every.filter(by_time).sort("time", *PLACE).unique(["source", "key"], keep="last"),
    )
    winners = pl.concat(first).select("source", "key", *(_won(name) for name in _SHOWN))
    lost = every.join(winners, on=["source", "key"]).filter(
        (pl.col("part") != pl.col("won_part")) | (pl.col("row") != pl.col("won_row"))
    )
    losers = lost.filter(pl.col("part") != PUBLISHED).sort("part", "row")
    gone = lost.filter(pl.col("part") == PUBLISHED)
    return Decision(
        losers.with_columns(superseded=pl.col("source").is_in(list(latest))),
        contenders.join(gone, on=["source", "key"], how="anti"),
    )


_SHOWN = ("uri", "part", "row", "time")


def _won(name: str) -> pl.Expr:
    return pl.col(name).alias(f"won_{name}")


def _with_rivals(
    parts: Sequence[RecordsPart], contenders: pl.DataFrame, roots: dict[str, tuple[str, ...]]
) -> pl.DataFrame:
    """The present records whose key stands more than once, published contenders included."""
    schema = {**CONTENDERS, "part": pl.Int64, "row": pl.Int64, "kind": pl.String}
    keys = _suspects(parts, contenders)
    if keys.is_empty():
        return pl.DataFrame(schema=schema)
    twice = pl.struct("source", "key").is_duplicated()
    challenged = contenders.select("source", "key", challenged=pl.lit(True))
    if challenged.height:
        keys = keys.join(challenged, on=["source", "key"], how="left", maintain_order="left")
        twice |= pl.col("challenged").is_not_null()
    again = keys.filter(twice)
    full = [pl.DataFrame(schema=schema)]
    for (at,), group in again.partition_by("part", as_dict=True).items():
        part = parts[at]
        place = relative(pl.col("uri"), roots[part.source]) if part.source in roots else pl.lit("")
        full.append(
            pl.scan_parquet(part.path)
            .select("source", "key", "uri", "time", "row", "kind", rel=place)
            .with_columns(part=pl.lit(at, pl.Int64))
            .join(group.lazy().select("row"), on="row", how="semi")
            .select(list(schema))
            .collect()
        )
    return pl.concat(full)


def _suspects(parts: Sequence[RecordsPart], contenders: pl.DataFrame) -> pl.DataFrame:
    """Source, key, row and part of the present records whose key may stand more than once.

    Eight bytes of a hash are held for each record; only keys whose hashes repeat are compared.
    """
    schema = {"source": pl.String, "key": pl.String, "row": pl.Int64, "part": pl.Int64}
    frames = [pl.DataFrame(schema=schema)]
    for source in dict.fromkeys(part.source for part in parts):
        own = [(at, part) for at, part in enumerate(parts) if part.source == source]
        hashes = [_hashed_keys(part) for _, part in own]
        rivals = contenders.filter(pl.col("source") == source)["key"].hash(SEED).to_numpy()
        again = repeated(np.concatenate([*hashes, rivals]))
        start = 0
        for (at, part), mine in zip(own, hashes, strict=True):
            here = again[start : start + len(mine)]
            start += len(mine)
            if here.any():
                found = pl.read_parquet(part.path, columns=["source", "key", "row"]).filter(
                    pl.Series(here)
                )
                frames.append(found.with_columns(part=pl.lit(at, pl.Int64)))
    return pl.concat(frames)


def _hashed_keys(part: RecordsPart) -> np.ndarray:
    """A 64-bit hash of each key, in file order: uint64 `[n]`."""
    hashes = [
        pl.Series(batch.column(0)).hash(SEED).to_numpy()
        for batch in read_batches(part.path, KEYS_AT_ONCE, ["key"])
    ]
    return np.concatenate([np.empty(0, np.uint64), *hashes])


def _rejects(losers: pl.DataFrame, parts: Sequence[RecordsPart]) -> pa.Table:
    """The rejects of the records that did not stay, in (part, row) order."""
    from_release = pl.col("won_part") == PUBLISHED
    times = [
        pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%S%.fZ").fill_null("none")
        for name in ("won_time", "time")
    ]
    later = [
        pl.format(f"{words} is later (time {{}}, this one's {{}})", "won_uri", *times)
        for words in ("the published record of the key, from {},", "the record of the key in {}")
    ]
    first = [
        pl.format(words, "won_uri")
        for words in ("the key was published before, from {}", "the key stands first in {}")
    ]
    published, present = (
        pl.when("superseded").then(late).otherwise(early)
        for late, early in zip(later, first, strict=True)
    )
    detail = pl.when(from_release).then(published).otherwise(present)
    reason = pl.when("superseded").then(pl.lit(str(Reason.SUPERSEDED)))
    digests = pl.Series([part.digest for part in parts], dtype=pl.String)
    return losers.select(
        *("source", "key", "kind", "uri", "row"),
        reason=reason.otherwise(pl.lit(str(Reason.REPEATED_KEY))),
        detail=detail,
        part=digests.gather(losers["part"]),
    ).to_arrow()
