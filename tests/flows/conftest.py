"""A space of a few notes, a small real model made here, and what a build leaves on disk."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pytest
import yaml
from made_deltas import APPEND, Deltas
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

import made_embedder
from flows.cli import run
from flows.compose import build_space
from flows.outcome import Outcome
from flows.progress import StageBars
from flows.runner import PlainRunner
from made_specs import PLAIN
from made_words import WORDS, sentence
from schemas.load import parse_spec
from schemas.spec import BuildOverrides
from tasks.embedders.batching import done
from tasks.table.dataset import TableRef

DIMENSIONS = 32
SOURCE = {"name": "docs", "kind": "text", "path": "notes.jsonl", "key": "key", "text": "text"}


@pytest.fixture(scope="session")
def word_model(tmp_path_factory) -> Path:
    """A static sentence embedder: a random vector for each of the words w0 … w399."""
    folder = tmp_path_factory.mktemp("word-model")
    tokenizer = Tokenizer(WordLevel({f"w{i}": i for i in range(WORDS)} | {"[UNK]": WORDS}, "[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    weights = np.random.default_rng(0).normal(size=(WORDS + 1, DIMENSIONS)).astype(np.float32)
    save_file({"embedding.weight": weights}, folder / "model.safetensors")
    module = {
        "idx": 0,
        "name": "0",
        "path": ".",
        "type": "sentence_transformers.models.StaticEmbedding",
    }
    (folder / "modules.json").write_text(json.dumps([module]))
    return folder


@dataclass(frozen=True)
class Answer:
    """What a command did."""

    code: int
    out: str
    err: str


@dataclass
class Notes:
    """A space `notes` over one jsonl file; `texts` is what the file holds."""

    folder: Path
    model: Path
    changes: dict[str, Any]

    @property
    def data(self) -> dict[str, Any]:
        """The spec as a user writes it."""
        return {
            "space": "notes",
            "uri": "./db",
            "workdir": "./work",
            "sources": [SOURCE],
            "chunk": None,
            "embedder": {"kind": "sentence-transformers", "model": str(self.model)},
            **PLAIN,
            **self.changes,
        }

    @property
    def spec(self):
        return parse_spec(self.data, self.folder, "spec")

    def spec_file(self) -> Path:
        """The spec as a YAML file."""
        path = self.folder / "notes.yaml"
        path.write_text(yaml.safe_dump(self.data))
        return path

    @property
    def ref(self) -> TableRef:
        return TableRef.of(self.spec)

    def write(self, texts: dict[str, str], **columns: dict[str, object]) -> None:
        """Make the source hold exactly these texts; `columns`: name → key → value."""
        lines = [
            {"key": key, "text": text, **{name: by[key] for name, by in columns.items()}}
            for key, text in texts.items()
        ]
        path = self.folder / "notes.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def source(self, **options: object) -> None:
        """Change options of the source."""
        [source] = self.changes.get("sources", [SOURCE])
        self.changes["sources"] = [{**source, **options}]

    def build(self, runner: Any = None, **overrides: Any) -> Outcome:
        """Build it, quietly."""
        runner = runner or PlainRunner(StageBars("quiet"))
        return build_space(self.spec, BuildOverrides(**overrides), runner)

    def command(self, *words: str) -> Answer:
        """Run `vecmill COMMAND SPEC …` in this process."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run([words[0], str(self.spec_file()), *words[1:]])
        return Answer(code, out.getvalue(), err.getvalue())

    def content(self, tag: str = "prod") -> dict[str, str]:
        """id → text of a release."""
        table = lance.dataset(self.ref.path, version=tag).to_table(columns=["id", "text"])
        ids = table.column("id").to_pylist()
        assert len(ids) == len(set(ids))
        return dict(zip(ids, table.column("text").to_pylist(), strict=True))

    def tags(self) -> dict[str, int]:
        """Tag → version, and main's own version under ""."""
        dataset = lance.dataset(self.ref.path)
        tags = {name: tag["version"] for name, tag in dataset.tags.list().items()}
        return {"": dataset.version, **tags}

    def files(self) -> dict[str, int]:
        """Every file below the folder with its size."""
        return {
            str(path.relative_to(self.folder)): path.stat().st_size
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }

    def tables(self) -> dict[str, int]:
        """Every file of the database with its size."""
        return {name: size for name, size in self.files().items() if name.startswith("db/")}


@pytest.fixture(autouse=True)
def at_once(monkeypatch) -> None:
    """A shard that failed is tried again without a pause."""
    monkeypatch.setattr("flows.embedding.RETRY_SECONDS", 0)


@pytest.fixture
def texts() -> dict[str, str]:
    """The thirty notes that the space begins with."""
    return {f"n{i}": sentence(i, i + 40, i + 80) for i in range(30)}


@pytest.fixture
def notes(tmp_path, word_model, texts) -> Notes:
    """Thirty notes in one jsonl file; nothing is built yet."""
    space = Notes(tmp_path, word_model, {})
    space.write(texts)
    return space


@pytest.fixture
def spoiled(monkeypatch) -> Callable[[Callable[[np.ndarray], np.ndarray]], None]:
    """Plant a fault: what `change` makes of the embedder's vectors is what it returns."""

    def plant(change: Callable[[np.ndarray], np.ndarray]) -> None:
        from tasks.embedders.sentence_transformers_embedder import StaticText

        real = StaticText.submit_tokens
        monkeypatch.setattr(
            StaticText,
            "submit_tokens",
            lambda self, tokens, rows: done(change(real(self, tokens, rows)())),
        )

    return plant


@pytest.fixture
def fails_at(monkeypatch) -> Callable[..., None]:
    """Build until the function named `place` is called; there `error` is raised, once and for all.

    By default Ctrl-C: what a build does then is also what it does on any other error.
    """

    def build(notes: Notes, place: str, error: BaseException | None = None) -> None:
        error = error or KeyboardInterrupt()

        def fail(*_: object, **__: object) -> None:
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(place, fail)
            with pytest.raises(type(error)):
                notes.build(yes=True)

    return build


@pytest.fixture(scope="session")
def server():
    """A local Prefect server with a database of its own; yields its API URL."""
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield PREFECT_API_URL.value()


@pytest.fixture
def deltas(notes, monkeypatch) -> Deltas:
    """An append source of dated files; none is there yet."""
    monkeypatch.setattr("tasks.embed.embed_shard.load", made_embedder.WordEmbedder)
    notes.changes |= {"sources": [APPEND]}
    (notes.folder / "notes.jsonl").unlink()
    return Deltas(notes)
