"""A text's vector does not depend on its batch mates, the budget, its shard or the workers.

The real model, on every engine that is installed; before storage, as the vectors file has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.identity import digest_bytes
from schemas.refs import EmbedderRef, Shard, ShardResult
from tasks.embed.embed_shard import embed_shard
from tasks.embedders.protocol import Embedder
from tasks.processes.pool import Place, ProcessPool
from tasks.store.workdir import Store

FP32_APART = 1e-6
"""Largest difference of a component: sums of another batch shape are rounded in another order."""

BF16_APART = 2e-4
"""1 − cosine."""

PROSE = (
    "The harbour froze in the second week of January, and the ferries stayed where they were. "
    "Nobody had seen ice like it since the year of the long strike; children walked out to the "
    "buoys and came back with stories. On the quay the cooperative sold soup from a van, at cost, "
    "and wrote down who could not pay. Prices of fish doubled, then nobody asked for fish. When "
    "the wind turned in February the ice broke overnight with a noise like furniture being moved, "
    "and by noon the first boat had left for the islands with the post, the bread and the doctor."
)

WORDS = PROSE.split()
TEXTS = [
    " ".join((WORDS * 2)[i : i + n]) for i, n in enumerate((1, 2, 3, 5, 8, 13, 21, 34, 55, 89))
]
TEXTS += [" ".join(WORDS[-n:]) for n in (1, 4, 8, 8, 8, 16, 34, 60)] + ["東京 🙂", PROSE * 4]
TEXTS = list(dict.fromkeys(TEXTS))
"""From one token to more than the model takes; several of one length."""

ENGINES = [
    ("torch", "fp32"),
    ("torch", "bf16"),
    ("openvino", "bf16"),
    pytest.param(("openvino", "fp32"), marks=pytest.mark.slow),
    pytest.param(("onnx", "fp32"), marks=pytest.mark.slow),
]
PACKAGES = {"openvino": "openvino", "onnx": "onnxruntime"}

quickly = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@dataclass(frozen=True)
class Engine:
    """A loaded engine, and the vectors of `TEXTS` when each is embedded alone."""

    ref: EmbedderRef
    loaded: Embedder
    alone: np.ndarray

    def assert_same(self, vectors: np.ndarray, places: list[int]) -> None:
        """`vectors` are those of the texts at `places`."""
        expected = self.alone[places]
        if self.ref.precision == "fp32":
            assert np.abs(vectors - expected).max() <= FP32_APART
        assert (1 - (vectors * expected).sum(axis=1)).max() <= BF16_APART


@pytest.fixture(scope="module", params=ENGINES, ids="-".join)
def engine(
    request: pytest.FixtureRequest, minilm: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    from schemas.spec import EmbedderSpec
    from tasks.embedders.load import load, unload
    from tasks.embedders.resolve import resolve

    name, precision = request.param
    if name in PACKAGES and find_spec(PACKAGES[name]) is None:
        pytest.skip(f"{PACKAGES[name]} is not installed: uv sync --extra {name}")
    spec = EmbedderSpec(
        kind="sentence-transformers", model=minilm, engine=name, precision=precision
    )
    exports = tmp_path_factory.getbasetemp() / "same-vectors-engines"
    ref = replace(resolve(spec, frozenset({"text"})), exports=str(exports))
    loaded = load(ref)
    yield Engine(ref, loaded, np.concatenate([loaded.embed_texts([text]) for text in TEXTS]))
    unload(ref)


@quickly
@given(
    places=st.lists(st.integers(0, len(TEXTS) - 1), min_size=1, max_size=24),
    budget=st.sampled_from([1, 48, 256, 1_024, 4_096]),
)
def test_batch_mates_and_the_budget(engine: Engine, places: list[int], budget: int) -> None:
    before, engine.loaded.token_budget = engine.loaded.token_budget, budget
    try:
        vectors = engine.loaded.embed_texts([TEXTS[place] for place in places])
    finally:
        engine.loaded.token_budget = before
    engine.assert_same(vectors, places)


@quickly
@given(
    order=st.permutations(range(len(TEXTS))),
    cuts=st.sets(st.integers(1, len(TEXTS) - 1), max_size=5),
    workers=st.integers(1, 4),
)
def test_the_shard_and_the_number_of_workers(
    engine: Engine,
    order: list[int],
    cuts: set[int],
    workers: int,
    shard_of: Callable[..., Shard],
) -> None:
    whole = shard_of([TEXTS[place] for place in order])
    with TemporaryDirectory() as workdir, ThreadPoolExecutor(workers) as pool:
        store = Store(workdir)
        results = pool.map(lambda shard: embed_shard(shard, engine.ref, store), cut(whole, cuts))
        engine.assert_same(vectors_of(list(results), order), order)


@pytest.mark.slow
def test_worker_processes(engine: Engine, shard_of: Callable[..., Shard], tmp_path: Path) -> None:
    order = list(range(len(TEXTS)))
    shards = cut(shard_of(TEXTS), {3, 9, 14})
    store = Store(str(tmp_path / "work"))
    places = [Place(f"process {number}", {"OMP_NUM_THREADS": "1"}) for number in range(2)]
    with ProcessPool("embed worker", places, lambda _line: None) as workers:
        with ThreadPoolExecutor(2) as pool:
            results = list(
                pool.map(lambda s: workers.call(embed_shard, s, engine.ref, store), shards)
            )
        engine.assert_same(vectors_of(results, order), order)


def cut(whole: Shard, cuts: set[int]) -> list[Shard]:
    """The same contents in several shards."""
    starts = [0, *sorted(cuts)]
    ends = [*starts[1:], whole.length]
    return [
        replace(whole, index=i, offset=a, length=b - a)
        for i, (a, b) in enumerate(zip(starts, ends, strict=True))
    ]


def vectors_of(results: list[ShardResult], order: list[int]) -> np.ndarray:
    """What the files hold for the texts in that order: float32 `[n, d]`."""
    found: dict[bytes, np.ndarray] = {}
    for result in results:
        table = pq.read_table(result.path)
        flat = table.column("vector").combine_chunks().flatten().to_numpy()
        lines = flat.reshape(table.num_rows, -1)
        found |= dict(zip(table.column("content_hash").to_pylist(), lines, strict=True))
    return np.stack([found[digest_bytes(TEXTS[place].encode())] for place in order])
