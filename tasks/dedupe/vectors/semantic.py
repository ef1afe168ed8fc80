"""Semantic duplicates: items whose vectors nearly agree. Judged last, from a named fit.

    rows of the plan ─ no mark yet ─→ slots ─ neighbours ─→ kept, or semantic → a kept row
    near marks on a record of which no row is kept any more ─→ judged again, after all others

A slot is a content, and its source where only rows of one source are compared: its rows have one
vector and one verdict. So exact copies follow the row that they point to, and each pointer ends at
a row that is kept. (`tests/dedupe/vectors/test_semantic.py` states these rules as properties.)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import polars as pl

from schemas.identity import RULES_VERSION, digest_bytes, digest_json
from schemas.refs import EmbedderRef, ItemsPart, PlanRef
from schemas.spec import DedupeSpec
from tasks.dedupe.order import in_order
from tasks.dedupe.vectors.judgement import UNKNOWN, Judgement
from tasks.dedupe.vectors.known import find_known, keep_known
from tasks.dedupe.vectors.sketch import Traits
from tasks.geometry.fit import Fit
from tasks.store.hashes import frame_hashes
from tasks.store.items import read_items
from tasks.store.vectors import release_vectors, vector_index
from tasks.store.workdir import Store
from tasks.table.dataset import TableRef, open_version
from tasks.table.item_vectors import item_vectors, located

if TYPE_CHECKING:
    from tasks.dedupe.vectors.neighbours import Neighbourhood

VERDICT = ("duplicate_of", "duplicate_kind", "duplicate_score")

COLUMNS = ["id", "source", "kind", "content_hash", "size", "time"]


class BaseVersion(Protocol):
    """The version of a table that a build plans from; None: there is none."""

    @property
    def table(self) -> TableRef: ...
    @property
    def version(self) -> int | None: ...


def mark_semantic(
    plan: PlanRef,
    items: Sequence[ItemsPart],
    duplicates: str,
    fit: Fit,
    embedder: EmbedderRef,
    base: BaseVersion,
    spec: DedupeSpec,
    store: Store,
) -> str:
    """Judge the rows that `plan` leaves in the state; return the path of all tiers' verdicts.

    `duplicates` are the verdicts of the tiers before; the file is like theirs, with kind "semantic"
    and the cosine as score beside them. All contents must have a vector by now, in the `workdir` or
    in `base`; raises `VecmillError` where one has none. Without `spec.semantic` nothing is judged.
    """
    if spec.semantic is None:
        return duplicates
    from tasks.dedupe.vectors.neighbours import METHOD

    rows = _rows(plan, items)
    contents = digest_bytes(frame_hashes(rows["content_hash"]).tobytes()).hex()
    settings = [RULES_VERSION, METHOD, fit.fit_id, embedder.vector_key, spec.model_dump()]
    parts = sorted(part.digest for part in items)
    digest = digest_json(["semantic", *settings, parts, contents, Path(duplicates).name])
    if found := store.find("duplicates", digest):
        return str(found)
    verdicts = pl.read_parquet(duplicates)
    rows = rows.join(verdicts, on="id", how="left", maintain_order="left")
    try:
        vectors = Vectors(embedder, base, store)
        marked = semantic_duplicates(rows, fit, spec, vectors, store, digest_json(settings))
    finally:
        release_vectors()
    with store.create("duplicates", digest) as path:
        marked.write_parquet(path)
    return str(store.path("duplicates", digest))


def _rows(plan: PlanRef, items: Sequence[ItemsPart]) -> pl.DataFrame:
    """The items in the state (`COLUMNS`) and where the base has their vectors."""
    state = pl.scan_parquet(plan.path).filter(pl.col("class") != "removed")
    held = state.select("part", "row", "vector_rowaddr").collect()
    found = read_items(items, COLUMNS)
    if found.height == held.height:  # nothing was rejected: a plan has the items in their order
        found = found.with_columns(held["vector_rowaddr"])
    else:
        found = found.join(held, on=["part", "row"], maintain_order="left")
    return found.select(*COLUMNS, "vector_rowaddr")


class Vectors:
    """Reads the vectors of contents, from the `workdir` or from the base."""

    def __init__(self, embedder: EmbedderRef, base: BaseVersion, store: Store) -> None:
        self.dimensions = embedder.dimensions
        self._index = vector_index(store, embedder.vector_key)
        self._base = base

    def places(self, slots: pl.DataFrame) -> pl.DataFrame:
        """`slots` (columns id, content_hash, vector_rowaddr) with the places of their vectors."""
        return located(slots.select("id", "content_hash", "vector_rowaddr"), self._index)

    def read(self, places: pl.DataFrame) -> np.ndarray:
        """float32 `(n, dimensions)` of some rows of `places`, in their order."""
        base, missing = self._base, places["file"].is_null().any()
        known = missing and base.version is not None
        dataset = open_version(base.table, base.version) if known else None  # type: ignore[arg-type]
        return item_vectors(places, self.dimensions, dataset)


class VectorReader(Protocol):
    """What `Vectors` does: tests have vectors of their own."""

    dimensions: int

    def places(self, slots: pl.DataFrame) -> pl.DataFrame: ...
    def read(self, places: pl.DataFrame) -> np.ndarray: ...


def semantic_duplicates(
    rows: pl.DataFrame,
    fit: Fit,
    spec: DedupeSpec,
    vectors: VectorReader,
    store: Store,
    settings: str,
) -> pl.DataFrame:
    """The marked rows of all tiers: id and verdict, by id.

    `rows` has `COLUMNS`, vector_rowaddr and the verdict of the tiers before. `settings` is a digest
    of what decides whether two contents are neighbours: what an earlier build found under it holds.
    """
    group = pl.col("source") if spec.within == "source" else pl.lit("")
    rows = _with_sizes(rows.with_columns(group.alias("group")))
    unmarked = pl.col("duplicate_kind").is_null()
    tiers = [_Kind(kind, fit, spec, vectors, store, settings) for kind in _kinds(rows)]
    for tier in tiers:
        mine = pl.col("kind") == tier.kind
        tier.judge(rows.filter(mine & unmarked))
    kept = pl.concat([pl.Series([], dtype=pl.String), *(tier.kept_rows() for tier in tiers)])
    released = _released(rows, kept)
    for tier in tiers:
        mine = pl.col("kind") == tier.kind
        tier.judge_released(released.filter(mine))
    open_ = pl.concat([rows.filter(unmarked | (pl.col("duplicate_kind") == "exact")), released])
    judged = [open_.clear(), *(tier.marks(open_) for tier in tiers)]
    semantic = pl.concat([frame.select("id", *VERDICT) for frame in judged])
    others = rows.filter(~unmarked).select("id", *VERDICT)
    left = others.join(released, on="id", how="anti").join(semantic, on="id", how="anti")
    return pl.concat([left, semantic]).sort("id")


def _with_sizes(rows: pl.DataFrame) -> pl.DataFrame:
    """A picture that is kept of a release has no size: that of its content's others, or null."""
    if not (rows["size"] == 0).any():
        return rows
    size = pl.when(pl.col("size") > 0).then("size").max().over("content_hash", "kind")
    return rows.with_columns(size.alias("size"))


