"""What a build reads of the log stays small, however long the log is."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import lance
import pyarrow as pa
import pytest

from schemas.manifest import Counts, EmbedderRecord, Manifest, Timings
from tasks.table import build_log
from tasks.table.companions import BUILDS, append_build, read_builds, set_hold
from tasks.table.dataset import STORAGE_VERSION, TableRef


def manifest(build_id: str, **more) -> Manifest:
    embedder = EmbedderRecord(
        fingerprint="f", kind="timm", model="m", dimensions=4, precision="fp32", engine="torch"
    )
    return Manifest(
        space="notes",
        build_id=build_id,
        tag="prod",
        resolved_spec={"a": "spec" * 500},
        embedder=embedder,
        code_version="test",
        started_at=datetime(2026, 11, 20, tzinfo=UTC),
        **more,
    )


def rated(build_id: str, embedded: int, seconds: float, **more) -> Manifest:
    counts, timings = Counts(embedded=embedded), Timings(embed=seconds)
    return manifest(build_id, counts=counts, timings=timings, **more)


@pytest.fixture
def ref(tmp_path) -> TableRef:
    return TableRef(str(tmp_path), "notes")


@pytest.fixture
def parsed(monkeypatch) -> list[str]:
    """The builds whose manifests were parsed."""
    seen: list[str] = []
    real = Manifest.from_json

    def counted(text: str) -> Manifest:
        seen.append(json.loads(text)["build_id"])
        return real(text)

    monkeypatch.setattr(Manifest, "from_json", counted)
    return seen


@pytest.fixture
def year(ref) -> TableRef:
    """2,000 builds, of which every third embedded something and every tenth was refused."""
    rows = []
    for i in range(2_000):
        refused = ("quality",) if i % 10 == 9 else ()
        made = rated(
            f"b{i}", 60 * (i % 3 == 0), 2.0 + i / 1_000, input_hash=f"h{i}", refused_by=refused
        )
        rows.append(
            {
                "build_id": made.build_id,
                "event": "build",
                "at": made.started_at + timedelta(minutes=i),
                "published": not refused,
                "refused_by": list(refused),
                "input_hash": made.input_hash,
                "manifest": made.to_json(),
                "after": "{}",
            }
        )
    table = pa.Table.from_pylist(rows, BUILDS)
    lance.write_dataset(table, ref.companion("builds").path, data_storage_version=STORAGE_VERSION)
    return ref


def test_an_empty_log(ref):
    assert not build_log.has_record(ref, "b1")
    assert build_log.last_input_hash(ref) is None
    assert build_log.embedding_rate_of(ref) is None
    assert build_log.recorded_builds(ref) == []


def test_a_long_log_is_not_read(year, parsed):
    assert build_log.has_record(year, "b17")
    assert not build_log.has_record(year, "b17' OR 'a' = 'a")
    assert build_log.last_input_hash(year) == "h1998"
    assert len(build_log.recorded_builds(year)) == 2_000
    assert parsed == []
    # b1998, b1995, b1992, b1989, b1986: 60 contents in about 4 s
    assert build_log.embedding_rate_of(year) == pytest.approx(60 / 3.992)
    assert len(parsed) <= 16


def test_what_does_not_embed_is_looked_back_at_for_a_while(ref, parsed):
    append_build(ref, rated("old", 100, 1.0))
    for i in range(70):
        append_build(ref, rated(f"b{i}", 0, 0.0))
    assert build_log.embedding_rate_of(ref) is None
    assert len(parsed) == build_log.MANIFESTS_AT_MOST


def test_one_slow_build_is_no_measure(ref):
    for build_id, seconds in [("a", 1.0), ("b", 50.0), ("c", 2.0)]:
        append_build(ref, rated(build_id, 100, seconds))
    set_hold(ref, "why", "me")
    assert build_log.embedding_rate_of(ref) == 50.0


def test_a_build_recorded_twice_counts_once_with_its_last_record(ref):
    append_build(ref, rated("a", 100, 1.0, input_hash="first"), after={"recorded_by": "b"})
    append_build(ref, rated("b", 0, 0.0, input_hash="b"))
    append_build(ref, rated("a", 100, 2.0, input_hash="last"))
    assert build_log.recorded_builds(ref) == ["a", "b"]
    assert [b.manifest.build_id for b in read_builds(ref)] == ["a", "b"]
    assert build_log.last_input_hash(ref) == "b"
    assert build_log.embedding_rate_of(ref) == 50.0
