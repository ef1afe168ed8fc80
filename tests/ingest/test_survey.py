"""Columns and their types, parts and what names them, and the mistakes that a survey refuses."""

from __future__ import annotations

import decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import UsageError
from tasks.ingest.column_types import arrow_type, type_name
from tasks.ingest.survey import survey


@pytest.fixture
def tables(tmp_path):
    """The same two columns as csv, jsonl and parquet."""
    (tmp_path / "t.csv").write_text("id,body,n\n1,a,7\n")
    (tmp_path / "t.jsonl").write_text('{"id": 1, "body": "a", "n": 7, "at": "2024-01-01"}\n')
    numbers = pa.array([7], pa.int16())
    labels = pa.array(["x"]).dictionary_encode()
    pq.write_table(
        pa.table({"id": [1], "body": ["a"], "n": numbers, "label": labels}), tmp_path / "t.parquet"
    )
    return tmp_path


def columns(found):
    """Name → type."""
    return {field.name: str(field.type) for field in found.columns}


@pytest.mark.parametrize(
    ("file", "names", "expected"),
    [
        ("t.csv", ["n"], {"n": "string"}),
        ("t.jsonl", ["n", "at"], {"n": "int64", "at": "string"}),
        ("t.parquet", ["label", "n"], {"label": "string", "n": "int16"}),
        ("t.csv", [{"name": "n", "as": "count", "type": "int32"}], {"count": "int32"}),
        ("t.csv", [{"name": "n", "type": "timestamp"}], {"n": "timestamp[us, tz=UTC]"}),
        ("t.csv", [{"name": "n", "type": "list<string>"}], {"n": "list<item: string>"}),
    ],
)
def test_types_of_columns(tables, spec_of, file, names, expected):
    found = survey(spec_of(tables / file, key="id", text="body", columns=names))
    assert columns(found) == expected
    (part,) = found.listings[0].parts
    assert [(name, str(arrow_type(kind))) for name, kind in part.columns] == list(expected.items())


def test_the_published_types_win_unless_the_spec_declares_one(tables, spec_of):
    known = pa.schema([("n", pa.int64()), ("gone", pa.bool_())])
    named = {"key": "id", "text": "body"}
    undeclared = spec_of(tables / "t.csv", **named, columns=["n"])
    assert columns(survey(undeclared, known)) == {"n": "int64"}
    declared = spec_of(tables / "t.csv", **named, columns=[{"name": "n", "type": "float64"}])
    assert columns(survey(declared, known)) == {"n": "double"}


def test_two_sources_share_a_column_of_one_type(tables, spec_of):
    def sources(*names):
        return spec_of(
            sources=[
                {
                    "name": f"s{i}",
                    "kind": "text",
                    "path": str(tables / name),
                    "key": "id",
                    "text": ["body"],
                    "columns": ["n"],
                }
                for i, name in enumerate(names)
            ]
        )

    assert columns(survey(sources("t.jsonl", "t.jsonl"))) == {"n": "int64"}
    with pytest.raises(UsageError, match=r"sources\[1\]\.columns\[0\] 'n': int64, but string in"):
        survey(sources("t.csv", "t.jsonl"))
    known = pa.schema([("n", pa.string())])
    assert columns(survey(sources("t.csv", "t.jsonl"), known)) == {"n": "string"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"text": "body"}, r"sources\[0\]\.key: not set, but 't\.csv' is a table"),
        ({"key": "id"}, r"sources\[0\]\.text: not set, but 't\.csv' is a table; expected the name"),
    ],
)
def test_what_a_survey_refuses(tables, spec_of, fields, message):
    with pytest.raises(UsageError, match=message):
        survey(spec_of(tables / "t.csv", **fields))


@pytest.mark.parametrize("field", ["key", "text", "columns", "time"])
def test_documents_have_no_columns_to_name(tmp_path, spec_of, field):
    (tmp_path / "a.md").write_text("x")
    value = ["name"] if field in ("text", "columns") else "name"
    with pytest.raises(UsageError, match=rf"sources\[0\]\.{field} .*no file of this source has"):
        survey(spec_of(tmp_path / "a.md", **{field: value}))


