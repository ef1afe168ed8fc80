"""The fingerprint of an embedder: the digest that names an embedding space.

    weights (each tensor: name, dtype, shape, bytes) ┐
    tokenizer, modules, preprocessing                ├→ canonical JSON → blake2b-128
    maximum length, prompts, normalisation, dimensions ┘

Tensors are read from the safetensors file itself, so no model is built and torch is not imported.
Digests of big files are kept for the life of the process, under path, inode, size and time.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from schemas.errors import UsageError
from schemas.identity import HASH_BYTES, digest_file, digest_json
from tasks.embedders.description import Description
from tasks.embedders.model_folder import ModelFolder, read_json

FORMAT = 1
"""Raised when these rules change: then every fingerprint is a new one."""

HASH_THREADS = 4
"""blake2b releases the GIL: four threads read a file about as fast as the disk gives it."""

PROVENANCE = frozenset(
    {
        *("_name_or_path", "name_or_path", "_commit_hash", "license", "license_link"),
        *("transformers_version", "__version__", "torch_dtype", "dtype", "use_cache", "backend"),
        *("tokenizer_file", "special_tokens_map_file", "is_local", "local_files_only"),
        *("model_max_length", "max_length"),
    }
)
"""Keys of configs that say where a model comes from or how it is computed, not what it is.

`model_max_length` counts where it is the effective maximum, which the description holds.
"""

VOCABULARIES = ("vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model")
VOCABULARIES += ("tokenizer.model", "added_tokens.json")
"""What a tokenizer without a tokenizer.json is built from."""

T = TypeVar("T")


def fingerprint(kind: str, description: Description, normalize: bool) -> str:
    """32 hex digits that name the space: equal for equal embedders, wherever their files lie."""
    return digest_json(
        {
            "format": FORMAT,
            "kind": kind,
            "parts": description.parts,
            "max_length": description.max_length,
            "prompt": description.prompt,
            "query_prompt": description.query_prompt,
            "normalize": normalize,
            "dimensions": description.dimensions,
        }
    )


def meaningful(config: Mapping[str, object]) -> dict[str, object]:
    """A model's config without the keys that only say where it comes from."""
    return {key: value for key, value in config.items() if key not in PROVENANCE}


def weights_digest(files: Sequence[Path]) -> str:
    """Digest of every tensor in the files; how they are spread over files does not matter."""
    tensors: dict[str, object] = {}
    for file in files:
        tensors.update(_once(file, _tensor_digests))
    return digest_json(tensors)


def tokenizer_digest(folder: ModelFolder) -> str | None:
    """Digest of the tokenizer's content, or None when the folder has no tokenizer."""
    content: dict[str, object] = {}
    if folder.has("tokenizer.json"):
        content["tokenizer"] = _once(folder.path / "tokenizer.json", _json_digest)
    else:
        for name in VOCABULARIES:
            if folder.has(name):
                content[name] = file_digest(folder.path / name)
    if not content:
        return None
    content["config"] = meaningful(folder.json("tokenizer_config.json"))
    return digest_json(content)


def file_digest(file: Path) -> str:
    """Digest of a file's bytes."""
    return _once(file, digest_file)


def tensor_shapes(files: Sequence[Path]) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor in the files, by name."""
    return {
        name: tuple(entry["shape"])
        for file in files
        for name, entry in safetensors_header(file)[0].items()
    }


def safetensors_header(file: Path) -> tuple[dict[str, dict], int]:
    """The tensors that a safetensors file declares, and where its data begins.

    Raises `UsageError` when the file is no whole safetensors file.
    """
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 0 < length <= size - 8:
                raise ValueError(f"its header claims {length} bytes of {size}")
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if 8 + length + end != size:
            raise ValueError(f"it has {size} bytes, {8 + length + end} expected")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"embedder.model: {file} is not a whole safetensors file: {error}. Fetch it again"
        ) from error
    return header, 8 + length


def _tensor_digests(file: Path) -> dict[str, object]:
    header, start = safetensors_header(file)
    if not header:
        return {}
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        view = memoryview(data)

        def digest(name: str) -> list[object]:
            entry = header[name]
            first, last = entry["data_offsets"]
            with view[start + first : start + last] as content:
                value = hashlib.blake2b(content, digest_size=HASH_BYTES).hexdigest()
            return [entry["dtype"], entry["shape"], value]

        try:
            with ThreadPoolExecutor(HASH_THREADS) as pool:
                return dict(zip(header, pool.map(digest, header), strict=True))
        finally:
            view.release()


def _json_digest(file: Path) -> str:
    return digest_json(read_json(file))


def _once(file: Path, read: Callable[[Path], T]) -> T:
    """`read(file)`, remembered while the file stays as it is."""
    status = file.stat()
    return _remembered(read, str(file.resolve()), status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(256)
def _remembered(read: Callable[[Path], T], path: str, *_identity: int) -> T:
    return read(Path(path))
