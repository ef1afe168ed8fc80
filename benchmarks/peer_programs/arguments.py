"""What each program is told: the same four places on its command line."""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Places:
    """Where a program reads, keeps what it keeps, and counts."""

    documents: Path
    """A folder of text files, UTF-8; the file's name is the document's key."""
    state: Path
    """The program's own folder: its table `documents` in `state/lancedb`, and all else it needs."""
    model: Path
    """The folder of a sentence-transformers model."""
    embedded: Path
    """The file to which `counting` appends."""


def places() -> Places:
    """The four places from the command line."""
    parser = ArgumentParser()
    for name in ("documents", "state", "model", "embedded"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    return Places(**vars(parser.parse_args()))
