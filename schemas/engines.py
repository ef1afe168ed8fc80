"""What can compute an embedder, and in which number formats: the words of `embedder.engine`."""

from __future__ import annotations

PRECISIONS_OF: dict[str, tuple[str, ...]] = {
    "torch": ("fp32", "bf16", "fp16"),
    "openvino": ("fp32", "bf16"),
    "onnx": ("fp32",),
}
"""Engine → the precisions it computes in here. OpenVINO's fp16 is for GPUs that it is not used on;
ONNX Runtime's CPU kernels are fp32, and dynamic int8 makes other vectors (FACTS: 1e-2 and more)."""

REFERENCE = ("torch", "fp32")
"""The engine and precision that every other is compared with."""

AUTO = "auto"


def pairs(engine: str, precision: str) -> list[tuple[str, str]]:
    """Every (engine, precision) that a spec's two words allow, the simplest engine first."""
    return [
        (name, each)
        for name in ("torch", "onnx", "openvino")
        if engine in (AUTO, name)
        for each in PRECISIONS_OF[name]
        if precision in (AUTO, each)
    ]
