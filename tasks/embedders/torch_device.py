"""Where torch computes, in which number format, and how a batch's vectors leave it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from schemas.errors import UsageError
from schemas.refs import EmbedderRef
from tasks.embedders.batching import refuse_other_width
from tasks.embedders.torch_lanes import cores

CPU_TOKEN_BUDGET = 1_024
"""Padded tokens in a batch on a CPU: 512 to 2,048 measured alike, 1.35 times `encode` by CPU."""

ACCELERATOR_TOKEN_BUDGET = 32_768
"""On a GPU until more is measured: small enough for 16 GB with a base model. An H200 comes to 75 %
of its rate with it on a model of MiniLM's size, and to all of it on one of BERT's."""

CPU_BUDGETS = (512, 1_024, 2_048)
CUDA_BUDGETS = (16_384, 65_536, 131_072, 262_144)
"""Padded tokens that were best on some machine: below, overheads of each batch show; above, a
batch falls out of a core's cache, or fills a GPU's memory for nothing."""

SHORTEST_CUDA_BATCH = 0.02
"""Seconds on a GPU: queueing a batch takes the processor 7 to 10 ms beside an H200, and it reads,
tokenises and writes too. Batches of 13 ms gave 82 % of the GPU's rate there, of 25 ms 96 %."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def device() -> torch.device:
    """The best device of this machine: CUDA, Apple's MPS, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def token_budget(where: torch.device) -> int:
    """Padded tokens in a batch on that device."""
    return CPU_TOKEN_BUDGET if where.type == "cpu" else ACCELERATOR_TOKEN_BUDGET


def device_name(where: torch.device) -> str:
    """What the device is called, with the cores that are used: budgets are measured on it."""
    if where.type == "cuda":
        return torch.cuda.get_device_name(where)
    if where.type == "cpu":
        return f"cpu-{torch.backends.cpu.get_cpu_capability()}-{cores()}"
    return where.type


def budgets(where: torch.device) -> tuple[int, ...]:
    """The token budgets that are worth a try on that device, smallest first."""
    return {"cpu": CPU_BUDGETS, "cuda": CUDA_BUDGETS}.get(where.type, ())


def shortest_batch(where: torch.device) -> float:
    """Seconds that a batch should last on that device, so that the next one is queued in time."""
    return SHORTEST_CUDA_BATCH if where.type == "cuda" else 0.0


def in_parts(
    forward: Callable[[np.ndarray], torch.Tensor],
    rows: np.ndarray,
    failed: Callable[[np.ndarray], None],
) -> torch.Tensor:
    """`forward(rows)`, in halves where the device runs out of memory; `failed` is told of it.

    Only on running out of memory: any other error is raised. A single row that does not fit
    raises: the device is too small or shared, the row is not bad.
    """
    try:
        return forward(rows)
    except torch.OutOfMemoryError:
        if len(rows) == 1:
            raise
    # Outside the handler, which would keep the batch's tensors alive.
    failed(rows)
    torch.cuda.empty_cache()
    middle = len(rows) // 2
    halves = (rows[:middle], rows[middle:])
    return torch.cat([in_parts(forward, half, failed) for half in halves])


def dtype(ref: EmbedderRef, where: torch.device) -> torch.dtype:
    """The number format that the model computes in.

    Raises `UsageError` for fp16 on a CPU without instructions for it.
    """
    if ref.precision == "fp16" and where.type == "cpu" and not _computes_fp16():
        raise UsageError(
            "embedder.precision fp16 wants a GPU, and none is found here: this CPU has no fp16 "
            "instructions, and without them torch takes four times as long as in fp32. Set "
            "embedder.precision to bf16, which takes as little memory, or to fp32"
        )
    return DTYPES[ref.precision]


def _computes_fp16() -> bool:
    """Whether oneDNN has fp16 kernels for this CPU (AVX512-FP16 or AMX-FP16)."""
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_fp16_supported", None)
    return supported is not None and supported()


def finished(vectors: torch.Tensor, ref: EmbedderRef) -> torch.Tensor:
    """A batch's vectors as they are kept: float32, truncated, then brought to unit length.

    `vectors` is `[n, full]` of any float type; returns float32 `[n, ref.dimensions]` on the same
    device. Raises `VecmillError` when the model is not as wide as its folder said.
    """
    refuse_other_width(tuple(vectors.shape), ref)
    vectors = vectors.float()[:, : ref.dimensions]
    if ref.normalize:
        vectors = torch.nn.functional.normalize(vectors, dim=1)
    return vectors
