"""Build an embedder where it runs: once per process, under a lock.

The small `EmbedderRef` travels; the model does not. Before a model is used its files are
fingerprinted again, so that a folder that changed, or another machine's copy that differs, is
refused instead of filling one table from two spaces.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from threading import Lock

from schemas.errors import VecmillError
from schemas.refs import EmbedderRef
from schemas.spec import EmbedderSpec
from tasks.embedders.exported.export import load_exported
from tasks.embedders.protocol import Embedder
from tasks.embedders.resolve import resolve

LOADERS: dict[str, str] = {
    "sentence-transformers": "sentence_transformers_embedder:load_sentence_transformers",
    "open-clip": "open_clip_embedder:load_open_clip",
    "timm": "timm_embedder:load_timm",
}
"""Kind → module and function, imported late: each brings torch and its own library."""

_loaded: dict[tuple[str, str], Embedder] = {}
_lock = Lock()


def load(ref: EmbedderRef) -> Embedder:
    """The embedder of `ref`; the same instance for every call in this process.

    What is still `auto` in it is torch and fp32 here; `engine_choice` is where it is chosen.
    Raises `VecmillError` when the files no longer make the embedder that `ref` names.
    """
    ref = ref.plain
    with _lock:
        key = (ref.kind, ref.vector_key)
        if key not in _loaded:
            _loaded[key] = _built(_verified(ref))
        return _loaded[key]


def unload(ref: EmbedderRef) -> None:
    """Let the embedder of `ref` go, if it is loaded: whoever still has it may go on using it."""
    with _lock:
        gone = _loaded.pop((ref.kind, ref.vector_key), None) is not None
    if gone:
        gc.collect()  # a model is full of cycles; it should not wait beside the next one


def _built(ref: EmbedderRef) -> Embedder:
    if ref.engine != "torch":
        return load_exported(ref, _torch_one)
    loader = _loader(ref.kind)
    try:
        return loader(ref)
    except (VecmillError, MemoryError):
        raise
    except Exception as error:
        message = " ".join(str(error).split())
        raise VecmillError(
            f"embedder {ref.model!r} in {ref.folder} could not be loaded by {ref.kind}: "
            f"{type(error).__name__}: {message} Load it with the library itself to see more, or "
            f"fetch the model again"
        ) from error


def _torch_one(ref: EmbedderRef) -> Embedder:
    """The torch embedder to export from: the one that is loaded already, if it is."""
    return _loaded.get((ref.kind, ref.vector_key)) or _built(ref)


def _loader(kind: str) -> Callable[[EmbedderRef], Embedder]:
    module, _, function = LOADERS[kind].partition(":")
    return getattr(import_module(f"tasks.embedders.{module}"), function)


def _verified(ref: EmbedderRef) -> EmbedderRef:
    """`ref` with the folder of this machine, once its files proved to be the same embedder."""
    spec = EmbedderSpec.model_validate(ref.config["spec"])
    if Path(ref.folder).is_dir():
        spec = spec.model_copy(update={"model": ref.folder})
    else:  # another machine resolved it: the hub's cache lies elsewhere here
        spec = spec.model_copy(update={"revision": ref.revision})
    here = resolve(spec, ())
    if here.fingerprint != ref.fingerprint:
        raise VecmillError(
            f"embedder {ref.model!r} in {here.folder} has the fingerprint {here.fingerprint}, but "
            f"{ref.fingerprint} was expected: its files changed since the build began, or differ "
            f"from those on the machine that planned it. Start the build again with one model"
        )
    return replace(ref, folder=here.folder)
