"""A small release made by hand: what search, versions and rejects read, without a build."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import lance
import numpy as np
import pyarrow as pa
import pytest

from schemas.arrow import table_schema
from schemas.identity import content_hashes
from schemas.load import parse_spec
from schemas.manifest import Counts, EmbedderRecord, Manifest
from schemas.refs import EmbedderRef
from schemas.spec import SpaceSpec
from tasks.table.companions import append_build
from tasks.table.dataset import STORAGE_VERSION, TableRef
from tasks.table.history import BUILD, MANIFEST, RELEASE

TEXTS = {
    "docs:cat#0": "the cat sleeps on the mat",
    "docs:dog#0": "a dog barks at night",
    "docs:copy#0": "the cat sleeps on the mat",
    "docs:sea#0": "ships sail over the sea",
}
FINGERPRINT = "ab" * 16
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def embed(texts: list[str]) -> np.ndarray:
    """Letters counted: similar words lie close, and nobody needs a model."""
    counts = np.array([[text.count(x) for x in LETTERS] for text in texts], np.float32)
    return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def rows(texts: dict[str, str]) -> pa.Table:
    count = len(texts)
    schema = table_schema(len(LETTERS), "float16", [pa.field("lang", pa.string())])
    known = {
        "id": list(texts),
        "source": ["docs"] * count,
        "key": [name.split(":")[1].split("#")[0] for name in texts],
        "kind": ["text"] * count,
        "chunk": [0] * count,
        "text": list(texts.values()),
        "uri": ["/docs"] * count,
        "content_hash": content_hashes(texts.values()),
        "row_hash": content_hashes(texts),
        "vector": list(embed(list(texts.values())).astype(np.float16)),
        "duplicate_of": ["docs:cat#0" if name == "docs:copy#0" else None for name in texts],
        "lang": ["en" if name != "docs:sea#0" else None for name in texts],
    }
    return pa.table(
        [pa.array(known.get(f.name, [None] * count), f.type) for f in schema], schema=schema
    )


def spec_of(folder: Path) -> SpaceSpec:
    data = {
        "space": "tiny",
        "uri": "./db",
        "sources": [{"name": "docs", "kind": "text", "path": "docs/*.md"}],
        "embedder": {"kind": "sentence-transformers", "model": "some/model"},
    }
    return parse_spec(data, folder, "spec")


def manifest_of(spec: SpaceSpec, build_id: str = "b1", **changes: object) -> Manifest:
    when = datetime(2026, 11, 3, 9, 12, tzinfo=UTC)
    known = {
        "space": spec.space,
        "build_id": build_id,
        "tag": "prod",
        "resolved_spec": spec.model_dump(mode="json", by_alias=True),
        "counts": Counts(records=4, records_used=4, items=4, rows=4, new=4, embedded=3),
        "embedder": EmbedderRecord(
            fingerprint=FINGERPRINT,
            kind="sentence-transformers",
            model="some/model",
            dimensions=len(LETTERS),
            precision="fp32",
            engine="torch",
        ),
        "code_version": "0",
        "started_at": when,
        "finished_at": when,
    }
    return Manifest(**{**known, **changes})


@pytest.fixture
def tiny(tmp_path) -> SpaceSpec:
    """The spec of a space with one release of four rows; `prod` and `v0001` name it."""
    spec = spec_of(tmp_path)
    manifest = manifest_of(spec)
    ref = TableRef(spec.uri, spec.space)
    dataset = lance.write_dataset(
        rows(TEXTS),
        ref.path,
        data_storage_version=STORAGE_VERSION,
        transaction_properties={BUILD: "b1", RELEASE: "1", MANIFEST: manifest.to_json()},
    )
    dataset.tags.create("data-v0001", dataset.version)
    dataset.create_scalar_index("text", "INVERTED", name="text_idx", remove_stop_words=False)
    for tag in ("v0001", "prod"):
        dataset.tags.create(tag, dataset.version)
    published = {"release": "v0001", "version": dataset.version, "published": True}
    append_build(ref, manifest.model_copy(update=published))
    return spec


@pytest.fixture
def embedder(monkeypatch):
    """The embedder that made the release, instead of a model."""
    ref = EmbedderRef(
        kind="sentence-transformers",
        model="some/model",
        folder="",
        fingerprint=FINGERPRINT,
        dimensions=len(LETTERS),
        engine="auto",
        precision="auto",
        normalize=True,
        kinds=frozenset({"text", "image"}),
        window=None,
        tokenizer=None,
        tokenizer_digest=None,
        prompt="",
        query_prompt="",
        truncate=None,
    )
    resolved = SimpleNamespace(fingerprint=FINGERPRINT, loaded=None)

    def load(ref):
        resolved.loaded = ref
        return fake

    fake = SimpleNamespace(
        embed_texts=lambda texts, query=False: embed(list(texts)),
        embed_images=lambda pictures: embed(["the cat"]),
    )
    # load first: it imports resolve, and must not get the one that stands in for it
    monkeypatch.setattr("tasks.embedders.load.load", load)
    monkeypatch.setattr(
        "tasks.embedders.resolve.resolve",
        lambda spec, kinds: replace(ref, fingerprint=resolved.fingerprint),
    )
    return resolved
