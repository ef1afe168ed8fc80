"""Search a release: by vector, by words, or by both fused.

    release (by tag) → query embedded, if its embedder made the release
      → LanceDB vector search (cosine) and/or full text → hits, best first

Reciprocal rank fusion (Cormack, Clarke, Büttcher, SIGIR 2009) joins the two lists: it needs no
scale that cosine and BM25 could share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from schemas.engines import REFERENCE
from schemas.errors import UsageError
from schemas.spec import SpaceSpec
from tasks.query.releases import find_release
from tasks.table.dataset import TableRef
from tasks.table.releases import Release

if TYPE_CHECKING:
    from schemas.refs import EmbedderRef
    from tasks.embedders.protocol import Embedder

Mode = Literal["vector", "text", "hybrid"]

FUSION = 60
"""The constant of reciprocal rank fusion, from the paper."""

DEPTH = 5
"""Each list of a hybrid search goes this many times deeper than the hits asked for."""

SCORE = "_score"
"""The column of scores; no user's column can have a name of Lance's own."""

INTERNAL = ["vector", "content_hash", "row_hash", "thumbnail"]
"""Columns that a hit does not carry: large, or of no use to a reader."""


@dataclass(frozen=True)
class Question:
    """What is asked: `text` or an `image` file; `where` is SQL over the table's columns."""

    text: str | None = None
    image: Path | None = None
    k: int = 10
    mode: Mode = "vector"
    where: str | None = None
    kept: bool = False

    def check(self) -> None:
        """Raise `UsageError` for a question that cannot be answered."""
        if (self.text is None) == (self.image is None):
            raise UsageError("search wants a QUERY or --image FILE, one of the two")
        if self.text is not None and not self.text.strip():
            raise UsageError("the query '' is empty: expected words to search for")
        if self.image is not None and self.mode != "vector":
            raise UsageError(
                f"--mode {self.mode} searches for words, which --image does not have; "
                "leave --mode out"
            )
        if self.image is not None and not self.image.is_file():
            raise UsageError(f"--image '{self.image}' is no file; expected a picture")

    @property
    def filter(self) -> str | None:
        """`where` and `kept` as one condition."""
        parts = []
        if self.where:
            parts.append(f"({self.where}\n)")  # the line break ends a comment
        if self.kept:
            parts.append("duplicate_of IS NULL")
        return " AND ".join(parts) or None


@dataclass(frozen=True)
class Found:
    """The hits of a search: column `SCORE` (higher is better), then those of the table."""

    release: Release
    hits: pa.Table


def search(spec: SpaceSpec, question: Question, release: str | None = None) -> Found:
    """The best `question.k` rows of a release, best first.

    `release` is a release or tag, default `publish.tag`. The score is the cosine in mode vector,
    BM25 in mode text, the fused rank in mode hybrid. Raises `UsageError` for a wrong condition,
    for an unknown release, and where the spec's embedder is not the one that made the release.
    """
    question.check()
    found = find_release(spec, release)
    if found.manifest.counts.rows == 0:
        raise UsageError(f"release {found.name} of {spec.space!r} has no rows to search")
    vector = None
    if question.mode != "text":
        embedder = _embedder(spec, found)
        vector = _embed(embedder, question)
    table = _open(spec, found)
    _check_where(table, question)
    lists = []
    depth = question.k * (DEPTH if question.mode == "hybrid" else 1)
    if vector is not None:
        lists.append(_by_vector(table, vector, question.filter, depth))
    if question.mode in ("text", "hybrid"):
        lists.append(_by_words(table, question, found, depth))
    hits = lists[0] if len(lists) == 1 else _fuse(lists, question.k)
    return Found(found, hits)


def _open(spec: SpaceSpec, release: Release) -> Any:
    import lancedb

    ref = TableRef.of(spec)
    table = lancedb.connect(ref.uri, storage_options=ref.options()).open_table(ref.space)
    table.checkout(release.version)
    return table


def _embedder(spec: SpaceSpec, release: Release) -> Embedder:
    """The spec's embedder, if it is the one that made the release."""
    from tasks.embedders.resolve import resolve

    ref = resolve(spec.embedder, spec.kinds)
    made_by = release.manifest.embedder
    if ref.fingerprint != made_by.fingerprint:
        raise UsageError(
            f"{spec.space} {release.name} was made by {made_by.model} "
            f"(fingerprint {made_by.fingerprint}), but the spec's embedder is "
            f"{spec.embedder.model} (fingerprint {ref.fingerprint}): a query must be embedded as "
            "the rows were. Put the embedder back in the spec, or search with --mode text"
        )
    from tasks.embedders.load import load

    return load(_for_queries(ref, spec, release))


