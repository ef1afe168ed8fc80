"""csv, tsv and parquet: whole rows out of small files, and every way in which a row can be bad."""

from __future__ import annotations

import gzip
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

TABLE = {"key": "id", "text": ["title", "body"]}


def test_csv_with_quotes_and_lines_in_fields(tmp_path, ingest):
    file = tmp_path / "news.csv"
    file.write_bytes(
        b'id,title,body,lang\r\n1,Rain,"It rained,\r\nall day",en\r\n\r\n2,"Say ""hi""",,de\r\n'
    )
    found = ingest(file, **TABLE, columns=["lang"])
    assert found.records("row", "key", "text", "size", "lang", "source", "kind", "uri") == [
        (0, "1", "Rain\n\nIt rained,\nall day", 24, "en", "docs", "text", str(file)),
        (1, "2", 'Say "hi"', 8, "de", "docs", "text", str(file)),
    ]
    assert found.rejects() == []


def test_tsv(tmp_path, ingest):
    file = tmp_path / "news.tsv"
    file.write_text('id\tbody\n1\tone, two\n2\t"tab\there"\n')
    found = ingest(file, key="id", text="body")
    assert found.records() == [("1", "one, two"), ("2", "tab\there")]


def test_a_bad_csv_line_costs_itself_alone(tmp_path, ingest):
    (tmp_path / "a.csv").write_bytes(
        b"id,body\n"
        b"1,good\n"
        b"2,too,many\n"
        b'3,"never closed\n'
        b'4,"with ""quotes"""\n'
        b"5,caf\xe9\n"
        b'6,"closed" early\n'
        b"too few\n"
        b"7,caf\xc3\xa9\n"
        b"8,last line without its end"
    )
    found = ingest(tmp_path / "a.csv", key="id", text="body")
    assert found.records("row", "key", "text") == [
        (0, "1", "good"),
        (3, "4", 'with "quotes"'),
        (7, "7", "café"),
        (8, "8", "last line without its end"),
    ]
    assert found.rejects("row", "key", "reason", "position", "level", "stage") == [
        (1, None, "malformed-line", 3, "record", "ingest"),
        (2, None, "malformed-line", 4, "record", "ingest"),
        (4, None, "not-utf8", 6, "record", "ingest"),
        (5, None, "malformed-line", 7, "record", "ingest"),
        (6, None, "malformed-line", 8, "record", "ingest"),
    ]
    assert found.details()[0] == "3 fields; expected 2 as in the header: '2,too,many\\n'"


@pytest.mark.parametrize("table", ["csv", "parquet"])
def test_each_reason_about_key_and_text(tmp_path, ingest, table):
    rows = [
        ("", "no key", "missing-key"),
        ("  ", "blank key", "missing-key"),
        ("empty", "", "empty-text"),
        ("blank", " \t\u2003", "empty-text"),
        ("nul", "a\0b", "nul-byte"),
        ("nul\0key", "a", "nul-byte"),
        ("k" * 5000, "a", "bad-key"),
        ("good", "text", None),
    ]
    data = pa.table({"id": [r[0] for r in rows], "body": [r[1] for r in rows]})
    file = tmp_path / f"t.{table}"
    if table == "csv":
        file.write_text("id,body\n" + "".join(f'"{key}","{body}"\n' for key, body, _ in rows))
    else:
        pq.write_table(data, file)
    found = ingest(file, key="id", text="body")
    assert found.records("row", "key", "text") == [(7, "good", "text")]
    first = 2 if table == "csv" else 0
    assert found.rejects("row", "reason", "position") == [
        (row, reason, row + first) for row, (_, _, reason) in enumerate(rows) if reason
    ]


