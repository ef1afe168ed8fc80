"""Export a model for another engine: once, from fp32 torch, and compared with it before it counts.

    library's model ─ towers ─ convert ─ temporary folder ─ compare with torch ─ rename → export

The comparison embeds a few texts and pictures with both: a trace that froze a size, a tokenizer
that was not kept whole, an operation that the engine computes otherwise are refused here with the
figure, and nothing is left behind.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from schemas.engines import PRECISIONS_OF
from schemas.errors import UsageError, VecmillError
from schemas.refs import EmbedderRef
from tasks.embedders.engine_records import versions
from tasks.embedders.exported.convert import CONVERT
from tasks.embedders.exported.embedder import ExportedEmbedder
from tasks.embedders.exported.engines import ENGINES, Engine
from tasks.embedders.exported.folder import (
    TOKENIZER,
    Export,
    ImageFacts,
    TextFacts,
    export_folder,
    mark_export,
    read_export,
    written_whole,
)
from tasks.embedders.exported.samples import SAMPLES, sample_pixels
from tasks.embedders.protocol import Embedder

if TYPE_CHECKING:
    from tasks.embedders.exported.traced import Tower

EXPORT_TOLERANCE = 1e-5
"""1 − cosine of the exported model in fp32 to torch: 1e-12 to 1e-7 measured for right ones."""

Vectors = dict[str, np.ndarray]
"""What was embedded → float32 `[n, d]`."""

LoadTorch = Callable[[EmbedderRef], Embedder]
"""Builds the torch embedder of a reference."""


def load_exported(ref: EmbedderRef, load_torch: LoadTorch) -> ExportedEmbedder:
    """The embedder of `ref` on its engine, exported first where that was not done yet.

    Raises `UsageError` when the engine is not installed, does not compute that precision, or the
    model cannot be exported for it.
    """
    engine = _engine(ref)
    if not ref.exports:
        raise VecmillError(
            f"embedder {ref.model!r}: engine {ref.engine} needs a folder for the exported model, "
            f"and this reference names none: resolve it with the space's workdir, or use torch"
        )
    folder = export_folder(ref.exports, ref.fingerprint, engine.name, engine.version)
    found = read_export(folder)
    if found is None:
        export(ref, folder, load_torch)
        found = read_export(folder)
    if found is None:
        raise VecmillError(f"the export in {folder} was damaged or removed just now: run it again")
    mark_export(folder, found)
    return ExportedEmbedder(ref, folder, found)


def exported_already(ref: EmbedderRef) -> bool:
    """Whether the model lies exported for the engine of `ref`, as it is installed here."""
    engine = ENGINES.get(ref.engine)
    if engine is None or not engine.installed or not ref.exports:
        return False
    folder = export_folder(ref.exports, ref.fingerprint, engine.name, engine.version)
    return read_export(folder) is not None


def _engine(ref: EmbedderRef) -> Engine:
    engine = ENGINES[ref.engine]
    _ = engine.version
    computed = PRECISIONS_OF[ref.engine]
    if ref.precision not in computed:
        raise UsageError(
            f"embedder.precision {ref.precision!r} with embedder.engine {ref.engine!r}: this "
            f"engine computes {' and '.join(computed)}; choose one of them, or "
            f"engine: torch"
        )
    return engine


def export(ref: EmbedderRef, folder: Path, load_torch: LoadTorch) -> None:
    """Write the export of the model of `ref` to `folder`, whole or not at all."""
    engine = ENGINES[ref.engine]
    engine.require_exporters()
    embedder = load_torch(replace(ref, engine="torch", precision="fp32"))
    traced = import_module("tasks.embedders.exported.traced")
    expected = _vectors(embedder)
    try:
        with _quiet(), traced.plain_attention(), written_whole(folder) as temporary:
            _write(temporary, embedder, ref, traced)
            _compare(temporary, ref, expected)
    except (VecmillError, MemoryError, OSError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        if not isinstance(error, traced.NotExportableError):
            reason = f"{type(error).__name__}: {reason}"
        raise _refused(ref, reason) from error


def _refused(ref: EmbedderRef, reason: str) -> UsageError:
    return UsageError(
        f"embedder.engine {ref.engine!r}: the model {ref.model!r} could not be exported for it: "
        f"{reason}. Write engine: torch (or auto), which computes every model"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without tracing's warnings about sizes, which the comparison finds, and progress bars."""
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)


def _write(folder: Path, embedder: Embedder, ref: EmbedderRef, traced: Any) -> None:
    text: TextFacts | None = None
    image: ImageFacts | None = None
    model = import_module("tasks.embedders.exported.library_models").library_model(ref)
    if "text" in ref.kinds:
        made = TEXT_TOWERS[ref.kind](traced, model, ref)
        text = replace(made.facts, file=_convert(made.tower, folder, "text", ref))
        (folder / TOKENIZER).write_text(made.tokenizer, encoding="utf-8")
    if "image" in ref.kinds:
        transform = getattr(getattr(embedder, "images", None), "transform", None)
        if transform is None:
            raise traced.NotExportableError("its pictures are prepared by its own library alone")
        tower = traced.image_tower(model, transform, sample_pixels(embedder))
        image = ImageFacts(_convert(tower, folder, "image", ref), transform.to_json())
    made_by = versions(ref.kind, [ref.engine])
    Export(ref.fingerprint, ref.engine, made_by, text, image).write(folder)


def _convert(tower: Tower, folder: Path, name: str, ref: EmbedderRef) -> str:
    return CONVERT[ref.engine](tower, folder, name)


def _vectors(embedder: Embedder) -> Vectors:
    """What the embedder makes of the samples, each kind in a batch and alone."""
    vectors: Vectors = {}
    if "text" in embedder.ref.kinds:
        vectors["texts"] = embedder.embed_texts(SAMPLES)
        vectors["queries"] = embedder.embed_texts(SAMPLES, query=True)
        vectors["a text alone"] = embedder.embed_texts(SAMPLES[:1])
    if "image" in embedder.ref.kinds:
        pixels = sample_pixels(embedder)
        vectors["pictures"] = embedder.embed_pixels(pixels)
        vectors["a picture alone"] = embedder.embed_pixels(pixels[:1])
    return vectors


def _compare(folder: Path, ref: EmbedderRef, expected: Vectors) -> None:
    """Raise `UsageError` when the export in `folder` gives other vectors than `expected`."""
    found = read_export(folder)
    assert found is not None
    given = _vectors(ExportedEmbedder(replace(ref, precision="fp32"), folder, found))
    for what, vectors in expected.items():
        if (off := _distance(vectors, given[what])) > EXPORT_TOLERANCE:
            raise _refused(
                ref,
                f"{what} got vectors with 1 − cosine {off:.1e} to torch's in fp32, at most "
                f"{EXPORT_TOLERANCE:.0e} was expected",
            )


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """The largest 1 − cosine of two rows of the same number; infinite where one is not finite."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    cosine = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return float(np.max(1 - cosine)) if np.isfinite(cosine).all() else float("inf")


TEXT_TOWERS: dict[str, Callable[[Any, Any, EmbedderRef], Any]] = {
    "sentence-transformers": lambda traced, *given: traced.sentence_tower(*given),
    "open-clip": lambda traced, *given: traced.clip_text_tower(*given),
}
