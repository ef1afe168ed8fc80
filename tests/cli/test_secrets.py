"""The value of a storage option is in no file, no table and no output, whatever happens."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import ClassVar

import pytest
import yaml
from fsspec.implementations.memory import MemoryFileSystem

from made_specs import PLAIN

SECRET = "hunter2-and-a-long-tail"


class TalkativeStore(MemoryFileSystem):
    """An object store whose driver quotes the secret in its errors, as some do."""

    protocol = ("s3",)
    store: ClassVar[dict] = {}
    pseudo_dirs: ClassVar[list] = [""]
    cachable = False

    def __init__(self, secret: str = "", **options: object) -> None:
        super().__init__()
        self.secret = secret

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.replace("s3://", "memory://"))

    def _open(self, path: str, mode: str = "rb", **options: object):
        if "locked" in path and mode == "rb":
            raise PermissionError(errno.EACCES, f"key {self.secret} may not read {path}")
        if "lost" in path and mode == "rb":
            raise ConnectionError(f"no answer to {self.secret}")
        return super()._open(path, mode, **options)

    def isdir(self, path: str) -> bool:
        if "gone" in path:
            raise OSError(f"the key {self.secret} is unknown")
        return super().isdir(path)


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setenv("THE_SECRET", SECRET)
    monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, "s3", TalkativeStore)
    for name in ("docs/a.md", "docs/locked.md", "lost/b.md"):
        TalkativeStore().pipe(f"/bucket/{name}", f"text of {name}".encode())


def written_spec(folder: Path, model: str, path: str) -> Path:
    spec = {
        "space": "quiet",
        "uri": "./db",
        "workdir": "./work",
        "storage_options": {"aws_secret_access_key": "THE_SECRET"},
        "sources": [{"name": "docs", "kind": "text", "path": path}],
        **PLAIN,
        "embedder": {
            "kind": "sentence-transformers",
            "model": model,
            "engine": "torch",
            "precision": "fp32",
        },
        "expectations": {"max_reject_share": 1.0},
    }
    (folder / "space.yaml").write_text(yaml.safe_dump(spec))
    return folder / "space.yaml"


def test_no_secret_is_written_or_said(tmp_path, minilm, vecmill, store):
    spec = written_spec(tmp_path, minilm, "s3://bucket/docs")
    answers = [vecmill("build", spec, "--json")]
    assert answers[0].code == 0, answers[0].err
    answers += [vecmill(command, spec) for command in ("rejects", "report", "versions", "build")]
    assert "key (aws_secret_access_key) may not read" in answers[1].out
    for folder, code, said in (
        ("gone", 3, "the key (aws_secret_access_key) is unknown"),
        ("lost", 1, "ConnectionError: no answer to (aws_secret_access_key)"),
    ):
        answers.append(vecmill("build", written_spec(tmp_path, minilm, f"s3://bucket/{folder}")))
        assert (answers[-1].code, said in answers[-1].err) == (code, True)
    assert [SECRET in answer.out + answer.err for answer in answers] == [False] * len(answers)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
