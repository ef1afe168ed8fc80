"""Of a repeated key the first in (file, row) order stays."""

from __future__ import annotations

import pyarrow.parquet as pq


def repeats(found):
    """key, source, uri's name, row of each reject."""
    rows = pq.read_table(found.repeats.path).to_pylist()
    return [(r["key"], r["source"], r["uri"].rpartition("/")[2], r["row"]) for r in rows]


def test_the_first_stays_over_files_and_rows(tmp_path, ingest):
    (tmp_path / "b.csv").write_text("id,body\n2,again\n3,c\n1,again\n")
    (tmp_path / "a.csv").write_text("id,body\n1,a\nbad\n2,b\n1,again\n")
    found = ingest(tmp_path / "*.csv", key="id", text="body")
    assert repeats(found) == [
        ("1", "docs", "a.csv", 3),
        ("2", "docs", "b.csv", 0),
        ("1", "docs", "b.csv", 2),
    ]
    assert (found.repeats.records, found.repeats.items) == (3, 0)
    row = pq.read_table(found.repeats.path).to_pylist()[0]
    assert row["part"] == found.parts[0].digest
    assert (row["reason"], row["stage"], row["level"]) == ("repeated-key", "ingest", "record")
    assert row["detail"] == f"the key stands first in {tmp_path / 'a.csv'}"


def test_a_record_rejected_before_does_not_take_the_key(tmp_path, ingest):
    (tmp_path / "a.csv").write_text("id,body\n1,\n1,b\n")
    found = ingest(tmp_path / "a.csv", key="id", text="body")
    assert found.records() == [("1", "b")]
    assert repeats(found) == []


def test_sources_do_not_share_keys(tmp_path, ingest):
    (tmp_path / "a.csv").write_text("id,body\n1,a\n")
    one = {"kind": "text", "path": str(tmp_path / "a.csv"), "key": "id", "text": ["body"]}
    found = ingest(sources=[{"name": "x", **one}, {"name": "y", **one}])
    assert found.records("source", "key") == [("x", "1"), ("y", "1")]
    assert repeats(found) == []


def test_two_names_that_are_one_in_nfc(tmp_path, ingest):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "caf\u00e9.txt").write_text("composed")
    (tmp_path / "d" / "cafe\u0301.txt").write_text("decomposed")
    found = ingest(tmp_path / "d")
    assert [key for key, *_ in repeats(found)] == ["caf\u00e9.txt"]
