"""Where torch's batches run at the same time: one core each on a CPU, one stream on a GPU.

    CPU   submit ─ a pool with a thread a core, one thread inside each batch → vectors
    GPU   submit ─ pinned buffer ─ copy ─ model ─ copy back ─ event          → awaited: vectors

One batch on all cores wastes them: its small operators wait for the slowest thread, and threads
that spin while they wait take the cores from others. Batches side by side do not, and several
workers of one process share the pool. On a GPU the processor runs ahead: it queues the next batch
while the last is computed, and waits only where vectors are asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Lock
from typing import Protocol

import numpy as np
import torch

from tasks.embedders.protocol import Pending
from tasks.processes.cores import usable_cores

Compute = Callable[[], torch.Tensor]
"""Computes one batch: float32 `[n, d]` on the device, perhaps still under way there."""

DEVICE_IN_FLIGHT = 3
"""One batch on the GPU, one queued behind it, one whose vectors are taken in."""

TORCH_THREADS = torch.get_num_threads()
"""What torch itself would use: one thread a physical core, or as `torch.set_num_threads` said.
Asked before any lane is there, each of which tells torch that it has one thread."""

_starting = Lock()


class Lanes(Protocol):
    """Runs batches beside each other."""

    in_flight: int  # batches under way that keep every lane busy

    def submit(self, compute: Compute) -> Pending:
        """Begin a batch; what it raises is raised by `submit` or by what it returns."""
        ...

    def upload(self, array: np.ndarray) -> torch.Tensor:
        """The array on the device, perhaps still on its way: for use inside `compute` alone."""
        ...


def lanes(where: torch.device) -> Lanes:
    """The lanes of that device; on a CPU the same ones for every embedder of this process."""
    if where.type != "cpu":
        return DeviceLanes(where)
    with _starting:
        return _cpu_lanes()


def cores() -> int:
    """Cores for torch: what the process may use (`usable_cores`), and no more than torch would."""
    return min(TORCH_THREADS, usable_cores("OMP_NUM_THREADS"))


class CpuLanes:
    """A thread a core; inside each batch torch uses that thread alone."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.in_flight = count + 1  # one waits, so that no core does while vectors are taken in
        self._pool = ThreadPoolExecutor(
            count, thread_name_prefix="embed", initializer=torch.set_num_threads, initargs=(1,)
        )

    def submit(self, compute: Compute) -> Pending:
        """Begin a batch as soon as a core is free."""
        return self._pool.submit(lambda: compute().numpy()).result

    def upload(self, array: np.ndarray) -> torch.Tensor:
        """The array itself, as a tensor."""
        return torch.from_numpy(array)


@cache
def _cpu_lanes() -> CpuLanes:
    return CpuLanes(cores())


class DeviceLanes:
    """An accelerator's queue: batches follow each other there, copies beside the computing.

    Page-locked memory comes from torch's caching allocator, which hands a buffer out again only
    once its copy is done: as many are in use as batches are under way. On a device other than CUDA
    the same steps run, each finished before the next.
    """

    in_flight = DEVICE_IN_FLIGHT

    def __init__(self, where: torch.device) -> None:
        self._device = where
        self._queued = where.type == "cuda"
        self._copies = torch.cuda.Stream(where) if self._queued else None

    def submit(self, compute: Compute) -> Pending:
        """Queue a batch, and the copy of its vectors behind it."""
        vectors = compute()
        host = torch.empty(vectors.shape, dtype=vectors.dtype, pin_memory=self._queued)
        host.copy_(vectors, non_blocking=self._queued)
        finished = self._mark()

        def fetch() -> np.ndarray:
            if finished is not None:
                finished.synchronize()
            return host.numpy()

        return fetch

    def upload(self, array: np.ndarray) -> torch.Tensor:
        """The array on the device, copied beside what is computed there."""
        tensor = torch.from_numpy(array)
        if self._copies is None:
            return tensor.to(self._device)
        computing = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._copies):
            uploaded = tensor.pin_memory().to(self._device, non_blocking=True)
        computing.wait_stream(self._copies)
        uploaded.record_stream(computing)  # else its memory could be reused while it is read
        return uploaded

    def _mark(self) -> torch.cuda.Event | None:
        """An event behind all that is queued now; waiting for it sleeps instead of spinning."""
        if not self._queued:
            return None
        event = torch.cuda.Event(blocking=True)
        event.record(torch.cuda.current_stream(self._device))
        return event