def test_parquet_may_hide_bytes_that_are_no_text(tmp_path, ingest):
    bodies = pa.array([b"fine", b"caf\xe9", b"half \xed\xa0\xbd", None], pa.binary())
    keys = pa.array([b"a", b"b", b"c", b"d\xff"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"id": keys, "body": bodies.view(pa.string())}), tmp_path / "s.parquet")
    pq.write_table(pa.table({"id": [5, 6, 7, 8], "body": bodies}), tmp_path / "z.parquet")
    found = ingest(tmp_path / "*.parquet", key="id", text="body")
    assert found.records() == [("a", "fine"), ("5", "fine")]
    assert found.rejects() == [
        ("b", "not-utf8", 1),
        ("c", "lone-surrogate", 2),
        (None, "not-utf8", 3),
        ("6", "not-utf8", 1),
        ("7", "lone-surrogate", 2),
        ("8", "empty-text", 3),
    ]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        pytest.param(pa.array([1, None], pa.int16()), ["missing-key"], id="integers"),
        pytest.param(pa.array(["x", None]).dictionary_encode(), ["missing-key"], id="dictionary"),
        pytest.param(pa.array([1.0, None]), ["bad-key", "missing-key"], id="floats"),
        pytest.param(pa.array([True, None]), ["bad-key", "missing-key"], id="booleans"),
        pytest.param(pa.array([[1], None]), ["bad-key", "missing-key"], id="lists"),
        pytest.param(pa.array([{"a": 1}, None]), ["bad-key", "missing-key"], id="structs"),
        pytest.param(pa.array([date(2024, 1, 1), None]), ["bad-key", "missing-key"], id="dates"),
    ],
)
def test_keys_are_strings_or_integers(tmp_path, ingest, keys, expected):
    pq.write_table(pa.table({"id": keys, "body": ["a", "b"]}), tmp_path / "t.parquet")
    found = ingest(tmp_path / "t.parquet", key="id", text="body")
    assert [reason for (reason,) in found.rejects("reason")] == expected


def test_text_is_made_canonical(tmp_path, ingest):
    data = pa.table(
        {
            "id": [1, 2, 3],
            "title": ["cafe\u0301", None, "  "],
            "body": ["a\r\nb\rc", "plain", " kept "],
        }
    )
    pq.write_table(data, tmp_path / "t.parquet")
    found = ingest(tmp_path / "t.parquet", **TABLE)
    assert found.records("key", "text", "size") == [
        ("1", "café\n\na\nb\nc", 11),
        ("2", "plain", 5),
        ("3", " kept ", 6),
    ]


def test_a_text_column_of_numbers_is_no_text(tmp_path, ingest):
    pq.write_table(pa.table({"id": [1], "body": [7]}), tmp_path / "t.parquet")
    found = ingest(tmp_path / "t.parquet", key="id", text="body")
    assert found.rejects() == [("1", "bad-value", 0)]
    assert found.details() == ["text column 'body': 7 is int64; expected text"]


def test_a_text_beyond_the_limit(tmp_path, ingest, monkeypatch):
    monkeypatch.setattr("tasks.ingest.record_checks.MAX_TEXT", 5)
    (tmp_path / "t.csv").write_text("id,body\n1,12345\n2,123456\n3,äöüäö\n")
    found = ingest(tmp_path / "t.csv", key="id", text="body")
    assert found.records() == [("1", "12345"), ("3", "äöüäö")]
    assert found.rejects() == [("2", "text-too-long", 3)]
    assert found.details() == ["6 characters; at most 5 are taken: split the record"]


def test_a_line_too_long_to_hold_is_skipped(tmp_path, ingest, monkeypatch):
    monkeypatch.setattr("tasks.ingest.record_cutter.MAX_RECORD_BYTES", 1000)
    monkeypatch.setattr("tasks.ingest.record_cutter.BLOCK_BYTES", 100)
    monkeypatch.setattr("tasks.ingest.byte_chunks.CHUNK_BYTES", 64)
    (tmp_path / "t.csv").write_text(f"id,body\n1,a\n2,{'x' * 5000}\n3,c\n")
    found = ingest(tmp_path / "t.csv", key="id", text="body")
    assert found.records() == [("1", "a"), ("3", "c")]
    assert found.rejects() == [(None, "text-too-long", 3)]


