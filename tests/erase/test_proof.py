"""The proof finds what is planted, and takes another record's words for its own."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.identity import content_hashes
from tasks.erase.asked import Asked
from tasks.erase.proof import needles, prove, table_files
from tasks.table.companions import append_event
from tasks.table.dataset import TableRef, ensure_table
from tasks.table.transaction import commit, release_base, stage_overwrite, take_base

KEY = "patient-0815"
TEXT = "the quick brown fox jumps over the lazy dog and runs away"
ASKED = Asked(frozenset({("docs", KEY)}))
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string()),
        pa.field("duplicate_of", pa.string()),
        pa.field("content_hash", pa.binary(16)),
    ]
)


@pytest.fixture
def ref(tmp_path) -> TableRef:
    return TableRef(str(tmp_path / "db"), "notes")


def put(ref: TableRef, rows: list[dict[str, object]]) -> None:
    """Make the table hold exactly these rows; older versions stay."""
    ensure_table(ref, SCHEMA)
    base = take_base(ref, "b")
    commit(stage_overwrite(base, [pa.RecordBatch.from_pylist(rows, SCHEMA)], SCHEMA), {})
    release_base(ref, "b")


def look(ref: TableRef, root: Path, *, kept: tuple[bytes, ...] = ()):
    hashes = content_hashes([TEXT]).to_pylist()
    return prove(ref, str(root / "work"), ASKED, [TEXT], hashes, kept)


def test_clean(ref, tmp_path):
    put(ref, [{"id": "docs:other", "text": "w1 w2"}])
    proof = look(ref, tmp_path)
    assert proof.findings == []
    assert (proof.versions, proof.data_files, proof.rows, proof.needles) == (2, 1, 1, 4)


def test_a_row_of_an_old_version_is_found(ref, tmp_path):
    put(ref, [{"id": f"docs:{KEY}#0", "text": TEXT}])
    put(ref, [{"id": "docs:other", "text": "w1 w2"}])
    findings = look(ref, tmp_path).findings
    assert any("1 rows of the records" in each for each in findings)


def test_a_copy_that_points_to_it_is_found(ref, tmp_path):
    put(ref, [{"id": "docs:other", "text": "w1", "duplicate_of": f"docs:{KEY}#0"}])
    assert "1 rows of the records" in look(ref, tmp_path).findings[0]


def test_a_file_that_no_version_refers_to_is_found(ref, tmp_path):
    put(ref, [{"id": "docs:other", "text": "w1"}])
    (Path(ref.path) / "data" / "loose.lance").write_bytes(b"anything")
    assert look(ref, tmp_path).findings == [f"{ref.path}/data/loose.lance: no version refers to it"]


def test_another_record_may_say_the_same(ref, tmp_path):
    rows = [{"id": "docs:other", "text": f"{TEXT}, as {KEY} said"}]
    put(ref, [{**rows[0], "content_hash": content_hashes([TEXT])[0].as_py()}])
    proof = look(ref, tmp_path)
    assert proof.findings == []
    assert proof.shared == 3  # key, piece of the text, content hash


@pytest.mark.parametrize("name", ["records", "plans", "verdicts"])
def test_bytes_in_the_workdir_are_found(ref, tmp_path, name):
    place = tmp_path / "work" / name / "x.json"
    place.parent.mkdir(parents=True)
    place.write_text(f'"{KEY}"')
    assert look(ref, tmp_path).findings == [f"{place}: the bytes '{KEY}'"]


def test_rows_and_vectors_in_compressed_files_are_found(ref, tmp_path):
    items = tmp_path / "work" / "items" / "x.parquet"
    vectors = tmp_path / "work" / "vectors" / "key" / "x.parquet"
    for path, table in (
        (items, pa.table({"id": [f"docs:{KEY}#1"] * 100})),
        (vectors, pa.table({"content_hash": content_hashes([TEXT])})),
    ):
        path.parent.mkdir(parents=True)
        pq.write_table(table, path, compression="zstd")
    findings = look(ref, tmp_path).findings
    assert f"{items}: 100 rows of the records" in findings
    assert f"{vectors}: vectors of the records' contents" in findings
    kept = tuple(content_hashes([TEXT]).to_pylist())
    assert not any("vectors of" in each for each in look(ref, tmp_path, kept=kept).findings)


def test_a_build_whose_verdict_names_it_is_found(ref, tmp_path):
    append_event(ref, event="hold", reason=f"docs:{KEY} is wrong", who="ann")
    findings = look(ref, tmp_path).findings
    assert "1 builds whose verdicts name a record" in findings[0]


def test_short_keys_and_numbers_are_left_to_the_rows():
    asked = Asked(frozenset({("docs", "n3"), ("docs", "100234"), ("docs", "short#")}))
    assert needles(asked, ["tiny"], []) == [b"docs:100234", b"docs:n3", b"docs:short%23", b"short#"]


def test_many_needles_are_thinned_out_evenly():
    asked = Asked(frozenset(("docs", f"record-{i:04}") for i in range(1000)))
    found = needles(asked, [], [])
    assert 40 < len(found) <= 86
    assert len({each[:13] for each in found}) > 5


def test_a_table_on_an_object_store_is_searched_by_copies(ref, tmp_path, monkeypatch):
    put(ref, [{"id": "docs:other", "text": KEY}])
    local = {name: path.read_bytes() for name, path in table_files(ref)}
    monkeypatch.setattr(TableRef, "local", None)
    remote = {name: path.read_bytes() for name, path in table_files(ref)}
    assert remote == {n: data for n, data in local.items() if "/_refs/" not in n}
