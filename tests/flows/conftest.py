"""A space of a few notes, a small real model made here, and what a build leaves on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from flows.compose import build_space
from flows.outcome import Outcome
from flows.progress import StageBars
from flows.runner import PlainRunner
from made_words import WORDS, sentence
from schemas.load import parse_spec
from schemas.spec import BuildOverrides
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


@dataclass
class Notes:
    """A space `notes` over one jsonl file; `texts` is what the file holds."""

    folder: Path
    model: Path
    changes: dict[str, Any]

    @property
    def spec(self):
        data = {
            "space": "notes",
            "uri": "./db",
            "workdir": "./work",
            "sources": [
                {
                    "name": "docs",
                    "kind": "text",
                    "path": "notes.jsonl",
                    "key": "key",
                    "text": "text",
                }
            ],
            "chunk": None,
            "embedder": {"kind": "sentence-transformers", "model": str(self.model)},
            **self.changes,
        }
        return parse_spec(data, self.folder, "spec")

    @property
    def ref(self) -> TableRef:
        return TableRef(self.spec.uri, "notes")

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


@pytest.fixture
def notes(tmp_path, word_model) -> Notes:
    """Thirty notes in one jsonl file; nothing is built yet."""
    space = Notes(tmp_path, word_model, {})
    space.write({f"n{i}": sentence(i, i + 40, i + 80) for i in range(30)})
    return space


@pytest.fixture
def spoiled(monkeypatch) -> Callable[[Callable[[np.ndarray], np.ndarray]], None]:
    """Plant a fault: what `change` makes of the embedder's vectors is what it returns."""

    def plant(change: Callable[[np.ndarray], np.ndarray]) -> None:
        from tasks.embedders.sentence_transformers_embedder import StaticText

        real = StaticText.embed_tokens
        monkeypatch.setattr(
            StaticText,
            "embed_tokens",
            lambda self, tokens, rows: change(real(self, tokens, rows)),
        )

    return plant
