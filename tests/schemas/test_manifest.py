"""The manifest: `build --json` prints exactly these keys, and what it prints can be read again."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from schemas.manifest import (
    AuditResult,
    Counts,
    DuplicateCounts,
    EmbedderRecord,
    Manifest,
    SourceRecord,
    Timings,
)

COUNTS = Counts(
    records=10,
    records_used=8,
    records_rejected=2,
    items=21,
    items_rejected=1,
    rows=20,
    new=5,
    changed=4,
    metadata_only=3,
    rejudged=2,
    unchanged=6,
    removed=7,
    embedded=8,
    reused=1,
    duplicates=DuplicateCounts(exact=2),
)

MANIFEST = Manifest(
    space="handbook",
    build_id="b1",
    release="v0003",
    version=7,
    published=True,
    refused_by=("quality",),
    tag="prod",
    base_release="v0002",
    input_hash="ff",
    resolved_spec={"space": "handbook", "cluster": None},
    counts=COUNTS,
    embedder=EmbedderRecord(
        fingerprint="f0",
        kind="timm",
        model="m",
        dimensions=4,
        precision="fp32",
        engine="torch",
    ),
    audits=(
        AuditResult(
            name="norm",
            value=1.0,
            threshold=None,
            passed=True,
            severity="refuse",
            detail="unit length",
        ),
    ),
    timings=Timings(validate_=1.5, total=2.0),
    sources=(SourceRecord(name="docs", files=3, records=10, fingerprint="aa"),),
    code_version="0.1.0",
    started_at=datetime(2026, 11, 20, 9, 0, tzinfo=UTC),
    finished_at=datetime(2026, 11, 20, 9, 1, tzinfo=UTC),
)


def test_it_prints_the_keys_of_the_design() -> None:
    printed = json.loads(MANIFEST.to_json())
    assert list(printed) == [
        *("manifest_version", "space", "build_id", "release", "version", "published"),
        *("refused_by", "tag", "base_release", "input_hash", "resolved_spec", "counts"),
        *("embedder", "fit_id", "audits", "timings", "sources", "code_version"),
        *("started_at", "finished_at"),
    ]
    assert list(printed["counts"]) == [
        *("records", "records_used", "records_rejected", "items", "items_rejected", "rows"),
        *("new", "changed", "metadata_only", "rejudged", "unchanged", "removed"),
        *("embedded", "reused"),
        "truncated",  # beside the design's keys: whole records that the model cut
        "duplicates",
    ]
    assert list(printed["counts"]["duplicates"]) == ["exact", "near", "semantic"]
    assert list(printed["embedder"]) == [
        *("fingerprint", "kind", "model", "dimensions", "precision", "engine")
    ]
    assert list(printed["timings"]) == [
        *("start_up", "ingest", "validate", "dedupe", "chunk", "plan", "embed", "cluster"),
        *("stage", "audit", "publish", "total"),
    ]
    assert [list(each) for each in printed["audits"]] == [
        ["name", "value", "threshold", "passed", "severity", "detail"]
    ]
    assert [list(each) for each in printed["sources"]] == [
        [
            *("name", "files", "records", "fingerprint"),
            # beside the design's keys: what the next build compares with
            *("repeated", "forgotten", "roots"),
        ]
    ]


def test_it_comes_back_from_its_json() -> None:
    assert Manifest.from_json(MANIFEST.to_json()) == MANIFEST
    assert Manifest.from_json(MANIFEST.to_json(indent=2).encode()) == MANIFEST
    assert Manifest.model_validate(MANIFEST.model_dump()) == MANIFEST


def test_the_timing_of_validation_is_called_validate() -> None:
    assert json.loads(MANIFEST.to_json())["timings"]["validate"] == 1.5
    assert MANIFEST.model_dump()["timings"]["validate"] == 1.5


def test_a_manifest_of_a_build_that_did_not_end_has_nulls() -> None:
    begun = MANIFEST.model_copy(update={"finished_at": None, "release": None, "version": None})
    assert Manifest.from_json(begun.to_json()) == begun


def test_an_unknown_key_is_refused() -> None:
    printed = json.loads(MANIFEST.to_json())
    printed["counts"]["rowz"] = 1
    with pytest.raises(ValidationError, match="rowz"):
        Manifest.model_validate(printed)


def test_an_audit_refuses_when_it_failed_and_may() -> None:
    failed = MANIFEST.audits[0].model_copy(update={"passed": False})
    assert failed.refuses
    assert not failed.model_copy(update={"severity": "warn"}).refuses
    assert not MANIFEST.audits[0].refuses


# The equations


def test_counts_that_add_up_have_no_problems() -> None:
    assert COUNTS.problems() == []
    assert Counts().problems() == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"records": 11}, "records = records_used + records_rejected: 11 ≠ 10"),
        ({"records_used": 9}, "records = records_used + records_rejected: 10 ≠ 11"),
        ({"records_rejected": 1}, "records = records_used + records_rejected: 10 ≠ 9"),
        ({"items": 20}, "items = rows + items_rejected: 20 ≠ 21"),
        ({"items_rejected": 2}, "items = rows + items_rejected: 21 ≠ 22"),
        ({"new": 6}, "rows = new + changed + metadata_only + rejudged + unchanged: 20 ≠ 21"),
        ({"unchanged": 5}, "rows = new + changed + metadata_only + rejudged + unchanged: 20 ≠ 19"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_count_that_is_off_by_one_is_named(change: dict[str, int], problem: str) -> None:
    assert COUNTS.model_copy(update=change).problems() == [problem]


def test_removed_rows_and_duplicates_are_in_no_equation() -> None:
    other = COUNTS.model_copy(update={"removed": 0, "duplicates": DuplicateCounts(exact=9)})
    assert other.problems() == []
