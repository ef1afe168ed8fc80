"""Describe a sentence-transformers folder: transformer or static embedding, pooling, head, prompts.

What the library would do with the folder is worked out from its JSON files alone; the embedder
checks it again when it loads the model.
"""

from __future__ import annotations

from pathlib import Path

from schemas.errors import UsageError
from schemas.spec import EmbedderSpec
from tasks.embedders.description import UNBOUNDED, Description
from tasks.embedders.fingerprint import (
    meaningful,
    tensor_shapes,
    tokenizer_digest,
    weights_digest,
)
from tasks.embedders.model_folder import ModelFolder, read_json, refuse_code

MODULES_WITH_WEIGHTS = frozenset({"Transformer", "StaticEmbedding", "Dense", "LayerNorm"})
MODULES = MODULES_WITH_WEIGHTS | {"Pooling", "Normalize", "Dropout"}
"""What this embedder is built from; others (routers, sparse heads) are refused by name."""

TRANSFORMER_CONFIGS = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
DOCUMENT_PROMPTS = ("document", "passage", "corpus")
"""The names under which models keep the prompt for documents, in the library's own order."""


def describe(folder: ModelFolder, spec: EmbedderSpec) -> Description:
    """Describe the sentence-transformers model in `folder`.

    Raises `UsageError` when it is not one, is not safe to load, or cannot do what the spec asks.
    """
    model_config = folder.json("config_sentence_transformers.json")
    if (found := model_config.get("model_type", "SentenceTransformer")) != "SentenceTransformer":
        raise UsageError(
            f"embedder.model: {folder.path} is a {found}; a SentenceTransformer (dense vectors) "
            f"was expected"
        )
    modules = list_modules(folder)
    first_name, first = modules[0]
    static = first_name == "StaticEmbedding"
    max_length = UNBOUNDED if static else _max_length(first)
    prompt, query_prompt = _prompts(model_config, spec)
    full = _dimensions(modules)
    truncate = spec.dimensions or model_config.get("truncate_dim")
    if truncate is not None and not 1 <= truncate <= full:
        raise UsageError(
            f"embedder.dimensions {truncate}: the model has {full} dimensions; "
            f"expected a number from 1 to {full}, or null for all"
        )
    tokenizer = first.path / "tokenizer.json"
    digest = tokenizer_digest(first)
    if digest is None:
        raise UsageError(
            f"embedder.model: {first.path} has neither tokenizer.json nor a vocabulary"
        )
    return Description(
        parts={
            "tokenizer": digest,
            "modules": [_module_parts(name, place) for name, place in modules],
        },
        dimensions=truncate or full,
        kinds=frozenset({"text"}),
        max_length=max_length,
        window=_window(tokenizer, max_length, prompt, special=not static),
        tokenizer=str(tokenizer) if tokenizer.is_file() else None,
        tokenizer_digest=digest,
        prompt=prompt,
        query_prompt=query_prompt,
        truncate=truncate,
    )


def list_modules(folder: ModelFolder) -> list[tuple[str, ModelFolder]]:
    """(class, folder) of each module in order; a plain transformer gets mean pooling."""
    listed = read_json(folder.path / "modules.json")
    if listed is None:
        if not folder.has("config.json"):
            raise UsageError(
                f"embedder.model: {folder.path} has neither modules.json nor config.json: expected "
                f"the folder of a sentence-transformers or transformers model"
            )
        return [("Transformer", folder), ("Pooling", ModelFolder(folder.path / "1_Pooling"))]
    if not isinstance(listed, list) or not listed:
        raise UsageError(f"embedder.model: {folder.path / 'modules.json'} lists no modules")
    modules = []
    for entry in listed:
        package, _, name = str(entry["type"]).rpartition(".")
        if package.split(".")[0] != "sentence_transformers":
            refuse_code(folder.path / "modules.json", {"auto_map": entry["type"]})
        if name not in MODULES:
            raise UsageError(
                f"embedder.model: {folder.path / 'modules.json'} uses the module {name}; "
                f"vecmill loads {', '.join(sorted(MODULES))}. Choose another model"
            )
        modules.append((name, folder.inside(entry["path"])))
    if modules[0][0] not in ("Transformer", "StaticEmbedding"):
        raise UsageError(
            f"embedder.model: {folder.path} begins with {modules[0][0]}; a Transformer or "
            f"StaticEmbedding was expected"
        )
    return modules