def _for_queries(ref: EmbedderRef, spec: SpaceSpec, release: Release) -> EmbedderRef:
    """`ref` in the engine of the release where its export is at hand, else in fp32 torch.

    An exported engine starts in a fraction of torch's time; its query finds what torch's would, as
    both passed the engine check. Nothing is exported for a query.
    """
    from tasks.embedders.engine_records import exports_folder
    from tasks.embedders.exported.export import exported_already

    made_by = release.manifest.embedder
    exported = replace(
        ref,
        engine=made_by.engine,
        precision=made_by.precision,
        exports=exports_folder(spec.workdir),
    )
    if exported_already(exported):
        return exported
    engine, precision = REFERENCE
    return replace(exported, engine=engine, precision=precision)


def _embed(embedder: Embedder, question: Question) -> np.ndarray:
    """The question as one vector, float32 `(d,)`."""
    if question.image is None:
        return embedder.embed_texts([question.text or ""], query=True)[0]
    from tasks.store.pictures import PictureError, open_picture

    try:
        picture = open_picture(question.image.read_bytes())
    except PictureError as error:
        raise UsageError(f"--image '{question.image}': {error.reason}: {error.detail}") from error
    return embedder.embed_images([picture])[0]


def _check_where(table: Any, question: Question) -> None:
    """Have the condition planned, alone and combined, without reading a row.

    Lance's parser stops at a stray `)` or `;` and ignores the rest. As the argument of a function
    the condition must be whole, so that nothing a user wrote is dropped in silence.
    """
    if question.where is None:
        return
    whole = f"coalesce({question.where}\n, false)"
    try:
        for condition in (question.where, whole, question.filter):
            table.search().where(condition).limit(1).explain_plan()
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            f"--where {question.where!r} is no condition for this table: {_first_line(error)}; "
            "expected SQL such as \"source = 'docs' AND lang IS NOT NULL\""
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].removeprefix("Invalid input, ").rstrip(" .")


def _columns(table: Any) -> list[str]:
    return [name for name in table.schema.names if name not in INTERNAL]


def _by_vector(table: Any, vector: np.ndarray, where: str | None, k: int) -> pa.Table:
    query = table.search(vector, vector_column_name="vector").distance_type("cosine").limit(k)
    if where:
        query = query.where(where, prefilter=True)
    found = query.select([*_columns(table), "_distance"]).to_arrow()
    distance = found.column("_distance").to_numpy()
    return _scored(found.drop_columns(["_distance"]), 1.0 - distance)


def _by_words(table: Any, question: Question, release: Release, k: int) -> pa.Table:
    query = table.search(question.text, query_type="fts", fts_columns="text").limit(k)
    if question.filter:
        query = query.where(question.filter, prefilter=True)
    try:
        found = query.select([*_columns(table), SCORE]).to_arrow()
    except (RuntimeError, ValueError) as error:
        if "INVERTED" not in str(error):
            raise
        raise UsageError(
            f"release {release.name} has no full-text index, so --mode {question.mode} cannot "
            "search it (spaces of images alone have none); use --mode vector"
        ) from error
    return _scored(found.drop_columns([SCORE]), found.column(SCORE).to_numpy())


def _scored(found: pa.Table, score: np.ndarray) -> pa.Table:
    """The score before the other columns; best first, ties by id."""
    table = found.add_column(0, SCORE, pa.array(score.astype(np.float32)))
    return table.sort_by([(SCORE, "descending"), ("id", "ascending")])


def _fuse(lists: list[pa.Table], k: int) -> pa.Table:
    """Reciprocal rank fusion of two or more lists; the score is the sum of 1 / (60 + rank)."""
    scores: dict[str, float] = {}
    for found in lists:
        for rank, name in enumerate(found.column("id").to_pylist(), start=1):
            scores[name] = scores.get(name, 0.0) + 1.0 / (FUSION + rank)
    rows = pa.concat_tables(found.drop_columns([SCORE]) for found in lists)
    names = rows.column("id").to_pylist()
    first = {name: at for at, name in reversed(list(enumerate(names)))}
    best = sorted(scores, key=lambda name: (-scores[name], name))[:k]
    return _scored(
        rows.take([first[name] for name in best]), np.array([scores[name] for name in best])
    )
