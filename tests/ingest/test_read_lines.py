"""JSON Lines: whole records out of small files, and every way in which a line can be bad."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime

import pyarrow as pa
import pytest

FIELDS = {"key": "id", "text": "body"}


def write(path, *lines):
    """One line each: objects as JSON, bytes as they are."""
    data = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path.write_bytes(b"\n".join(data) + b"\n")
    return path


def test_objects_become_records(tmp_path, ingest):
    file = write(
        tmp_path / "t.jsonl",
        {"id": "a", "title": "One", "body": "first\r\nline", "n": 1},
        {"id": "b", "title": None, "body": "cafe\u0301", "n": None},
        {"id": "c", "body": "no title, no n"},
    )
    found = ingest(file, key="id", text=["title", "body"], columns=["n"])
    assert found.records("row", "key", "text", "n", "uri") == [
        (0, "a", "One\n\nfirst\nline", 1, str(file)),
        (1, "b", "café", None, str(file)),
        (2, "c", "no title, no n", None, str(file)),
    ]
    assert found.rejects() == []


def test_a_bad_line_costs_itself_alone(tmp_path, ingest):
    file = write(
        tmp_path / "t.jsonl",
        {"id": 1, "body": "good"},
        b'{"id": 2, "body": "cut off',
        b"",
        b"[1, 2]",
        b'"text"',
        b'{"id": 5, "body": "caf\xe9"}',
        b'{"id": 6, "body": "half \\ud83d"}',
        b'{"id": 7, "body": "nul \\u0000"}',
        b'{"id": 8, "body": "a"} {"id": 9, "body": "b"}',
        b'{"id": 10, "body": 3.5}',
        {"id": 11, "body": None},
        {"id": None, "body": "x"},
        {"body": "x"},
        {"id": 1.5, "body": "x"},
        {"id": True, "body": "x"},
        {"id": ["a"], "body": "x"},
        {"id": "str", "body": "a string among integers"},
        b'{"id": 18, "body": "numbers that are none", "n": NaN}',
        b"[" * 5000,
    )
    found = ingest(file, **FIELDS)
    assert found.records("row", "key", "text") == [
        (0, "1", "good"),
        (15, "str", "a string among integers"),
        (16, "18", "numbers that are none"),
    ]
    assert found.rejects() == [
        (None, "malformed-line", 2),
        (None, "malformed-line", 4),
        (None, "malformed-line", 5),
        (None, "not-utf8", 6),
        ("6", "lone-surrogate", 7),
        ("7", "nul-byte", 8),
        (None, "malformed-line", 9),
        ("10", "bad-value", 10),
        ("11", "empty-text", 11),
        (None, "missing-key", 12),
        (None, "missing-key", 13),
        (None, "bad-key", 14),
        (None, "bad-key", 15),
        (None, "bad-key", 16),
        (None, "malformed-line", 19),
    ]


def test_an_integer_key_may_be_of_any_length(tmp_path, ingest):
    (tmp_path / "a.jsonl").write_text(f'{{"id": 1, "text": "a"}}\n{{"id": {2**64}, "text": "b"}}\n')
    found = ingest(tmp_path / "a.jsonl", key="id", text="text")
    assert found.records() == [("1", "a"), (str(2**64), "b")]


def test_a_first_key_that_is_none_does_not_spoil_the_others(tmp_path, ingest):
    lines = ['{"id": 1.5, "text": "a"}', '{"id": 7, "text": "b"}', '{"id": 8, "text": "c"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    found = ingest(tmp_path / "a.jsonl", key="id", text="text")
    assert found.records() == [("7", "b"), ("8", "c")]
    assert found.rejects() == [(None, "bad-key", 1)]


def test_a_key_with_half_a_surrogate_pair_is_spelled_out(tmp_path, ingest):
    file = write(tmp_path / "t.jsonl", b'{"id": "k\\ud83d", "body": "x"}', {"id": "k", "body": "y"})
    found = ingest(file, **FIELDS)
    assert found.rejects() == [("k\\ud83d", "lone-surrogate", 1)]


def test_an_object_over_two_lines_is_two_bad_lines(tmp_path, ingest):
    file = write(tmp_path / "t.jsonl", b'{"id": 1,', b'"body": "x"}', b'{"id": 2, "body": "y"}')
    found = ingest(file, **FIELDS)
    assert found.records() == [("2", "y")]
    assert found.rejects() == [(None, "malformed-line", 1), (None, "malformed-line", 2)]


@pytest.mark.parametrize("ending", ["jsonl", "ndjson", "jsonl.gz", "jsonl.zst"])
def test_packed_lines(tmp_path, ingest, ending):
    data = b'{"id": 1, "body": "a"}\r\n{"id": 2, "body": "b"}'
    if ending.endswith("zst"):
        with pa.CompressedOutputStream(str(tmp_path / f"t.{ending}"), "zstd") as out:
            out.write(data)
    else:
        packed = gzip.compress(data) if ending.endswith("gz") else data
        (tmp_path / f"t.{ending}").write_bytes(packed)
    assert ingest(tmp_path / f"t.{ending}", **FIELDS).records() == [("1", "a"), ("2", "b")]


def test_gzip_of_several_members(tmp_path, ingest):
    members = [gzip.compress(b'{"id": %d, "body": "x"}\n' % i) for i in range(3)]
    (tmp_path / "t.jsonl.gz").write_bytes(b"".join(members))
    found = ingest(tmp_path / "t.jsonl.gz", **FIELDS)
    assert found.records("key") == [("0",), ("1",), ("2",)]


def test_types_come_from_the_head_and_odd_values_are_cast(tmp_path, ingest):
    file = write(
        tmp_path / "t.jsonl",
        {"id": 1, "body": "a", "n": 1, "tags": ["x"], "score": 1, "day": "2024-01-02"},
        {"id": 2, "body": "b", "n": "2", "tags": [], "score": 0.5, "day": None},
        {"id": 3, "body": "c", "n": "two", "tags": None, "score": 2, "day": None},
        {"id": 4, "body": "d", "n": 4.0, "tags": "xy", "score": 2, "day": None},
        {"id": 5, "body": "e", "n": 4.5, "tags": None, "score": 2, "day": None},
        {"id": 6, "body": "f", "n": 6.0, "score": 2},
    )
    declared = [{"name": "n", "type": "int64"}, {"name": "tags", "type": "list<string>"}]
    found = ingest(file, **FIELDS, columns=[*declared, "score", "day"])
    assert found.records("key", "n", "tags", "score", "day") == [
        ("1", 1, ["x"], 1.0, "2024-01-02"),
        ("2", 2, [], 0.5, None),
        ("6", 6, None, 2.0, None),
    ]
    assert found.rejects() == [
        ("3", "bad-value", 3),
        ("4", "bad-value", 4),
        ("5", "bad-value", 5),
    ]


def test_a_time_may_be_text_or_seconds(tmp_path, ingest):
    times = ["2024-01-02T00:00:00Z", 86_400, 0.5, None, "soon"]
    lines = [{"id": i, "body": "a", "at": at} for i, at in enumerate(times)]
    found = ingest(write(tmp_path / "t.jsonl", *lines), **FIELDS, time="at")
    assert found.records("key", "time") == [
        ("0", datetime(2024, 1, 2, tzinfo=UTC)),
        ("1", datetime(1970, 1, 2, tzinfo=UTC)),
        ("2", datetime(1970, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)),
        ("3", None),
    ]
    assert found.rejects() == [("4", "bad-value", 5)]


def test_a_name_that_no_object_of_the_head_has_is_a_missing_column(tmp_path, ingest):
    file = write(tmp_path / "t.jsonl", {"id": 1, "text": "a"}, {"id": 2, "text": "b"}, b"{")
    found = ingest(file, **FIELDS)
    assert found.records() == []
    assert found.rejects() == [
        ("1", "missing-column", 1),
        ("2", "missing-column", 2),
        (None, "malformed-line", 3),
    ]
    assert found.details()[0] == "no column 'body' (it has: id, text)"


def test_the_result_does_not_depend_on_the_block(tmp_path, ingest, monkeypatch):
    lines = [{"id": i, "body": f"text {i}", "n": i} for i in range(200)]
    lines[50], lines[150] = b"{", {"id": 150, "body": "x", "n": "many"}
    file = write(tmp_path / "t.jsonl", *lines)
    whole = ingest(file, **FIELDS, columns=[{"name": "n", "type": "int64"}])
    monkeypatch.setattr("tasks.ingest.record_cutter.BLOCK_BYTES", 100)
    monkeypatch.setattr("tasks.ingest.byte_chunks.CHUNK_BYTES", 33)
    monkeypatch.setattr("tasks.ingest.survey.READING_VERSION", 2)
    cut = ingest(file, **FIELDS, columns=[{"name": "n", "type": "int64"}])
    assert cut.records("row", "key", "text", "n") == whole.records("row", "key", "text", "n")
    assert cut.rejects() == whole.rejects()
    assert whole.rejects() == [(None, "malformed-line", 51), ("150", "bad-value", 151)]


def test_an_empty_file_holds_no_records(tmp_path, ingest):
    (tmp_path / "a.jsonl").touch()
    write(tmp_path / "b.jsonl", {"id": 1, "body": "a"})
    found = ingest(tmp_path / "*.jsonl", **FIELDS)
    assert found.records() == [("1", "a")]
    assert found.rejects() == []
