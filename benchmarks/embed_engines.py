"""One contender of `embed.py` in a process of its own, so that none changes another's threads.

    stdin: {"texts": slice of the passages, "into": .npy} ─ embed ─ stdout: {"cpu", "clock"}

Run by `embed.py` as `python embed_engines.py CONTENDER FOLDER`. A contender is `encode` (the plain
loop), `engine-precision`, or `matmul`, which measures what a core's matrix units give.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

BEGUN = time.perf_counter()

MATMUL_SIDE = 1_024
"""Rows and columns of the square matrices: they fit in a core's second-level cache, about."""

MATMUL_SECONDS = 0.5

Answer = Callable[[dict[str, Any]], dict[str, Any]]


def measured(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What `work` gives, and its seconds: of the CPU (this process, all threads), by the clock."""
    cpu, clock = os.times(), time.perf_counter()
    made = work()
    after = os.times()
    spent = after.user + after.system - cpu.user - cpu.system
    return made, {"cpu": spent, "clock": time.perf_counter() - clock}


def embedding(texts: list[str], embed: Callable[[list[str]], Any]) -> Answer:
    """Embeds slices of the passages, and keeps their vectors where it is told."""
    import numpy as np

    def answer(question: dict[str, Any]) -> dict[str, Any]:
        some = texts[slice(*question["texts"])]
        vectors, spent = measured(lambda: embed(some))
        np.save(question["into"], np.asarray(vectors, np.float32))
        return spent

    return answer


def encode(texts: list[str], model: str, _exports: str) -> Answer:
    """The loop that vecmill is compared with, as the library comes."""
    from sentence_transformers import SentenceTransformer

    loaded = SentenceTransformer(model)
    return embedding(texts, lambda some: loaded.encode(some))


def engine(name: str) -> Callable[[list[str], str, str], Answer]:
    """An engine of vecmill's, in a precision."""
    engine, precision = name.split("-")

    def begin(texts: list[str], model: str, exports: str) -> Answer:
        from schemas.spec import EmbedderSpec
        from tasks.embedders.load import load
        from tasks.embedders.resolve import resolve

        spec = EmbedderSpec(
            kind="sentence-transformers", model=model, engine=engine, precision=precision
        )
        ref = replace(resolve(spec, frozenset({"text"})), exports=exports)
        return embedding(texts, load(ref).embed_texts)

    return begin


def matmul(_texts: list[str], _model: str, _exports: str) -> Answer:
    """Floating-point operations for each CPU-second, on one thread, in fp32 and bf16.

    By oneDNN: on AMD the library behind torch's own fp32 product uses half of what the core has.
    """
    import torch
    from torch.nn.functional import linear

    torch.set_num_threads(1)
    pairs = {
        name: [torch.randn(MATMUL_SIDE, MATMUL_SIDE).to(dtype).to_mkldnn() for _ in range(2)]
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
    }

    def rate(a: torch.Tensor, b: torch.Tensor) -> float:
        linear(a, b)
        times, cpu = 0, time.process_time()
        while time.process_time() - cpu < MATMUL_SECONDS:
            linear(a, b)
            times += 1
        return 2 * MATMUL_SIDE**3 * times / (time.process_time() - cpu)

    @torch.inference_mode()
    def answer(_question: dict[str, Any]) -> dict[str, Any]:
        return {name: rate(*pair) for name, pair in pairs.items()}

    return answer


def main() -> None:
    """Say how long it took to get ready, then answer until there are no more questions."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    facts = json.loads((folder / "facts.json").read_text("utf-8"))
    begin = {"encode": encode, "matmul": matmul}.get(name) or engine(name)
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    try:
        answer = begin(facts["texts"], facts["model"], facts["exports"])
    except Exception as error:  # noqa: BLE001  told in the table
        told: dict[str, Any] = {"missing": f"{type(error).__name__}: {error}"}
        print(json.dumps(told), file=answers, flush=True)
        return
    ready = {"ready": time.perf_counter() - BEGUN}
    print(json.dumps(ready), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
