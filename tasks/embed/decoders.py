"""Who decodes pictures ahead of the model: threads, or child processes beside an accelerator.

    on a CPU          a thread a core ─ prepare_bytes
    an accelerator    a thread for each process ─ 16 files → one process, one core
                                                 16 × uint8 [h, w, 3] ←

Decoders and resizers leave Python's lock, but not for long: on an H200 with 16 cores one thread
prepares 490 pictures a second, eight 2,300 and sixteen 1,800, where the GPU takes 15,000 of
ViT-B/32. On a CPU the model itself leaves no core idle, and nothing is gained.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache, partial
from threading import Lock, Thread

import numpy as np

from tasks.embed.prepare_picture import Failure, Picture, PrepareBytes, prepared
from tasks.embedders.image_transform import ImageTransform
from tasks.embedders.protocol import Embedder
from tasks.processes.cores import usable_cores
from tasks.processes.pool import Place, ProcessDiedError, ProcessPool

MOST_THREADS = 8
"""Each may hold a picture of 16 megapixels, 50 MB; more threads wait for Python's lock."""

MOST_PROCESSES = 24
"""Each holds torch, 300 MB, and a picture; so many prepare what an H200 takes of ViT-B/32."""

LEFT_FREE = 2
"""Cores for the process that feeds the GPU and reads the files."""

FEWEST = 1_024
"""Pictures of one shard that start the processes: threads are done with fewer in half a second,
while a process needs some seconds to import torch."""

GROUP = 16
"""Pictures in a call: some 30 ms of one process, so that a batch does not wait for its last."""

ALONE = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
"""The environment of a process: one core, and no memory of the GPU."""

Prepared = list[np.ndarray | Failure]


@dataclass(frozen=True)
class Decoders:
    """`threads` threads shall each give `prepare` up to `group` pictures at a time."""

    threads: int
    group: int
    prepare: Callable[[list[Picture]], Prepared]


def decoders(embedder: Embedder, pictures: int) -> Decoders:
    """Who decodes so many pictures for this embedder."""
    here = partial(prepared_here, embedder.prepare_bytes)
    transform = embedder.decodes_apart
    processes = process_count()
    if transform is None or processes < 2 or (pictures < FEWEST and not _shared):
        return Decoders(min(MOST_THREADS, usable_cores()), 1, here)
    shared = decoder_processes(processes)
    return Decoders(processes, GROUP, partial(shared.prepare, transform, embedder.prepare_bytes))


def process_count() -> int:
    """As the cores allow; less than two are none."""
    return min(MOST_PROCESSES, usable_cores() - LEFT_FREE)


def prepared_here(prepare_bytes: PrepareBytes, pictures: list[Picture]) -> Prepared:
    """The pictures prepared in this thread."""
    return [prepared(picture, prepare_bytes) for picture in pictures]


class DecoderProcesses:
    """`processes` child processes that prepare pictures; until they have started, threads do."""

    def __init__(self, processes: int) -> None:
        places = [Place(f"core {i}", ALONE) for i in range(processes)]
        self.pool = ProcessPool("decoder", places, _nobody)
        self._starting: list[Future[None]] = [Future() for _ in places]
        for start in self._starting:
            # A daemon: a command that ends before they have started does not wait for them.
            Thread(target=self._start, args=(start,), daemon=True).start()

    def prepare(
        self, transform: ImageTransform, prepare_bytes: PrepareBytes, pictures: list[Picture]
    ) -> Prepared:
        """The pictures prepared by `transform` in one process, or by `prepare_bytes` here.

        Raises `ProcessDiedError` for a picture that ends every process which opens it, and what
        `prepare_bytes` raises for none in particular, such as `MemoryError`.
        """
        if not all(start.done() for start in self._starting):
            return prepared_here(prepare_bytes, pictures)
        self.wait()
        made = self._called(transform, pictures)
        return [
            prepared(picture, prepare_bytes) if one is None else one
            for picture, one in zip(pictures, made, strict=True)
        ]

    def wait(self) -> None:
        """Return when all processes have started; raises what kept one from it."""
        for start in self._starting:
            start.result()

    def close(self) -> None:
        """End the processes."""
        self.pool.close()

    def _start(self, start: Future[None]) -> None:
        try:
            start.set_result(self.pool.call(begin))
        except BaseException as error:  # noqa: BLE001  raised where the processes are used
            start.set_exception(error)

    def _called(
        self, transform: ImageTransform, pictures: list[Picture]
    ) -> list[np.ndarray | Failure | None]:
        """As the process gives them; None for a large one, which it left."""
        try:
            pixels, others = self.pool.call(
                prepare_apart, transform, pictures, what=pictures[0].uri
            )
        except ProcessDiedError:
            if len(pictures) == 1:
                raise
            # Which of them was it? The error of one alone names it.
            return [self._called(transform, [picture])[0] for picture in pictures]
        usable = iter(() if pixels is None else pixels.transpose(0, 3, 1, 2))
        return [others[i] if i in others else next(usable) for i in range(len(pictures))]


_shared: dict[int, DecoderProcesses] = {}
_sharing = Lock()


def decoder_processes(count: int) -> DecoderProcesses:
    """The decoders of this process, which end with it; started by the first who asks."""
    with _sharing:
        if not _shared:
            _shared[0] = DecoderProcesses(count)
            atexit.register(_shared[0].close)
        return _shared[0]


def _nobody(_text: str) -> None:
    """A decoder that died costs a moment: its pictures are prepared in another."""


# In the child process


@cache
def begin() -> None:
    """Import what decodes; torch keeps to one thread, large pictures are left to the parent."""
    import torch

    from tasks.store.pictures import leave_large

    torch.set_num_threads(1)
    leave_large()


def prepare_apart(
    transform: ImageTransform, pictures: list[Picture]
) -> tuple[np.ndarray | None, dict[int, Failure | None]]:
    """The pixels of the usable pictures, uint8 `[k, h, w, 3]`, and why the others have none.

    None for a large one, which the parent shall prepare.
    """
    from tasks.store.pictures import LargePictureError, open_pixels

    begin()
    pixels: list[np.ndarray] = []
    others: dict[int, Failure | None] = {}
    for i, picture in enumerate(pictures):
        try:
            one = prepared(picture, lambda content: transform.of_pixels(open_pixels(content)))
        except LargePictureError:
            others[i] = None
            continue
        if isinstance(one, np.ndarray):
            pixels.append(one.transpose(1, 2, 0))
        else:
            others[i] = one
    return (np.stack(pixels) if pixels else None), others
