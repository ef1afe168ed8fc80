"""Describe a timm folder: timm's own config.json and model.safetensors; pooled image features."""

from __future__ import annotations

from schemas.errors import UsageError
from schemas.spec import EmbedderSpec
from tasks.embedders.description import Description
from tasks.embedders.fingerprint import tensor_shapes, weights_digest
from tasks.embedders.model_folder import ModelFolder

PREPROCESSING = (
    *("input_size", "fixed_input_size", "interpolation", "crop_pct", "crop_mode"),
    *("mean", "std"),
)
"""The keys of `pretrained_cfg` that timm's inference transform reads."""

MODEL = ("architecture", "model_args", "global_pool", "num_classes", "num_features")


def describe(folder: ModelFolder, spec: EmbedderSpec) -> Description:
    """Describe the timm model in `folder`.

    Raises `UsageError` when it is not one, is not safe to load, or the spec has prompts.
    """
    config = folder.json("config.json")
    if "architecture" not in config:
        raise UsageError(
            f"embedder.model: {folder.path}/config.json has no 'architecture': expected timm's own "
            f"config.json beside model.safetensors"
        )
    if spec.prompt or spec.query_prompt:
        raise UsageError("embedder.prompt: a timm model embeds images alone; leave prompts out")
    weights = folder.weights()
    pretrained = config.get("pretrained_cfg") or config
    full = _features(tensor_shapes(weights), config, pretrained, folder)
    if spec.dimensions is not None and spec.dimensions > full:
        raise UsageError(
            f"embedder.dimensions {spec.dimensions}: the model has {full} dimensions; "
            f"expected a number from 1 to {full}, or null for all"
        )
    return Description(
        parts={
            "weights": weights_digest(weights),
            "model": {key: config[key] for key in MODEL if key in config},
            "preprocess": {key: pretrained[key] for key in PREPROCESSING if key in pretrained},
        },
        dimensions=spec.dimensions or full,
        kinds=frozenset({"image"}),
        truncate=spec.dimensions,
    )


def _features(
    shapes: dict[str, tuple[int, ...]], config: dict, pretrained: dict, folder: ModelFolder
) -> int:
    """The width of the pooled features: what the classifier takes in.

    `num_features` alone is not enough: some models widen the features once more before it.
    """
    classifier = pretrained.get("classifier")
    if isinstance(classifier, list | tuple):
        classifier = classifier[0] if classifier else None
    if classifier and len(shape := shapes.get(f"{classifier}.weight", ())) >= 2:
        return int(shape[1])
    if "num_features" in config:
        return int(config["num_features"])
    raise UsageError(
        f"embedder.model: {folder.path}/config.json has no num_features and no known classifier: "
        f"the width of its vectors is unknown: save the model again with timm 1.0 or newer"
    )
