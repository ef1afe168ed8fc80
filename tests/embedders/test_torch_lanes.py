"""Batches beside each other: one core each on a CPU, queued on a device; the same code for both."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import torch

from tasks.embedders import torch_lanes
from tasks.embedders.in_flight import in_flight
from tasks.embedders.torch_device import in_parts
from tasks.embedders.torch_lanes import CpuLanes, DeviceLanes, cores, lanes
from tasks.processes import cores as cores_of_process

CPU = torch.device("cpu")


def test_every_embedder_of_a_process_shares_the_lanes() -> None:
    assert lanes(CPU) is lanes(CPU)
    assert lanes(CPU).in_flight == lanes(CPU).count + 1  # type: ignore[attr-defined]


def test_as_many_batches_run_at_once_as_there_are_cores_on_one_thread_each() -> None:
    meeting = Barrier(3, timeout=30)  # passed only by three batches that run at the same time

    def batch() -> torch.Tensor:
        meeting.wait()
        return torch.tensor([[float(torch.get_num_threads())]])

    three = CpuLanes(3)
    pending = [three.submit(batch) for _ in range(3)]
    assert [vectors().tolist() for vectors in pending] == [[[1.0]]] * 3


@pytest.mark.parametrize(
    ("torchs", "omp", "allowed", "used"),
    [(64, "1", 8, 1), (64, "", 8, 8), (4, "", 8, 4)],
    ids=["omp", "affinity", "torch"],
)
def test_no_more_cores_are_used_than_the_process_may(
    torchs: int, omp: str, allowed: int, used: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_lanes, "TORCH_THREADS", torchs)
    monkeypatch.setattr(cores_of_process, "CGROUP_QUOTA", Path("no-container"))
    monkeypatch.setenv("OMP_NUM_THREADS", omp)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(allowed)), raising=False)
    assert cores() == used


def test_a_thread_that_comes_later_counts_the_same_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_lanes, "TORCH_THREADS", 2)
    monkeypatch.setattr(torch_lanes, "usable_cores", lambda _limit: 2)
    one = CpuLanes(1)  # tells torch that its thread is alone: that counts for new threads too
    assert one.submit(lambda: torch.ones(1, 1))().tolist() == [[1.0]]
    with ThreadPoolExecutor(1) as later:
        assert later.submit(torch.get_num_threads).result() == 1
        assert later.submit(cores).result() == cores() == 2


@pytest.mark.parametrize("each", [CpuLanes(2), DeviceLanes(CPU)], ids=["cpu", "device"])
def test_vectors_come_in_the_order_of_the_batches(each: CpuLanes | DeviceLanes) -> None:
    def submit(batch: np.ndarray) -> object:
        return each.submit(lambda: each.upload(batch) * 2)

    batches = [np.full((2, 3), n, np.float32) for n in range(7)]
    found = [pending() for _, pending in in_flight(submit, batches, each.in_flight)]

    assert [array.dtype for array in found] == [np.float32] * 7
    np.testing.assert_array_equal(found, [2 * batch for batch in batches])


@pytest.mark.parametrize("each", [CpuLanes(2), DeviceLanes(CPU)], ids=["cpu", "device"])
def test_an_error_belongs_to_its_batch(each: CpuLanes | DeviceLanes) -> None:
    def submit(n: int) -> object:
        def batch() -> torch.Tensor:
            if n == 1:
                raise RuntimeError("the second one")
            return torch.full((1, 1), float(n))

        return each.submit(batch)

    first, second, third = [pending for _, pending in in_flight(submit, range(3), 2)]
    assert (first().item(), third().item()) == (0, 2)
    with pytest.raises(RuntimeError, match="the second one"):
        second()


def test_only_running_out_of_memory_halves_a_batch() -> None:
    failed: list[int] = []

    def forward(rows: np.ndarray) -> torch.Tensor:
        if len(rows) > 2:
            raise torch.OutOfMemoryError("no room for that many")
        return torch.from_numpy(rows)[:, None].float()

    vectors = in_parts(forward, np.arange(5), lambda rows: failed.append(len(rows)))

    assert vectors.ravel().tolist() == [0, 1, 2, 3, 4]
    assert failed == [5, 3]
    with pytest.raises(ValueError, match="something else"):
        in_parts(lambda _: _raise(ValueError("something else")), np.arange(5), failed.append)
    assert failed == [5, 3]


def test_a_single_text_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        in_parts(lambda _: _raise(torch.OutOfMemoryError("no room")), np.arange(1), _unexpected)


def _raise(error: Exception) -> torch.Tensor:
    raise error


def _unexpected(rows: np.ndarray) -> None:
    raise AssertionError(f"{len(rows)} row cannot be halved")