def test_tables_are_parts_of_their_own_and_documents_are_grouped(tmp_path, spec_of):
    for i in range(20):
        (tmp_path / f"{i:02}.md").write_text("x")
    assert [len(p.files) for p in survey(spec_of(tmp_path)).listings[0].parts] == [20]
    (tmp_path / "10.csv").write_text("id,body\n")
    parts = survey(spec_of(tmp_path, key="id", text="body")).listings[0].parts
    assert [len(part.files) for part in parts] == [10, 1, 10]
    assert [f.key for part in parts for f in part.files] == sorted(
        p.name for p in tmp_path.iterdir()
    )


def test_an_edit_reads_its_own_group_again(tmp_path, spec_of, monkeypatch):
    monkeypatch.setattr("tasks.ingest.grouping.GROUP_FILES", 8)
    for i in range(200):
        (tmp_path / f"{i:03}.md").write_text("x")

    def digests():
        return {part.digest for part in survey(spec_of(tmp_path)).listings[0].parts}

    first = digests()
    assert 10 < len(first) < 60
    assert digests() == first
    (tmp_path / "100.md").write_text("another text")
    edited = digests()
    assert len(edited - first) == 1
    (tmp_path / "100a.md").write_text("x")
    added = digests()
    assert len(added - edited) <= 2
    (tmp_path / "100.md").unlink()
    assert len(digests() - added) <= 2


def test_what_names_a_part(tables, spec_of):
    def digest(**changed):
        fields = {"key": "id", "text": "body", "columns": [{"name": "n", "type": "string"}]}
        return (
            survey(spec_of(tables / "t.csv", **{**fields, **changed})).listings[0].parts[0].digest
        )

    same = [
        digest(),
        digest(max_shrink=0.9),
        digest(mode="append"),
        digest(on_repeat="latest"),
    ]
    other = [
        digest(name="other"),
        digest(key="n"),
        digest(text=["body", "n"]),
        digest(time="n"),
        digest(columns=[]),
        digest(columns=[{"name": "n", "type": "int8"}]),
        digest(columns=[{"name": "n", "as": "m", "type": "string"}]),
    ]
    assert len(set(same)) == 1
    assert len({same[0], *other}) == 1 + len(other)


def test_a_fingerprint_follows_the_files(tables, spec_of):
    spec = spec_of(tables / "*.csv", key="id", text="body")
    first = survey(spec).listings[0]
    assert (first.name, first.kind, first.files) == ("docs", "text", 1)
    assert survey(spec).listings[0] == first
    (tables / "u.csv").write_text("id,body\n")
    assert survey(spec).listings[0].fingerprint != first.fingerprint


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.int8(),
        pa.float32(),
        pa.bool_(),
        pa.date32(),
        pa.timestamp("us", tz="UTC"),
        pa.timestamp("ns"),
        pa.decimal128(10, 2),
        pa.list_(pa.string()),
        pa.struct([("a", pa.list_(pa.int64()))]),
    ],
    ids=str,
)
def test_a_type_travels_by_its_name(kind):
    assert arrow_type(type_name(kind)) == kind


def test_any_type_that_parquet_has_is_carried(tmp_path, ingest):
    table = pa.table(
        {
            "id": [1],
            "body": ["a"],
            "price": pa.array([decimal.Decimal("1.50")], pa.decimal128(10, 2)),
            "tags": [["x", "y"]],
            "place": [{"lat": 1.5}],
            "blob": [b"\xff"],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    names = ["price", "tags", "place", "blob"]
    found = ingest(tmp_path / "t.parquet", key="id", text="body", columns=names)
    assert found.records(*names) == [(decimal.Decimal("1.50"), ["x", "y"], {"lat": 1.5}, b"\xff")]
