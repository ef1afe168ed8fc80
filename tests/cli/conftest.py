"""A real space, built once for all tests of the command line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.cli import run

REPOSITORY = Path(__file__).parents[2]

NOTES = [
    ("cat", "The cat sleeps on the warm window sill all afternoon."),
    ("dog", "A dog barks at the postman every single morning."),
    ("copy", "The cat sleeps on the warm window sill all afternoon."),
    ("sea", "Ships sail over the sea towards the northern harbour."),
    ("bread", "Knead the dough and let the bread rise for an hour."),
    ("blank", "   "),
]


@dataclass(frozen=True)
class Answer:
    """What a command did: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


def vecmill(*arguments: object) -> Answer:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(argument) for argument in arguments])
    return Answer(code, out.getvalue(), err.getvalue())


def fresh(*arguments: object, before: str = "", after: str = "") -> Answer:
    """Run a command in a fresh interpreter, with code before and after it."""
    code = "\n".join(
        [
            "import sys",
            before,
            "from flows.cli import run",
            f"code = run({[str(argument) for argument in arguments]!r})",
            after,
            "sys.exit(code)",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session", name="vecmill")
def _vecmill() -> Callable[..., Answer]:
    return vecmill


@pytest.fixture(scope="session", name="fresh")
def _fresh() -> Callable[..., Answer]:
    return fresh


def write_notes(folder: Path, notes: list[tuple[str, str]]) -> None:
    """The source of the test space: a jsonl of notes."""
    lines = [json.dumps({"id": key, "text": text, "words": len(text)}) for key, text in notes]
    (folder / "notes.jsonl").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="session")
def built(tmp_path_factory, minilm) -> Path:
    """The spec of a space that `init` described and `build` published as v0001."""
    folder = tmp_path_factory.mktemp("space")
    write_notes(folder, NOTES)
    spec = folder / "space.yaml"
    done = vecmill("init", folder / "notes.jsonl", "--out", spec, "--model", minilm)
    assert done.code == 0, done.err
    text = spec.read_text().replace("max_reject_share: 0.05", "max_reject_share: 0.5")
    spec.write_text(text.replace("embedder:\n", "embedder:\n  engine: torch\n  precision: fp32\n"))
    done = vecmill("build", spec)
    assert done.code == 0, done.err
    return spec