def _module_parts(name: str, place: ModelFolder) -> dict[str, object]:
    """What of a module decides the vector: its class, its config and its weights."""
    parts: dict[str, object] = {"class": name}
    if name in MODULES_WITH_WEIGHTS:
        parts["weights"] = weights_digest(place.weights(shards=name == "Transformer"))
    if name == "Transformer":
        if place.has("adapter_config.json"):
            raise UsageError(
                f"embedder.model: {place.path} is an adapter on another model; merge it into its "
                f"base model (peft: merge_and_unload) and save that"
            )
        library = dict(_transformer_config(place))
        library.pop("max_seq_length", None)  # part of the description, as it takes effect
        parts["config"] = {
            "model": meaningful(place.json("config.json")),
            "library": meaningful(library),
        }
    elif name != "StaticEmbedding":  # its config.json is another library's
        config = place.json("config.json")
        activation = str(config.get("activation_function", "torch."))
        if not activation.startswith("torch."):
            refuse_code(place.path / "config.json", {"auto_map": activation})
        parts["config"] = meaningful(config)
    return parts


def _transformer_config(place: ModelFolder) -> dict:
    for name in TRANSFORMER_CONFIGS:
        if config := place.json(name):
            return config
    return {}


def _max_length(place: ModelFolder) -> int:
    """The most tokens that the transformer takes, special ones included, as the library has it."""
    library = _transformer_config(place)
    processor = library.get("processor_kwargs") or library.get("tokenizer_args") or {}
    given = library.get("max_seq_length") or processor.get("model_max_length")
    if given:
        return int(given)
    limits = [place.json("tokenizer_config.json").get("model_max_length")]
    limits.append(place.json("config.json").get("max_position_embeddings"))
    return min([int(limit) for limit in limits if limit and limit > 0] + [UNBOUNDED])


def _prompts(model_config: dict, spec: EmbedderSpec) -> tuple[str, str]:
    """The effective document and query prompts: the spec's, else the model's own, else none."""
    prompts = {name: text or "" for name, text in (model_config.get("prompts") or {}).items()}
    default = prompts.get(model_config.get("default_prompt_name") or "", "")
    named = [prompts[name] for name in DOCUMENT_PROMPTS if name in prompts]
    # Saving adds an empty "document" beside the "passage" that is meant: the first with words.
    document = next(filter(None, named), "" if named else default)
    query = prompts.get("query", default)
    return (
        document if spec.prompt is None else spec.prompt,
        query if spec.query_prompt is None else spec.query_prompt,
    )


def _dimensions(modules: list[tuple[str, ModelFolder]]) -> int:
    """The width of the vectors before truncation: the last module that decides it."""
    for name, place in reversed(modules):
        config = place.json("config.json")
        if name == "Dense":
            return int(config["out_features"])
        if name == "Pooling" and config:
            width = config.get("embedding_dimension") or config["word_embedding_dimension"]
            return int(width) * _pooling_modes(config)
        if name == "StaticEmbedding":
            return next(
                shape[1] for shape in tensor_shapes(place.weights()).values() if len(shape) == 2
            )
        if name == "Transformer":
            for key in ("hidden_size", "d_model", "dim", "n_embd"):
                if key in config:
                    return int(config[key])
    raise UsageError(f"embedder.model: {modules[0][1].path} does not say how wide its vectors are")


def _pooling_modes(config: dict) -> int:
    """How many pooled vectors are joined."""
    modes = config.get("pooling_mode")
    if modes is not None:
        return 1 if isinstance(modes, str) else len(modes)
    return sum(bool(v) for k, v in config.items() if k.startswith("pooling_mode_")) or 1


def _window(tokenizer: Path, max_length: int, prompt: str, special: bool) -> int:
    """Content tokens that fit beside the special and the document prompt's tokens."""
    if max_length == UNBOUNDED:
        return UNBOUNDED
    special_tokens, prompt_tokens = token_overhead(tokenizer, prompt)
    window = max_length - prompt_tokens - (special_tokens if special else 0)
    if window < 1:
        raise UsageError(
            f"embedder.prompt {prompt!r} takes {prompt_tokens} tokens and leaves no room for a "
            f"text in the model's {max_length}; shorten it"
        )
    return window


def token_overhead(tokenizer: Path, prompt: str) -> tuple[int, int]:
    """(special tokens around a text, tokens of the prompt); an upper bound without tokenizer.json.

    A token covers at least one byte, and two special tokens are what encoders commonly add.
    """
    if not tokenizer.is_file():
        return 2, len(prompt.encode())
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_file(str(tokenizer))
    loaded.no_truncation()
    loaded.no_padding()
    prompt_tokens = len(loaded.encode(prompt, add_special_tokens=False).ids) if prompt else 0
    return loaded.num_special_tokens_to_add(False), prompt_tokens
