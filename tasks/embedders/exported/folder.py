"""Where an exported model lies, what stands beside it, and how it gets there whole.

    <exports>/<fingerprint>/<engine>-<version>-<format>/
        text.xml …  image.xml …   what the engine reads
        tokenizer.json            the tokenizer as the library had it in effect
        export.json               what the runtime has to know; the sizes of the files

The folder's name says everything that could make it another one, so that machines with different
versions share a workdir without undoing each other's work. It is written under a temporary name
and renamed: of two processes that export at once, the second finds the first one's and drops its
own. What a killed one leaves the sweep of the `workdir` removes after a day.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from tasks.store.workdir import TEMPORARY, mark_used

FORMAT = 1
"""Raised when the files or their meaning change: then every model is exported again."""

MANIFEST = "export.json"
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class ClipTokens:
    """How an open_clip tokenizer treats text around its vocabulary.

    `cleaning` is open_clip's name for it. `width` is the model's context length, filled up with
    `pad`. `dropped` is a token that becomes 0. `counted`: whether a text is cleaned to be counted.
    """

    cleaning: str
    width: int
    pad: int
    dropped: int | None = None
    counted: bool = True


@dataclass(frozen=True)
class TextFacts:
    """What turns texts into the inputs of the text model.

    `file` holds the model, `tokenizer` is a file beside it. `clip`: texts have one width, as
    open_clip has them, and the model takes no mask of real tokens beside the ids.
    `excluded`: tokens at the start that pooling leaves out, for documents and for queries; None
    where it leaves none out, and then the model takes no mask for pooling.
    """

    file: str
    tokenizer: str
    max_length: int
    pad: int = 0
    left: bool = False
    excluded: tuple[int, int] | None = None
    clip: ClipTokens | None = None


@dataclass(frozen=True)
class ImageFacts:
    """`file` holds the model, `transform` is what pictures go through before (`ImageTransform`)."""

    file: str
    transform: dict[str, Any]


@dataclass(frozen=True)
class Export:
    """An exported model: what it was made from and by, and its towers."""

    fingerprint: str
    engine: str
    versions: dict[str, str]  # package → version that wrote it
    text: TextFacts | None = None
    image: ImageFacts | None = None
    files: dict[str, int] = field(default_factory=dict)  # name → bytes

    def write(self, folder: Path) -> None:
        """Write the manifest into `folder`, with the sizes of the files that lie there."""
        sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
        content = asdict(self) | {"files": sizes}
        (folder / MANIFEST).write_text(json.dumps(content, indent=1))


def export_folder(exports: str, fingerprint: str, engine: str, version: str) -> Path:
    """The folder of one embedder for one version of one engine."""
    return Path(exports) / fingerprint / f"{engine}-{version}-{FORMAT}"


def read_export(folder: Path) -> Export | None:
    """The export in `folder`; None when there is none, or it is not whole."""
    try:
        content = json.loads((folder / MANIFEST).read_bytes())
        text, image = content.pop("text"), content.pop("image")
        export = Export(
            **content,
            text=_text_facts(text) if text else None,
            image=ImageFacts(**image) if image else None,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    whole = bool(export.files) and all(
        (folder / name).is_file() and (folder / name).stat().st_size == size
        for name, size in export.files.items()
    )
    return export if whole else None


def _text_facts(content: dict[str, Any]) -> TextFacts:
    excluded, clip = content.pop("excluded"), content.pop("clip")
    return TextFacts(
        **content,
        excluded=tuple(excluded) if excluded else None,
        clip=ClipTokens(**clip) if clip else None,
    )


def mark_export(folder: Path, export: Export) -> None:
    """Let the times of an export's files say that it was used: it expires whole, or not at all."""
    for name in (*export.files, MANIFEST):
        mark_used(folder / name)


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """A temporary folder that becomes `folder` when the block ends well, and goes otherwise."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = _unfinished(folder)
    temporary.mkdir()
    try:
        yield temporary
        _put(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _unfinished(folder: Path) -> Path:
    """A name beside `folder` that belongs to no build's lease."""
    return folder.with_name(f"{TEMPORARY}export-{uuid4().hex}-{folder.name}")


def _put(temporary: Path, folder: Path) -> None:
    """Rename `temporary` to `folder`, unless a whole export got there first."""
    if folder.exists() and read_export(folder) is None:
        broken = _unfinished(folder)
        try:
            folder.rename(broken)
        except FileNotFoundError:  # another process moves it away too
            pass
        else:
            shutil.rmtree(broken, ignore_errors=True)
    try:
        temporary.rename(folder)
    except OSError:
        if read_export(folder) is None:
            raise
