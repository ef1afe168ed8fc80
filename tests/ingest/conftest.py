"""`ingest(path, …)`: a source surveyed and read as a build does it, with its rows to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.refs import RecordsPart, RejectsRef
from schemas.spec import SpaceSpec
from tasks.ingest.read_part import read_part
from tasks.ingest.repeats import find_repeats
from tasks.ingest.survey import Survey, survey
from tasks.store.workdir import Store

EMBEDDER = {"kind": "sentence-transformers", "model": "any"}


@dataclass
class Ingested:
    """What reading a source gave."""

    survey: Survey
    parts: list[RecordsPart]
    repeats: RejectsRef

    def records(self, *names: str) -> list[tuple[Any, ...]]:
        """The usable records, in order: the named columns (key and text)."""
        names = names or ("key", "text")
        tables = [pq.read_table(part.path).select(names) for part in self.parts]
        return [tuple(row.values()) for table in tables for row in table.to_pylist()]

    def rejects(self, *names: str) -> list[tuple[Any, ...]]:
        """The rejects, in order: the named columns (key, reason, position)."""
        names = names or ("key", "reason", "position")
        tables = [pq.read_table(part.rejects.path).select(names) for part in self.parts]
        return [tuple(row.values()) for table in tables for row in table.to_pylist()]

    @property
    def reasons(self) -> Counter[str]:
        """How often each reason was given."""
        return Counter(reason for (reason,) in self.rejects("reason"))

    def details(self) -> list[str]:
        """What each reject says in words."""
        return [detail for (detail,) in self.rejects("detail")]


@pytest.fixture
def spec_of(tmp_path: Path) -> Callable[..., SpaceSpec]:
    """A spec with one text source of those fields; or with the `sources` given."""

    def make(path: Any = None, storage_options: Any = None, **fields: Any) -> SpaceSpec:
        one = {"name": "docs", "kind": "text", "path": str(path), **fields}
        return SpaceSpec.model_validate(
            {
                "space": "s",
                "uri": str(tmp_path / "db"),
                "sources": fields.get("sources", [one]),
                "embedder": EMBEDDER,
                "storage_options": storage_options,
            }
        )

    return make


@pytest.fixture
def ingest(tmp_path: Path, spec_of: Callable[..., SpaceSpec]) -> Callable[..., Ingested]:
    """Survey and read a source; rows number all records met, each once."""

    def run(path: Any = None, known: pa.Schema | None = None, **fields: Any) -> Ingested:
        spec = spec_of(path, **fields)
        found = survey(spec, known)
        store = Store(str(tmp_path / ".work"))
        parts = [read_part(part, store) for listing in found.listings for part in listing.parts]
        for part in parts:
            assert_every_record_counted(part)
        latest = [s.name for s in spec.sources if s.on_repeat == "latest"]
        return Ingested(found, parts, find_repeats(parts, store, latest).rejects)

    return run


def assert_every_record_counted(part: RecordsPart) -> None:
    """records + rejects = records met: each row number stands once, in one of the two files."""
    kept = pq.read_table(part.path, columns=["row"]).column("row").to_pylist()
    lost = pq.read_table(part.rejects.path, columns=["row"]).column("row").to_pylist()
    assert kept == sorted(kept)
    assert sorted(kept + lost) == list(range(part.records + part.rejects.records))
