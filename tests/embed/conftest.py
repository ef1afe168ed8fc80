"""A deterministic embedder that fails where its input says so, and shards to give it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from schemas.arrow import CONTENTS, items_schema
from schemas.identity import digest_bytes
from schemas.refs import EmbedderRef, Shard
from tasks.embedders.batching import BatchingEmbedder, done
from tasks.embedders.protocol import Pending
from tasks.embedders.tokens import Tokens
from tasks.store.workdir import Store

DIMENSIONS = 4


class FakeEmbedder(BatchingEmbedder):
    """Vectors made of a text's bytes, or of a picture's mean colour.

    A batch with "poison" raises, "infinite" gives a NaN, "nothing" the zero vector; `broken` raises
    for everything. `batches` is what it was asked to embed.
    """

    token_budget = 40
    image_batch = 3

    def __init__(self, ref: EmbedderRef) -> None:
        super().__init__(ref)
        self.broken = False
        self.batches: list[int] = []

    def tokenize(self, texts: Sequence[str], *, query: bool = False) -> Tokens:
        return Tokens.from_lists([list(text.encode()) for text in texts], query)

    def submit_tokens(self, tokens: Tokens, rows: np.ndarray) -> Pending:
        texts = [
            bytes(tokens.ids[a:b].tolist()).decode()
            for a, b in zip(tokens.offsets[rows], tokens.offsets[rows + 1], strict=True)
        ]
        self.batches.append(len(texts))
        if self.broken or any("poison" in text for text in texts):
            raise RuntimeError("index out of range in self")
        return done(np.stack([self.vector(text) for text in texts]))

    def vector(self, text: str) -> np.ndarray:
        seed = int.from_bytes(digest_bytes(text.encode())[:4], "little")
        vector = np.random.default_rng(seed).normal(size=DIMENSIONS).astype(np.float32)
        if "infinite" in text:
            vector[0] = np.nan
        return vector * ("nothing" not in text)

    def prepare_image(self, picture: Image.Image) -> np.ndarray:
        small = np.asarray(picture.resize((2, 2)), np.float32)
        return np.moveaxis(small, -1, 0)

    def submit_pixels(self, pixels: np.ndarray) -> Pending:
        self.batches.append(len(pixels))
        means = pixels.mean(axis=(2, 3))
        if self.broken or (means[:, 0] == 255).any():
            raise RuntimeError("red is not supported")
        return done(np.concatenate([means, np.ones((len(means), 1), np.float32)], axis=1))


class FakeEngine(FakeEmbedder):
    """The same with several batches under way: each is computed in a thread, and fails there.

    `fails`: text → the error that a batch with it raises when its vectors are asked for.
    """

    in_flight = 3

    def __init__(self, ref: EmbedderRef) -> None:
        super().__init__(ref)
        self.fails: dict[str, Exception] = {}
        self.under_way = self.most = 0
        self._pool = ThreadPoolExecutor(2)
        self._lock = Lock()

    def submit_tokens(self, tokens: Tokens, rows: np.ndarray) -> Pending:
        begin = super().submit_tokens
        with self._lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)

        def compute() -> np.ndarray:
            for text, error in self.fails.items():
                if any(tokens_are(tokens, row, text) for row in rows):
                    raise error
            return begin(tokens, rows)()

        future = self._pool.submit(compute)

        def result() -> np.ndarray:
            with self._lock:
                self.under_way -= 1
            return future.result()

        return result


def tokens_are(tokens: Tokens, row: int, text: str) -> bool:
    """Whether the row of `tokens` is that text."""
    ids = tokens.ids[tokens.offsets[row] : tokens.offsets[row + 1]]
    return bytes(ids.tolist()).decode() == text


@pytest.fixture
def ref() -> EmbedderRef:
    """A reference to the fake embedder."""
    return EmbedderRef(
        kind="fake",
        model="fake",
        folder="",
        fingerprint="f" * 32,
        dimensions=DIMENSIONS,
        engine="torch",
        precision="fp32",
        normalize=False,
        kinds=frozenset({"text", "image"}),
        window=100,
        tokenizer=None,
        tokenizer_digest=None,
        prompt="",
        query_prompt="",
        truncate=None,
    )


@pytest.fixture
def fake(ref: EmbedderRef, monkeypatch: pytest.MonkeyPatch) -> FakeEmbedder:
    """The fake embedder, in place of what `load` would build."""
    embedder = FakeEmbedder(ref)
    monkeypatch.setattr("tasks.embed.embed_shard.load", lambda _ref: embedder)
    return embedder


@pytest.fixture
def engine(ref: EmbedderRef, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """The fake embedder with several batches under way."""
    embedder = FakeEngine(ref)
    monkeypatch.setattr("tasks.embed.embed_shard.load", lambda _ref: embedder)
    return embedder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "workdir"))


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """The bytes of a small PNG of one colour."""

    def png(colour: str, side: int = 20) -> bytes:
        out = BytesIO()
        Image.new("RGB", (side, side), colour).save(out, "PNG")
        return out.getvalue()

    return png


@pytest.fixture
def shard_of(tmp_path: Path) -> Callable[..., Shard]:
    """Writes items and contents files for texts (str) and picture files (Path): one shard."""

    def write(contents: Sequence[str | Path], source: str = "docs") -> Shard:
        rows = []
        for i, content in enumerate(contents):
            text = content if isinstance(content, str) else None
            data = content.encode() if isinstance(content, str) else content.read_bytes()
            rows.append(
                {
                    **{"id": f"{source}:{i}", "source": source, "key": str(i), "chunk": 0},
                    **{"kind": "image" if text is None else "text", "text": text},
                    **{"start": 0, "end": len(text or ""), "size": len(data)},
                    **{"uri": str(tmp_path / "source.jsonl" if text else content)},
                    **{"content_hash": digest_bytes(data), "row_hash": bytes(16)},
                }
            )
        place = tmp_path / f"{source}-{len(rows)}"
        items = f"{place}-items.parquet"
        table = pa.Table.from_pylist(rows, items_schema())
        pq.write_table(table, items, row_group_size=3)
        known = [{**row, "part": items, "row": i} for i, row in enumerate(rows)]
        pq.write_table(pa.Table.from_pylist(known, CONTENTS), f"{place}-contents.parquet")
        return Shard(0, f"{place}-contents.parquet", 0, len(rows))

    return write