def test_user_columns_are_renamed_and_cast(tmp_path, ingest):
    (tmp_path / "t.csv").write_text(
        "id,body,n,day,at,ok,note\n"
        "1,a,7,2024-02-29,2024-02-29T12:00:00+02:00,true,x\n"
        "2,b,,,,,\n"
        "3,c,seven,2024-02-29,,,\n"
        "4,d,1,2024-02-30,,,\n"
        "5,e,1,,noon,,\n"
    )
    found = ingest(
        tmp_path / "t.csv",
        key="id",
        text="body",
        columns=[
            {"name": "n", "as": "count", "type": "int32"},
            {"name": "day", "type": "date"},
            {"name": "at", "type": "timestamp"},
            {"name": "ok", "type": "bool"},
            "note",
        ],
    )
    noon = datetime(2024, 2, 29, 10, tzinfo=UTC)
    assert found.records("key", "count", "day", "at", "ok", "note") == [
        ("1", 7, date(2024, 2, 29), noon, True, "x"),
        ("2", None, None, None, None, ""),
    ]
    assert found.rejects() == [
        ("3", "bad-value", 4),
        ("4", "bad-value", 5),
        ("5", "bad-value", 6),
    ]
    assert found.details()[0] == "column 'count': 'seven' cannot be read as int32"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-01-02", datetime(2024, 1, 2, tzinfo=UTC)),
        ("2024-01-02T03:04:05Z", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2024-01-02 03:04:05.678+01:00", datetime(2024, 1, 2, 2, 4, 5, 678000, tzinfo=UTC)),
        ("20240102T030405", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("", None),
    ],
)
def test_times_in_any_iso_form(tmp_path, ingest, value, expected):
    (tmp_path / "t.csv").write_text(f"id,body,at\n1,a,{value}\n2,b,2000-01-01T00:00:00Z\n")
    found = ingest(tmp_path / "t.csv", key="id", text="body", time="at")
    assert found.records("time") == [(expected,), (datetime(2000, 1, 1, tzinfo=UTC),)]


def test_a_time_that_is_none_rejects_its_record(tmp_path, ingest):
    (tmp_path / "t.csv").write_text("id,body,at\n1,a,yesterday\n2,b,2000-01-01\n")
    found = ingest(tmp_path / "t.csv", key="id", text="body", time="at")
    assert found.records("key") == [("2",)]
    assert found.rejects() == [("1", "bad-value", 2)]


def test_a_time_in_seconds_and_one_in_milliseconds(tmp_path, ingest):
    at = pa.array([86_400, 1_700_000_000_000, None])
    table = pa.table({"id": [1, 2, 3], "body": ["a", "b", "c"], "at": at})
    pq.write_table(table, tmp_path / "t.parquet")
    found = ingest(tmp_path / "t.parquet", key="id", text="body", time="at")
    assert found.records("key", "time") == [("1", datetime(1970, 1, 2, tzinfo=UTC)), ("3", None)]
    assert found.rejects() == [("2", "bad-value", 1)]


@pytest.mark.parametrize("table", ["csv", "parquet"])
@pytest.mark.parametrize("field", ["key", "text", "columns", "time"])
def test_a_file_without_a_column_rejects_each_of_its_rows(tmp_path, ingest, table, field):
    for name, columns in {"a": ["id", "body", "extra"], "b": ["id", "body"]}.items():
        data = pa.table({column: ["x1", "x2"] for column in columns})
        if table == "csv":
            (tmp_path / f"{name}.csv").write_text(
                ",".join(columns)
                + "\n"
                + "".join(f"{','.join([v] * len(columns))}\n" for v in ("x1", "x2"))
            )
        else:
            pq.write_table(data, tmp_path / f"{name}.parquet")
    named = {"key": "id", "text": "body", field: ["extra"] if field == "columns" else "extra"}
    if field == "time":
        named |= {"time": None, "columns": ["extra"]}
    found = ingest(tmp_path / f"*.{table}", **named)
    key = None if field == "key" else "x1"
    first = 2 if table == "csv" else 0
    assert found.records("key") == [("x1",), ("x2",)]
    assert found.rejects() == [
        (key, "missing-column", first),
        (key and "x2", "missing-column", first + 1),
    ]
    assert found.details()[0] == "no column 'extra' (it has: id, body)"


def test_a_column_that_stands_twice_is_not_guessed(tmp_path, ingest):
    (tmp_path / "t.csv").write_text("id,body,body\n1,a,b\n")
    found = ingest(tmp_path / "t.csv", key="id", text="body")
    assert found.rejects() == [("1", "missing-column", 2)]
    assert found.details() == ["column 'body' stands more than once"]


