"""The engine check: 64 fixed inputs embedded by an engine and by fp32 torch must nearly agree.

    fixed texts, pictures ─┬ torch fp32 ──→ reference ┐
                           └ the engine ─→ vectors ───┴→ largest 1 − cos, and how fast it was

The limit is what bf16 costs at worst (FACTS: 1.2e-4 to 2e-4 between batches); a wrong export, a
broken kernel or int8 is beyond it by orders of magnitude. What fails is refused with the figure.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np

from schemas.engines import REFERENCE
from schemas.errors import VecmillError
from schemas.refs import EmbedderRef
from tasks.embedders import load as loading
from tasks.embedders.check_pictures import check_pictures
from tasks.embedders.check_texts import CHECK_TEXTS
from tasks.embedders.engine_trial import THRESHOLD, Trial
from tasks.embedders.in_flight import in_flight
from tasks.embedders.protocol import Embedder

if TYPE_CHECKING:
    from PIL.Image import Image

LENGTH_TOLERANCE = 0.02
"""How much longer or shorter a vector may be: an error of 2 % of its length turns it by 2e-4."""

RUNS = 3
"""Timed runs over the inputs, of which the best counts: noise only ever makes a run slower."""

RUN_SECONDS = 0.2
"""A run takes at least about so long, by repeating the inputs: shorter ones measure the clock."""

PATIENCE = 0.5
"""Seconds after which no further run begins: where one takes so long, noise weighs little."""

SLOW = 5.0
"""Seconds from which the very first run counts too, so that a large model runs but once: what an
engine sets up with it (MiniLM on OpenVINO: 0.1 s) weighs little beside them."""

MOST_COPIES = 64
"""Repetitions of the inputs in a run: 4,096 inputs keep a GPU busy."""


Run = Callable[[int], np.ndarray]
"""Embeds the inputs of a kind some times over: float32 `[64 × copies, d]`."""


@dataclass(frozen=True)
class Reference:
    """What fp32 torch makes of the inputs, by kind: vectors float32 `[64, d]`, and its speed."""

    vectors: Mapping[str, np.ndarray]
    seconds: Mapping[str, float]
    copies: Mapping[str, int]  # repetitions in a timed run

    @property
    def trial(self) -> Trial:
        """The reference as a trial of its own."""
        return Trial(*REFERENCE, off=0.0, seconds=dict(self.seconds))


def take_reference(ref: EmbedderRef) -> Reference:
    """Embed the inputs of each kind that `ref` takes by fp32 torch; the model stays loaded.

    Raises `VecmillError` where the model itself gives no usable vectors.
    """
    embedder = loading.load(as_reference(ref))
    vectors, seconds, copies = {}, {}, {}
    for kind in sorted(ref.kinds):
        run = _prepared(embedder, kind)
        vectors[kind], first = _clocked(run, 1)
        if not np.isfinite(vectors[kind]).all():
            raise VecmillError(
                f"embedder {ref.model!r}: torch fp32 gives vectors that are not finite for "
                f"{_which(kind, int(_bad(vectors[kind]).argmax()))}; is the model whole? Fetch it "
                f"again, or choose another"
            )
        once = first if first >= SLOW else _clocked(run, 1)[1]
        copies[kind] = max(1, min(MOST_COPIES, math.ceil(RUN_SECONDS / once)))
        seconds[kind] = _best(run, copies[kind], once if copies[kind] == 1 else None)
    return Reference(vectors, seconds, copies)


def as_reference(ref: EmbedderRef) -> EmbedderRef:
    """`ref` computed by fp32 torch."""
    engine, precision = REFERENCE
    return replace(ref, engine=engine, precision=precision)


def try_engine(ref: EmbedderRef, reference: Reference) -> Trial:
    """Load `ref` in its engine, compare its vectors with the reference, and time it.

    Whatever goes wrong is told in the trial's `problem`. The embedder stays loaded.
    """
    trial = Trial(ref.engine, ref.precision)
    try:
        embedder = loading.load(ref)
        seconds: dict[str, float] = {}
        for kind in sorted(ref.kinds):
            run = _prepared(embedder, kind)
            vectors, first = _clocked(run, 1)
            found = compare(reference.vectors[kind], vectors, kind)
            worst = max(found.off or 0.0, trial.off or 0.0)
            trial = replace(trial, off=None if found.off is None else worst, problem=found.problem)
            if trial.problem:
                return trial
            copies = reference.copies[kind]
            slow = copies == 1 and first >= SLOW
            seconds[kind] = _best(run, copies, first if slow else None)
        return replace(trial, seconds=seconds)
    except VecmillError as error:
        return replace(trial, problem=_on_one_line(error))
    except Exception as error:  # noqa: BLE001  the engine's, or the device's: told, never hidden
        return replace(trial, problem=f"{type(error).__name__}: {_on_one_line(error)}")


def _on_one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


@dataclass(frozen=True)
class Comparison:
    """How far vectors are from the reference; `problem` says what is beyond the limit."""

    off: float | None
    problem: str | None = None


def compare(reference: np.ndarray, vectors: np.ndarray, kind: str) -> Comparison:
    """Rows of `vectors` against those of `reference`, both float32 `[n, d]`, by angle and length.

    Lengths are compared too, as an embedder without `normalize` may be right in angle alone.
    """
    if vectors.shape != reference.shape:
        return Comparison(
            None, f"it gave vectors of shape {vectors.shape}, {reference.shape} expected"
        )
    if (bad := _bad(vectors)).any():
        which = _which(kind, int(bad.argmax()))
        return Comparison(None, f"{int(bad.sum())} vectors are not finite, the first of {which}")
    off, length = _angles(reference, vectors)
    if (worst := float(off.max())) > THRESHOLD:
        which = _which(kind, int(off.argmax()))
        return Comparison(
            worst,
            f"1 − cos to torch fp32 is up to {worst:.2g}, at most {THRESHOLD:g} is allowed; worst "
            f"of {int((off > THRESHOLD).sum())} is {which}",
        )
    if (most := float(length.max())) > LENGTH_TOLERANCE:
        which = _which(kind, int(length.argmax()))
        return Comparison(
            worst,
            f"its vectors are up to {most:.1%} longer or shorter than torch fp32's, at most "
            f"{LENGTH_TOLERANCE:.0%} is allowed; worst is {which}",
        )
    return Comparison(worst)


def _angles(reference: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """1 − cos and the relative difference of length, of each pair of rows: float64 `[n]` each.

    Of two zero vectors both are 0; of a zero vector and another both are 1.
    """
    a, b = reference.astype(np.float64), vectors.astype(np.float64)
    long_a, long_b = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    zero_a, zero_b = long_a == 0, long_b == 0
    unit = np.where(zero_a | zero_b, 1.0, long_a * long_b)
    off = np.clip(1.0 - (a * b).sum(axis=1) / unit, 0.0, 2.0)
    length = np.abs(long_b - long_a) / np.where(zero_a, 1.0, long_a)
    off = np.where(zero_a & zero_b, 0.0, np.where(zero_a ^ zero_b, 1.0, off))
    return off, np.where(zero_a & ~zero_b, 1.0, length)


def _bad(vectors: np.ndarray) -> np.ndarray:
    return np.logical_not(np.isfinite(vectors).all(axis=1))


def _which(kind: str, row: int) -> str:
    if kind == "text":
        return f"text {row + 1} of {len(CHECK_TEXTS)} ({len(CHECK_TEXTS[row]):,} characters)"
    width, height = _pictures()[row].size
    return f"picture {row + 1} of {len(_pictures())} ({width} × {height})"


def _prepared(embedder: Embedder, kind: str) -> Run:
    """What embeds the inputs of a kind some times over: float32 `[64 × copies, d]`.

    Pictures are decoded and resized before, since that is the same whatever the engine.
    """
    if kind == "text":
        return lambda copies: embedder.embed_texts(CHECK_TEXTS * copies)
    pixels = np.stack([embedder.prepare_image(picture) for picture in _pictures()])
    return partial(_embed_pixels, embedder, pixels)


def _embed_pixels(embedder: Embedder, pixels: np.ndarray, copies: int) -> np.ndarray:
    size = embedder.image_batch
    starts = [start for _ in range(copies) for start in range(0, len(pixels), size)]
    submitted = in_flight(
        lambda start: embedder.submit_pixels(pixels[start : start + size]),
        starts,
        embedder.in_flight,
    )
    return np.concatenate([pending() for _, pending in submitted])


@lru_cache(maxsize=1)
def _pictures() -> list[Image]:
    return check_pictures()


def _best(run: Run, copies: int, first: float | None = None) -> float:
    """Seconds by the clock that the inputs take once: the best of some runs; `first` was one."""
    seconds = [] if first is None else [first]
    while len(seconds) < RUNS and sum(seconds) <= PATIENCE:
        seconds.append(_clocked(run, copies)[1])
    return min(seconds) / copies


def _clocked(run: Run, copies: int) -> tuple[np.ndarray, float]:
    """The vectors of a run, and its seconds."""
    start = time.perf_counter()
    vectors = run(copies)
    return vectors, max(time.perf_counter() - start, 1e-9)
