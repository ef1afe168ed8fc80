"""Records written by hand, and the real tokenizer of MiniLM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.arrow import records_schema
from schemas.identity import content_hashes
from schemas.refs import EmbedderRef, RecordsPart, RejectsRef
from tasks.chunk.tokens import Tokens, load_tokens
from tasks.store.workdir import Store


@pytest.fixture(scope="session")
def tokenizer(minilm: str) -> str:
    """The path of MiniLM's tokenizer.json (whose own truncation is 128 tokens)."""
    return str(Path(minilm) / "tokenizer.json")


@pytest.fixture(scope="session")
def tokens(tokenizer: str) -> Tokens:
    return load_tokens(tokenizer)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "work"))


@pytest.fixture
def embedder(tokenizer: str) -> EmbedderRef:
    """A resolved embedder as chunking sees it: a window of 254 content tokens."""
    return EmbedderRef(
        kind="sentence-transformers",
        model="all-MiniLM-L6-v2",
        folder="",
        fingerprint="f",
        dimensions=384,
        engine="torch",
        precision="fp32",
        normalize=True,
        kinds=frozenset({"text"}),
        window=254,
        tokenizer=tokenizer,
        tokenizer_digest="t",
        prompt="",
        query_prompt="",
        truncate=None,
    )


Write = Callable[..., RecordsPart]


@pytest.fixture
def write_texts(tmp_path: Path) -> Write:
    """Write a part of text records: `write_texts(["one", "two"], lang=["en", "de"])`."""

    def write(texts: Sequence[str], keys: Sequence[str] | None = None, **columns) -> RecordsPart:
        n = len(texts)
        keys = list(keys or [f"d{i}" for i in range(n)])
        data = {
            "row": list(range(n)),
            "source": ["docs"] * n,
            "key": keys,
            "kind": ["text"] * n,
            "uri": ["file:///docs.parquet"] * n,
            "text": list(texts),
            "size": [len(t) for t in texts],
        }
        user = [pa.field(name, pa.array(values).type) for name, values in columns.items()]
        return _part(tmp_path, "text", {**data, **columns}, user)

    return write


@pytest.fixture
def write_images(tmp_path: Path) -> Write:
    """Write a part of image records, one for each given content of a file."""

    def write(files: Sequence[bytes]) -> RecordsPart:
        n = len(files)
        data = {
            "row": list(range(n)),
            "source": ["photos"] * n,
            "key": [f"cats/{i}.jpg" for i in range(n)],
            "kind": ["image"] * n,
            "uri": [f"file:///photos/{i}.jpg" for i in range(n)],
            "content_hash": content_hashes(files),
            "size": [len(f) for f in files],
            "width": [640] * n,
            "height": [480] * n,
            "thumbnail": [b"small " + f for f in files],
        }
        return _part(tmp_path, "image", data, [])

    return write


def _part(folder: Path, kind: str, data: dict, user: list[pa.Field]) -> RecordsPart:
    schema = records_schema(user)
    n = len(data["row"])
    columns = {name: data.get(name, [None] * n) for name in schema.names}
    path = folder / f"records-{kind}.parquet"
    pq.write_table(pa.table(columns, schema=schema), path)
    return RecordsPart(
        digest=f"part-{kind}",
        source=data["source"][0] if n else "docs",
        kind=kind,
        path=str(path),
        records=n,
        rejects=RejectsRef(""),
    )
