"""From a spec to an `EmbedderRef`: find the files, describe them, take the fingerprint.

    EmbedderSpec ─ locate ─ describe ─ fingerprint → EmbedderRef

No model is built and torch is not imported, so a plan or a search over a published table costs a
fraction of a second. Everything that would make the model unusable is refused here, before
anything else runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from schemas.errors import UsageError
from schemas.refs import EmbedderRef
from schemas.spec import EmbedderSpec
from tasks.embedders import open_clip_folder, sentence_transformers_folder, timm_folder
from tasks.embedders.description import Description
from tasks.embedders.fingerprint import fingerprint
from tasks.embedders.model_folder import ModelFolder, locate

DESCRIBE: dict[str, Callable[[ModelFolder, EmbedderSpec], Description]] = {
    "sentence-transformers": sentence_transformers_folder.describe,
    "open-clip": open_clip_folder.describe,
    "timm": timm_folder.describe,
}
INSTEAD = {
    frozenset({"text"}): "kind open-clip (text and images in one space) or timm (images alone)",
    frozenset({"image"}): "kind open-clip (text and images) or sentence-transformers (text alone)",
}
"""What to use where an embedder cannot take a source, by what it can take."""

ENGINES = {"auto": "torch", "torch": "torch"}
PRECISIONS = {"auto": "fp32", "fp32": "fp32", "bf16": "bf16", "fp16": "fp16"}


def resolve(spec: EmbedderSpec, kinds: Collection[str]) -> EmbedderRef:
    """Everything that another process needs to build the embedder of `spec`, and its fingerprint.

    `kinds` are those of the space's sources: text, image or both. Raises `UsageError` when the
    model cannot be found, is not safe to load, or cannot embed a source of that kind.
    """
    engine = _choice("engine", ENGINES, spec.engine)
    precision = _choice("precision", PRECISIONS, spec.precision)
    folder = locate(_model_name(spec), spec.revision)
    description = _described(folder, spec)
    for kind in sorted(set(kinds) - description.kinds):
        raise UsageError(
            f"embedder.kind {spec.kind}: {spec.model!r} embeds "
            f"{' and '.join(sorted(description.kinds))} alone, but the space has {kind} sources. "
            f"Use {INSTEAD[description.kinds]}, or a space of its own for them"
        )
    return EmbedderRef(
        kind=spec.kind,
        model=spec.model,
        folder=str(folder.path),
        fingerprint=fingerprint(spec.kind, description, spec.normalize),
        dimensions=description.dimensions,
        engine=engine,
        precision=precision,
        normalize=spec.normalize,
        kinds=description.kinds,
        window=description.window,
        tokenizer=description.tokenizer,
        tokenizer_digest=description.tokenizer_digest,
        prompt=description.prompt,
        query_prompt=description.query_prompt,
        truncate=description.truncate,
        revision=folder.revision,
        hub_id=folder.hub_id if _plain(spec, description) else None,
        config={"spec": spec.model_dump(), "max_length": description.max_length},
    )


def _described(folder: ModelFolder, spec: EmbedderSpec) -> Description:
    try:
        return DESCRIBE[spec.kind](folder, spec)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise UsageError(
            f"embedder.model: the files in {folder.path} do not fit together as a model of kind "
            f"{spec.kind} ({type(error).__name__}: {error}). Is the folder whole? Fetch it again"
        ) from error


def _model_name(spec: EmbedderSpec) -> str:
    """The model's name with the owner that sentence-transformers leaves out for its own models."""
    if spec.kind == "sentence-transformers" and "/" not in spec.model:
        from pathlib import Path

        if not Path(spec.model).is_dir():
            return f"sentence-transformers/{spec.model}"
    return spec.model


def _plain(spec: EmbedderSpec, description: Description) -> bool:
    """Whether LanceDB's own embedding function, given the hub id, makes the same vectors."""
    prompts = description.prompt or description.query_prompt
    return (
        spec.kind == "sentence-transformers"
        and spec.normalize
        and not prompts
        and description.truncate is None
    )


def _choice(field: str, known: dict[str, str], value: str) -> str:
    if value not in known:
        raise UsageError(
            f"embedder.{field} {value!r} is not built yet; expected {' or '.join(known)}"
        )
    return known[value]
