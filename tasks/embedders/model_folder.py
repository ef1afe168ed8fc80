"""Where a model's files lie, and that nothing in them runs: safetensors and JSON only.

A folder is taken as it is. A hub id is downloaded once by huggingface_hub (safetensors, JSON and
vocabulary files, never pickles) and read from its cache afterwards, offline too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import UsageError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
WANTED_FILES = ["*.safetensors", "*.json", "*.txt", "*.model"]
UNWANTED_FILES = ["onnx/*", "openvino/*", "coreml/*"]  # the same weights for other engines
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".npy", ".npz", ".h5", ".msgpack")
CODE_KEYS = ("auto_map", "custom_pipelines")

CONVERT = (
    "vecmill loads safetensors only, because unpickling runs code. Convert a model that you trust "
    "once: load it and save it with save_pretrained(folder, safe_serialization=True) "
    "(sentence-transformers, transformers) or safetensors.torch.save_file (open_clip, timm)"
)


@dataclass(frozen=True)
class ModelFolder:
    """A folder with a model's files; `hub_id` and `revision` (a commit) when it came from a hub."""

    path: Path
    hub_id: str | None = None
    revision: str | None = None

    def json(self, name: str) -> dict:
        """The JSON object in file `name`, or `{}` when there is none.

        Raises `UsageError` when the file is not JSON, or asks for code of its own to be run.
        """
        content = read_json(self.path / name)
        if content is None:
            return {}
        if not isinstance(content, dict):
            raise UsageError(
                f"embedder.model: {self.path / name} should hold a JSON object, "
                f"but holds a {type(content).__name__}"
            )
        refuse_code(self.path / name, content)
        return content

    def has(self, name: str) -> bool:
        """Whether the folder has that file."""
        return (self.path / name).is_file()

    def inside(self, name: str) -> ModelFolder:
        """A subfolder; `UsageError` when the name leads out of the folder."""
        path = self.path / name
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise UsageError(f"embedder.model: {self.path}: module path {name!r} leaves the folder")
        return ModelFolder(path)

    def weights(
        self, names: Iterable[str] = ("model.safetensors",), shards: bool = False
    ) -> list[Path]:
        """The safetensors files that hold the weights: the first of `names`, or its `shards`.

        Only transformers loads shards. Raises `UsageError` when all weights are pickled or missing.
        """
        for name in names:
            if self.has(name):
                return [self.path / name]
            index = self.json(f"{name}.index.json") if shards else {}
            if index:
                files = sorted(set(index.get("weight_map", {}).values()))
                return [self.inside(file).path for file in files]
        pickled = sorted(p.name for p in self.path.glob("*") if p.suffix in PICKLED)
        if pickled:
            raise UsageError(
                f"embedder.model: {self.path} has its weights only as {', '.join(pickled)}. "
                f"{CONVERT}"
            )
        raise UsageError(
            f"embedder.model: {self.path} has no weights: expected {' or '.join(names)}. "
            f"Is it the folder of this kind of model, and whole?"
        )


def read_json(path: Path) -> object | None:
    """The content of a JSON file; None when there is no such file."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise UsageError(f"embedder.model: {path} is not JSON: {error}") from error


def refuse_code(path: Path, config: dict) -> None:
    """Raise `UsageError` when a config wants Python files of the model's own to be run."""
    for key in CODE_KEYS:
        if config.get(key):
            raise UsageError(
                f"embedder.model: {path} has {key!r} = {config[key]!r}: the model brings Python "
                f"code of its own, and vecmill never runs such code (trust_remote_code is off). "
                f"Choose a model whose architecture the library knows"
            )


def locate(model: str, revision: str | None) -> ModelFolder:
    """The folder of `model`: a folder as it is, a hub id through the hub's cache.

    Raises `UsageError` when it is neither, or cannot be had offline.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return ModelFolder(folder.resolve())
    hub_id = model.removeprefix("hf-hub:")
    if not HUB_ID.fullmatch(hub_id) or folder.suffix in (".safetensors", ".json", *PICKLED):
        raise UsageError(
            f"embedder.model {model!r} is neither a folder (looked at {folder.absolute()}) "
            f"nor a hub id such as 'sentence-transformers/all-MiniLM-L6-v2'"
        )
    return _download(hub_id, revision)


def _download(hub_id: str, revision: str | None) -> ModelFolder:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        path = snapshot_download(
            hub_id, revision=revision, allow_patterns=WANTED_FILES, ignore_patterns=UNWANTED_FILES
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UsageError(
            f"embedder.model {hub_id!r} (revision {revision or 'default'}) is no folder here and "
            f"could not be had from the hub ({type(error).__name__}: {_first_line(error)}). "
            f"Check the name and the network, download it once where there is one, "
            f"or give a folder that holds its files"
        ) from error
    return ModelFolder(Path(path), hub_id, Path(path).name)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]
