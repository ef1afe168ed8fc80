"""Paths in a spec are relative to the spec's own folder; the resolved spec has them absolute."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from schemas.load import load_spec, parse_spec
from schemas.spec import SpaceSpec


def spec_of(base: Path | str, source: str = "docs/", **fields: Any) -> SpaceSpec:
    data: dict[str, Any] = {
        "space": "handbook",
        "uri": "lancedb",
        "sources": [{"name": "docs", "kind": "text", "path": source}],
        "embedder": {"kind": "open-clip", "model": "some/model"},
        **fields,
    }
    return parse_spec(data, base, "space.yaml")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("docs", "/specs/docs"),
        ("./docs/", "/specs/docs"),
        ("../docs/**/*.md", "/docs/**/*.md"),
        ("docs/[ab]?.md", "/specs/docs/[ab]?.md"),
        ("/data/docs", "/data/docs"),
        ("~/docs/*.md", f"{os.path.expanduser('~')}/docs/*.md"),  # noqa: PTH111
        ("file:///data/my%20docs", "/data/my docs"),
        ("file://localhost/data/a?.md", "/data/a?.md"),  # a wildcard, no query
        ("file:///data/a#1.md", "/data/a#1.md"),
        ("s3://bucket/docs/*.parquet", "s3://bucket/docs/*.parquet"),
        ("https://host/a//b.md", "https://host/a//b.md"),
    ],
)
def test_a_source_path_becomes_absolute(written: str, expected: str) -> None:
    source: dict[str, Any] = {"name": "docs", "kind": "text", "path": written}
    if written.endswith(".parquet"):
        source |= {"key": "id", "text": "body"}
    assert spec_of("/specs", sources=[source]).source("docs").path == expected


def test_uri_and_workdir_become_absolute(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, uri="../tables", workdir="work")
    assert spec.uri == str(tmp_path.parent / "tables")
    assert spec.workdir == str(tmp_path / "work")


def test_paths_start_at_the_spec_not_at_the_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "specs"
    folder.mkdir()
    (folder / "space.yaml").write_text(
        "{space: a, uri: lancedb, sources: [{name: s, kind: text, path: docs}],"
        " embedder: {kind: open-clip, model: m}}"
    )
    monkeypatch.chdir(tmp_path)
    spec = load_spec("specs/space.yaml")
    assert spec.uri == str(folder / "lancedb")
    assert spec.source("s").path == str(folder / "docs")


def test_an_expectation_suite_becomes_absolute(tmp_path: Path) -> None:
    (tmp_path / "suite.json").write_text("{}")
    spec = spec_of(tmp_path, expectations={"suite": "suite.json"})
    assert spec.expectations.suite == str(tmp_path / "suite.json")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("sentence-transformers/all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"),
        ("models/ours", "{base}/models/ours"),  # a folder that is there
        ("models/other", "models/other"),  # none: a hub id
        ("./models/other", "{base}/models/other"),
        ("../ours", "{parent}/ours"),
        ("/models/ours", "/models/ours"),
        ("local-dir:models/ours", "{base}/models/ours"),
    ],
)
def test_a_model_is_a_folder_or_a_hub_id(tmp_path: Path, written: str, expected: str) -> None:
    (tmp_path / "models" / "ours").mkdir(parents=True)
    wanted = expected.format(base=tmp_path, parent=tmp_path.parent)
    spec = spec_of(
        tmp_path, embedder={"kind": "open-clip", "model": written}, chunk={"tokenizer": written}
    )
    assert spec.embedder.model == wanted
    assert spec.chunk is not None
    assert spec.chunk.tokenizer == wanted


def test_resolving_twice_changes_nothing(tmp_path: Path) -> None:
    once = spec_of(tmp_path, source="../docs/*.md", uri="~/tables")
    assert parse_spec(once.model_dump(mode="json"), "/elsewhere", "space.yaml") == once


def test_the_endings_are_those_that_the_readers_take() -> None:
    from schemas.formats import COMPRESSIONS, KNOWN, TABLES, format_of
    from tasks.ingest.reader import readers

    taken = {s for kind in ("text", "image") for r in readers(kind) for s in r.suffixes if s}
    assert {format_of(f"file{suffix}") for suffix in taken} == KNOWN
    columned = {
        format_of(f"file{suffix}")
        for kind in ("text", "image")
        for reader in readers(kind)
        if reader.needs
        for suffix in reader.suffixes
    }
    assert columned == TABLES
    assert {suffix.rsplit(".", 1)[-1] for suffix in taken} == KNOWN | COMPRESSIONS
