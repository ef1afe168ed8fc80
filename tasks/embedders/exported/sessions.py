"""A compiled model behind one call: named arrays in, vectors out, from any thread.

Every thread computes one batch on one core. That keeps all cores busy as long as batches are under
way, and costs the least for each: measured with all-MiniLM-L6-v2, a batch spread over the cores
takes a fifth more CPU time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import local
from typing import Any

import numpy as np

from tasks.embedders.exported.engines import ENGINES

Inputs = Mapping[str, np.ndarray]
Run = Callable[[Inputs], np.ndarray]
"""Computes one batch: float32 `[n, full]`. Safe from several threads."""

OPENVINO_PRECISIONS = {"fp32": "f32", "bf16": "bf16"}


def openvino_session(file: Path, precision: str, cores: int) -> Run:
    """The model in `file` (OpenVINO's XML), compiled for `cores` batches at once.

    A stream is OpenVINO's word for one batch under way.
    """
    openvino = ENGINES["openvino"].module()
    compiled = openvino.Core().compile_model(
        str(file),
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": OPENVINO_PRECISIONS[precision],
            "NUM_STREAMS": str(cores),
            "INFERENCE_NUM_THREADS": str(cores),
            # Pinned threads of two processes would share one core and leave others idle.
            "ENABLE_CPU_PINNING": "NO",
        },
    )
    requests = local()

    def run(inputs: Inputs) -> np.ndarray:
        request = getattr(requests, "own", None)
        if request is None:
            request = requests.own = compiled.create_infer_request()
        request.infer(dict(inputs), share_inputs=True)
        # A copy: the tensor is the request's own and is filled anew by its next batch.
        return np.array(request.get_output_tensor(0).data, dtype=np.float32)

    return run


def onnx_session(file: Path, precision: str, cores: int) -> Run:
    """The model in `file` (ONNX), for batches of one core each."""
    del precision, cores  # fp32 alone; the callers' threads do the work
    onnxruntime = ENGINES["onnx"].module()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session: Any = onnxruntime.InferenceSession(
        str(file), options, providers=["CPUExecutionProvider"]
    )

    def run(inputs: Inputs) -> np.ndarray:
        return session.run(None, dict(inputs))[0]

    return run


SESSIONS: dict[str, Callable[[Path, str, int], Run]] = {
    "openvino": openvino_session,
    "onnx": onnx_session,
}
