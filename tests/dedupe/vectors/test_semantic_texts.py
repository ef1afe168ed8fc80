"""What the semantic tier marks of real sentences, by a real model."""

from __future__ import annotations

import numpy as np
import polars as pl

from schemas.identity import content_hashes
from schemas.spec import DedupeSpec, EmbedderSpec, SemanticSpec
from tasks.dedupe.vectors.semantic import semantic_duplicates
from tasks.embedders.load import load
from tasks.embedders.resolve import resolve
from tasks.geometry.fit import Fit
from tasks.store.workdir import Store

TEXTS = {
    "docs:0": "How do I reset my password?",
    "docs:1": "How can I reset my password?",  # another word
    "docs:2": "How do I change my user name?",  # another question
    "docs:3": "The meeting starts at nine in the morning.",
    "docs:4": "The meeting begins at nine in the morning.",  # a synonym
    "docs:5": "The meeting starts at ten in the morning.",  # another hour: no duplicate
}


class Embedded:
    """The vectors of a frame's own rows."""

    def __init__(self, vectors: np.ndarray) -> None:
        self._vectors = dict(zip(TEXTS, vectors, strict=True))
        self.dimensions = vectors.shape[1]

    def places(self, slots: pl.DataFrame) -> pl.DataFrame:
        return slots

    def read(self, places: pl.DataFrame) -> np.ndarray:
        return np.stack([self._vectors[name] for name in places["id"]])


def test_another_word_is_a_duplicate_and_another_hour_is_none(minilm: str, tmp_path) -> None:
    spec = EmbedderSpec(kind="sentence-transformers", model=minilm)
    vectors = load(resolve(spec, frozenset({"text"}))).embed_texts(list(TEXTS.values()))
    none = pl.lit(None, pl.String)
    rows = pl.DataFrame({"id": list(TEXTS)}).with_columns(
        pl.lit("docs").alias("source"),
        pl.lit("text").alias("kind"),
        pl.Series("content_hash", content_hashes(TEXTS.values()).to_pylist(), pl.Binary),
        pl.lit(1, pl.Int64).alias("size"),
        pl.lit(None, pl.Datetime("us", "UTC")).alias("time"),
        pl.lit(None, pl.UInt64).alias("vector_rowaddr"),
        none.alias("duplicate_of"),
        none.alias("duplicate_kind"),
        pl.lit(None, pl.Float32).alias("duplicate_score"),
    )
    found = semantic_duplicates(
        rows,
        Fit("fit-none"),
        DedupeSpec(semantic=SemanticSpec(threshold=0.95)),
        Embedded(np.asarray(vectors)),
        Store(str(tmp_path)),
        "settings",
    )
    assert found.select("id", "duplicate_of", "duplicate_kind").rows() == [
        ("docs:1", "docs:0", "semantic"),
        ("docs:4", "docs:3", "semantic"),
    ]
    assert (found["duplicate_score"] > 0.98).all()
