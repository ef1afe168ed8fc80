"""Records written by hand, a spec around them, and suites as Great Expectations writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.arrow import records_schema
from schemas.refs import RecordsPart, RejectsRef
from schemas.spec import SpaceSpec
from tasks.store.workdir import RejectsWriter, Store

USER_COLUMNS = {"lang": pa.string(), "stars": pa.int64(), "price": pa.float64()}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "work"))


@pytest.fixture
def write_part(tmp_path: Path) -> Callable[..., RecordsPart]:
    """`write_part("docs", ["one", "two"], lang=["en", "de"])`; image sources give widths."""

    def write(source: str, texts: list, kind: str = "text", **columns: list) -> RecordsPart:
        n = len(texts)
        data = {
            "row": list(range(n)),
            "source": [source] * n,
            "key": columns.pop("key", [f"k{i}" for i in range(n)]),
            "kind": [kind] * n,
            "uri": [f"file:///{source}"] * n,
            "size": [1] * n,
            ("text" if kind == "text" else "width"): texts,
            **columns,
        }
        types = {**USER_COLUMNS, **{k: pa.array(v).type for k, v in columns.items()}}
        schema = records_schema(
            pa.field(name, types[name]) for name in columns if name not in records_schema().names
        )
        table = pa.table({name: data.get(name, [None] * n) for name in schema.names}, schema=schema)
        digest = f"part-{source}-{len(list(tmp_path.glob('*.parquet')))}"
        path = tmp_path / f"{digest}.parquet"
        pq.write_table(table, path)
        return RecordsPart(digest, source, kind, str(path), n, RejectsRef(""))

    return write


@pytest.fixture
def write_suite(tmp_path: Path) -> Callable[..., str]:
    """Write a suite; an entry is `(type, kwargs)` or `(type, kwargs, other keys)`."""

    def write(*entries: tuple) -> str:
        expectations = [
            {"type": entry[0], "kwargs": entry[1], **(entry[2] if len(entry) > 2 else {})}
            for entry in entries
        ]
        path = tmp_path / "suite.json"
        path.write_text(json.dumps({"name": "mine", "expectations": expectations}))
        return str(path)

    return write


@pytest.fixture
def make_spec() -> Callable[..., SpaceSpec]:
    """A space of text source `docs` (lang, stars, price) and, on request, image source `photos`."""

    def make(images: bool = False, **expectations: object) -> SpaceSpec:
        sources: list[dict] = [
            {"name": "docs", "kind": "text", "path": "docs", "columns": list(USER_COLUMNS)}
        ]
        if images:
            sources.append({"name": "photos", "kind": "image", "path": "photos"})
        return SpaceSpec.model_validate(
            {
                "space": "s",
                "uri": "db",
                "sources": sources,
                "embedder": {"kind": "open-clip", "model": "m"},
                "expectations": expectations,
            }
        )

    return make


@pytest.fixture
def reject(store: Store) -> Callable[..., RejectsRef]:
    """`reject(part, {1: "repeated-key"})`: a rejects file that takes rows out of a part."""

    def write(part: RecordsPart, rows: dict[int, str], name: str = "earlier") -> RejectsRef:
        with RejectsWriter(store, name, stage="ingest", source=part.source, kind=part.kind) as out:
            for row, reason in rows.items():
                out.add(key=f"k{row}", reason=reason, uri="u", part=part.digest, row=row)
        return out.ref

    return write
