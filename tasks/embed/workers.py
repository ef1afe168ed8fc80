"""One worker process for each GPU: shards embedded side by side, each on a device of its own.

    shard ─ an idle worker (CUDA_VISIBLE_DEVICES = its device) ─ embed_shard there → ShardResult
                └ died: told, replaced, the shard tried again in another

Only references go there and come back; the vectors are in the `workdir`. What a shard gives does
not depend on the worker, so a build with one process gives the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.progress import SILENT, Progress
from schemas.refs import EmbedderRef, Shard, ShardResult
from tasks.embed.embed_shard import embed_shard
from tasks.processes.cores import SHARE, usable_cores
from tasks.processes.pool import Place, ProcessPool
from tasks.store.workdir import Store

VISIBLE = "CUDA_VISIBLE_DEVICES"

SHARDS_ON_A_GPU = 2
"""One that is embedded, and one that is read or written meanwhile."""

DEVICE_NODES = Path("/dev")
"""Where the driver shows each GPU of the machine, or of the container, as `nvidia<n>`."""


@contextmanager
def worker_processes(
    embedder: EmbedderRef, shards: int, most: int | None, say: Callable[[str], None]
) -> Iterator[ProcessPool | None]:
    """The workers for so many shards, at most `most`; None where one process does as well.

    That is where the machine has fewer than two GPUs that the embedder's engine can use.
    """
    places = devices(embedder.engine)[: min(shards, most or shards)]
    if len(places) < 2:
        yield None
        return
    with ProcessPool("embed worker", shared_out(places), say) as pool:
        say(f"{len(pool)} embed workers: {', '.join(place.label for place in places)}")
        yield pool


def embed_shard_in_worker(
    workers: ProcessPool,
    shard: Shard,
    embedder: EmbedderRef,
    store: Store,
    storage_options: tuple[tuple[str, str], ...] = (),
    retry: bool = False,
    patience: float = 0.0,
    progress: Progress = SILENT,
) -> ShardResult:
    """`embed_shard` in the next idle worker; raises what it raised there.

    Raises `ProcessDiedError` when the shard ended every worker that tried it.
    """
    arguments = (shard, embedder, store, storage_options, retry, patience)
    what = f"shard {shard.index}"
    return workers.call(embed_shard, *arguments, progress=progress, what=what)


def shards_at_a_time(engine: str, most: int | None) -> int:
    """How many shards one process embeds beside each other, at most `most`.

    A GPU takes the batches of one while the other's texts are read or its vectors are written.
    """
    return min(SHARDS_ON_A_GPU, most or SHARDS_ON_A_GPU) if devices(engine) else 1


def devices(engine: str) -> list[Place]:
    """The GPUs that a worker may have, as far as `CUDA_VISIBLE_DEVICES` shows them.

    The other engines compute on the CPU. torch is imported only where there is a GPU at all.
    """
    nodes = [each for each in DEVICE_NODES.glob("nvidia*") if each.name[len("nvidia") :].isdigit()]
    if engine != "torch" or not nodes:
        return []
    import torch

    visible = os.environ.get(VISIBLE)
    names = [str(i) for i in range(len(nodes))] if visible is None else visible.split(",")
    names = [name.strip() for name in names][: torch.cuda.device_count()]
    return [Place(f"GPU {name}", {VISIBLE: name}) for name in names]


def shared_out(places: list[Place]) -> list[Place]:
    """The same places with the cores shared out among them, where the user has not said how."""
    cores = str(max(1, usable_cores() // len(places)))
    share = {
        name: cores for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS") if name not in os.environ
    }
    return [Place(place.label, {SHARE: cores, **share, **place.environment}) for place in places]