def _kinds(rows: pl.DataFrame) -> list[str]:
    return sorted(rows["kind"].unique())


def _released(rows: pl.DataFrame, kept: pl.Series) -> pl.DataFrame:
    """The near-marked rows that point to a record of which no row is kept, unmarked."""
    near = rows.filter(pl.col("duplicate_kind") == "near")
    if not near.height:
        return near
    wanted = pl.DataFrame({"id": kept.rename("id")}).with_columns(
        pl.col("id").str.split_exact("#", 1).struct.field("field_0").alias("record")
    )
    return near.join(wanted, left_on="duplicate_of", right_on="record", how="anti").with_columns(
        pl.lit(None, rows.schema[name]).alias(name) for name in VERDICT
    )


class _Kind:
    """The judgement of one kind's slots: first those of unmarked rows, then of released ones."""

    def __init__(
        self,
        kind: str,
        fit: Fit,
        spec: DedupeSpec,
        vectors: VectorReader,
        store: Store,
        settings: str,
    ) -> None:
        assert spec.semantic is not None
        own = fit.kinds.get(kind)
        none = np.empty((0, vectors.dimensions), np.float32)
        self.kind = kind
        self._cells = none if own is None else own.cells
        self._threshold = spec.semantic.threshold
        self._keep = spec.keep
        self._vectors = vectors
        self._store = store
        self._name = digest_json([settings, kind])

    def judge(self, rows: pl.DataFrame) -> None:
        """Judge unmarked rows: only what is new since an earlier build is looked for."""
        self._slots = self._in_order(rows)
        judged, traits = find_known(self._store, self._name, self._slots)
        self._run(judged, traits)
        if self._new:
            keep_known(self._store, self._name, self._slots, self._judged, self._near.traits)

    def judge_released(self, rows: pl.DataFrame) -> None:
        """Judge rows whose near mark does not stand, after all others: what was kept stays kept."""
        more = self._in_order(rows).join(self._slots, on=["content_hash", "group"], how="anti")
        if not more.height:
            return
        old = self._judged
        self._slots = pl.concat([self._slots, more])
        through = np.concatenate([old.through, np.full(more.height, UNKNOWN)])
        score = np.concatenate([old.score, np.zeros(more.height, np.float32)])
        traits = self._near.traits.followed_by(Traits.unknown(more.height))
        self._run(Judgement(through, score), traits)

    def _in_order(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The first row of each slot, in the order in which rows are kept."""
        columns = ["id", "content_hash", "group", "vector_rowaddr"]
        ordered = in_order(rows, self._keep).select(columns)
        return ordered.unique(["content_hash", "group"], keep="first", maintain_order=True)

    def _run(self, judged: Judgement, traits: Traits) -> None:
        from tasks.dedupe.vectors.judge import judge_more

        self._new = bool((judged.through == UNKNOWN).any())
        self._near = self._neighbourhood(traits)
        self._judged = judge_more(self._near, judged)

    def _neighbourhood(self, traits: Traits) -> Neighbourhood:
        from tasks.dedupe.vectors.neighbours import Neighbourhood

        places = self._vectors.places(self._slots)

        def load(rows: np.ndarray) -> np.ndarray:
            return self._vectors.read(places[rows])

        groups = self._slots["group"].cast(pl.Categorical).to_physical().to_numpy()
        return Neighbourhood(
            load, groups, self._cells, self._vectors.dimensions, self._threshold, traits
        )

    def kept_rows(self) -> pl.Series:
        """The ids of the rows that are kept so far."""
        return self._slots["id"].filter(pl.Series(self._judged.through < 0))

    def marks(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows among `rows` (unmarked, exact or released) that are semantic duplicates."""
        through = self._judged.through
        kept = through < 0
        ids = self._slots["id"]
        at = np.where(kept, np.arange(len(through)), through)
        slots = self._slots.select("content_hash", "group").with_columns(
            ids.gather(at).alias("of"),
            pl.Series("score", np.where(kept, np.float32(1), self._judged.score)),
            pl.Series("kept", kept),
        )
        found = rows.filter(pl.col("kind") == self.kind).join(
            slots, on=["content_hash", "group"], how="inner"
        )
        exact = pl.col("duplicate_kind").eq_missing("exact")
        return found.filter(
            ~pl.col("kept") | (~exact & (pl.col("id") != pl.col("of")))
        ).with_columns(
            pl.col("of").alias("duplicate_of"),
            pl.lit("semantic").alias("duplicate_kind"),
            pl.col("score").alias("duplicate_score"),
        )
