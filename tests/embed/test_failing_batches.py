"""A batch that fails while others are under way: the bad text is found, the others lose nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.errors import VecmillError
from schemas.identity import digest_bytes
from schemas.progress import SILENT, Counted
from schemas.refs import EmbedderRef, Shard, ShardResult
from tasks.embed.embed_shard import embed_shard
from tasks.store.workdir import Store

ShardOf = Callable[..., Shard]

TEXTS = [f"text number {number} {'x' * (number % 7)}" for number in range(40)]
"""Of several lengths: some twenty batches, three of them under way."""


def vectors(result: ShardResult) -> dict[bytes, np.ndarray]:
    assert result.path is not None
    table = pq.read_table(result.path)
    lines = table.column("vector").combine_chunks().flatten().to_numpy()
    lines = lines.reshape(table.num_rows, -1)
    return dict(zip(table.column("content_hash").to_pylist(), lines, strict=True))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(bad=st.sets(st.sampled_from(TEXTS), max_size=6))
def test_the_bad_texts_alone_are_rejected_with_their_errors(
    bad: set[str],
    engine: Any,
    ref: EmbedderRef,
    shard_of: ShardOf,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    engine.fails = {text: RuntimeError(f"cannot take {text!r}") for text in bad}
    engine.most = engine.under_way = 0
    store = Store(str(tmp_path_factory.mktemp("work")))

    result = embed_shard(shard_of(TEXTS), ref, store)

    rejects = pq.read_table(result.rejects.path).to_pylist()
    assert {TEXTS[int(each["key"])]: each["detail"] for each in rejects} == {
        text: f"RuntimeError: cannot take {text!r}" for text in bad
    }
    assert {each["reason"] for each in rejects} <= {"embed-failed"}
    made = vectors(result)
    assert result.embedded == len(made) == len(TEXTS) - len(bad)
    for text in set(TEXTS) - bad:
        np.testing.assert_array_equal(made[digest_bytes(text.encode())], engine.vector(text))
    assert engine.most >= engine.in_flight
    assert engine.under_way == 0


def test_a_device_without_memory_fails_the_shard_and_rejects_nothing(
    engine: Any, ref: EmbedderRef, store: Store, shard_of: ShardOf
) -> None:
    import torch

    shard = shard_of(TEXTS)
    engine.fails = {TEXTS[5]: torch.OutOfMemoryError("the card is full")}
    with pytest.raises(torch.OutOfMemoryError, match="the card is full"):
        embed_shard(shard, ref, store)

    engine.fails = {}  # a neighbour on the card has gone: the shard is tried again
    result = embed_shard(shard, ref, store)
    assert (result.embedded, result.rejects.items) == (len(TEXTS), 0)


class RuntimeException(Exception):
    """An error of the kind that ONNX Runtime raises."""


class AcceleratorError(RuntimeError):
    """What torch raises for an error of CUDA itself: of page-locked memory, for one."""


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: not enough memory"),
        RuntimeError("Check 'ptr' failed: std::bad_alloc"),
        RuntimeException("Failed to allocate memory for requested buffer of size 1073741824"),
        AcceleratorError("CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation'"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17.9 GB)"),
    ],
    ids=["torch", "openvino", "onnxruntime", "cuda", "cublas", "mps"],
)
def test_a_machine_without_memory_is_not_the_items_fault_either(
    error: Exception, engine: Any, ref: EmbedderRef, store: Store, shard_of: ShardOf
) -> None:
    engine.fails = {TEXTS[5]: error}
    with pytest.raises(type(error)) as raised:
        embed_shard(shard_of(TEXTS), ref, store)
    assert raised.value is error


def test_a_text_about_memory_may_be_bad_itself(
    engine: Any, ref: EmbedderRef, store: Store, shard_of: ShardOf
) -> None:
    engine.fails = {TEXTS[5]: ValueError("cannot take 'std::bad_alloc is thrown when …'")}
    assert embed_shard(shard_of(TEXTS), ref, store).rejects.items == 1


def test_what_vecmill_itself_refuses_is_not_bisected(
    engine: Any, ref: EmbedderRef, store: Store, shard_of: ShardOf
) -> None:
    engine.fails = {TEXTS[5]: VecmillError("the model is not as wide as its folder said")}
    with pytest.raises(VecmillError, match="not as wide"):
        embed_shard(shard_of(TEXTS), ref, store)
    assert len(engine.batches) <= 20


@pytest.mark.parametrize("ahead", [False, True], ids=["at-once", "ahead"])
def test_a_text_that_the_tokenizer_cannot_take_is_rejected_alone(
    ahead: bool,
    engine: Any,
    ref: EmbedderRef,
    store: Store,
    shard_of: ShardOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bad = {TEXTS[3], TEXTS[38]}
    tokenize = engine.tokenize

    def refuse(texts: list[str], *, query: bool = False) -> Any:
        if found := bad & set(texts):
            raise ValueError(f"no token for {sorted(found)[0]!r}")
        return tokenize(texts, query=query)

    monkeypatch.setattr(engine, "tokenize", refuse)
    monkeypatch.setattr(engine, "tokenizes_ahead", ahead)
    monkeypatch.setattr("tasks.embedders.text_batches.FIRST_SLICE", 8)
    told = Counted(SILENT)

    result = embed_shard(shard_of(TEXTS), ref, store, progress=told)

    rejects = pq.read_table(result.rejects.path).to_pylist()
    assert {each["detail"] for each in rejects} == {
        f"ValueError: no token for {text!r}" for text in bad
    }
    made = vectors(result)
    for text in set(TEXTS) - bad:
        np.testing.assert_array_equal(made[digest_bytes(text.encode())], engine.vector(text))
    assert result.embedded == len(made) == len(TEXTS) - len(bad)
    assert sum(rows for rows, _ in told._told) == len(TEXTS)
    assert engine.under_way == 0


def test_a_tokenizer_that_takes_nothing_is_the_embedders_fault(
    engine: Any, ref: EmbedderRef, store: Store, shard_of: ShardOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(texts: list[str], *, query: bool = False) -> Any:
        raise ValueError("no vocabulary")

    monkeypatch.setattr(engine, "tokenize", broken)
    with pytest.raises(VecmillError, match=r"fails on everything.*no vocabulary"):
        embed_shard(shard_of(TEXTS), ref, store)