def test_byte_order_marks(tmp_path, ingest):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfid,body\n1,a\n")
    (tmp_path / "b.csv").write_bytes("id,body\n2,b\n".encode("utf-16"))
    found = ingest(tmp_path / "*.csv", key="id", text="body")
    assert found.records() == [("1", "a")]
    assert found.rejects() == [(None, "not-utf8", None)]
    assert found.details() == ["the file is UTF-16; expected UTF-8: convert it"]


def test_what_was_read_before_a_file_breaks_off_is_kept(tmp_path, ingest):
    packed = gzip.compress(b"id,body\n" + b"".join(b"%d,text %d\n" % (i, i) for i in range(200)))
    (tmp_path / "a.csv.gz").write_bytes(packed[:-20])
    (tmp_path / "b.csv.gz").write_bytes(packed)
    found = ingest(tmp_path / "*.gz", key="id", text="body")
    whole = [(str(i), f"text {i}") for i in range(200)]
    first = found.records()[: found.parts[0].records]
    assert 100 < len(first) < 200
    assert first == whole[: len(first)]
    assert found.records()[len(first) :] == whole
    assert found.rejects("key", "reason", "detail") == [
        (None, "unreadable-file", "the gzip file ends too early")
    ]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("empty.csv", b""),
        ("blank.csv", b"\n"),
        ("quote.csv", b'"id,body\n1,a\n'),
        ("empty.parquet", b""),
        ("short.parquet", b"PAR1"),
        ("text.parquet", b"not a parquet file at all"),
        ("empty.csv.gz", b""),
        ("empty.csv.zst", b""),
        ("text.csv.gz", b"id,body\n1,a\n"),
        ("text.csv.zst", b"id,body\n1,a\n"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_reject(tmp_path, ingest, name, data):
    (tmp_path / name).write_bytes(data)
    (tmp_path / "good.csv").write_text("id,body\n1,a\n")
    found = ingest(tmp_path / "*.*", key="id", text="body")
    assert found.records() == [("1", "a")]
    assert found.rejects("key", "reason", "uri") == [
        (None, "unreadable-file", str(tmp_path / name))
    ]


def test_a_parquet_broken_in_its_second_row_group(tmp_path, ingest):
    file = tmp_path / "t.parquet"
    table = pa.table({"id": range(20), "body": [f"text {i}" for i in range(20)]})
    pq.write_table(table, file, row_group_size=10, use_dictionary=False, compression="zstd")
    start = pq.read_metadata(file).row_group(1).column(1).data_page_offset
    data = bytearray(file.read_bytes())
    data[start : start + 40] = b"\xff" * 40
    file.write_bytes(data)
    found = ingest(file, key="id", text="body")
    assert found.records() == [(str(i), f"text {i}") for i in range(10)]
    assert found.rejects("row", "key", "reason") == [(10, None, "unreadable-file")]


def test_tables_packed_with_zstd(tmp_path, ingest):
    with pa.CompressedOutputStream(str(tmp_path / "t.csv.zst"), "zstd") as out:
        out.write(b"id,body\n1,a\n")
    assert ingest(tmp_path / "t.csv.zst", key="id", text="body").records() == [("1", "a")]


def test_blocks_smaller_than_the_file_give_the_same(tmp_path, ingest, monkeypatch):
    lines = ["id,body"] + [f'{i},"line {i},\n""and"" more"' for i in range(300)]
    lines[100], lines[200] = "100,one,too many", '200,"open'
    (tmp_path / "t.csv").write_text("\n".join(lines))
    whole = ingest(tmp_path / "t.csv", key="id", text="body")
    for block, chunk in [(50, 7), (1000, 333)]:
        monkeypatch.setattr("tasks.ingest.record_cutter.BLOCK_BYTES", block)
        monkeypatch.setattr("tasks.ingest.byte_chunks.CHUNK_BYTES", chunk)
        monkeypatch.setattr("tasks.ingest.survey.READING_VERSION", block)
        found = ingest(tmp_path / "t.csv", key="id", text="body")
        assert found.records() == whole.records()
        assert found.rejects() == whole.rejects()
    assert whole.rejects() == [(None, "malformed-line", 200), (None, "malformed-line", 399)]
