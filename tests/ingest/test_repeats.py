"""Of a repeated key the first in (file, row) order stays, or the latest by `time`."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.arrow import RECORD_NAMES, records_schema
from schemas.refs import RecordsPart, RejectsRef
from tasks.ingest.repeats import decide


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


LATEST = {"key": "id", "text": "body", "on_repeat": "latest"}


def staying(found) -> list[tuple[str, str]]:
    """key, text of what is neither rejected for a repeated key nor for anything else."""
    lost = {(r["part"], r["row"]) for r in pq.read_table(found.repeats.path).to_pylist()}
    return [
        (row["key"], row["text"])
        for part in found.parts
        for row in pq.read_table(part.path).to_pylist()
        if (part.digest, row["row"]) not in lost
    ]


def test_the_latest_stays_over_files_and_rows(tmp_path, ingest):
    (tmp_path / "a.csv").write_text("id,body,at\n1,late,2026-11-09\n2,x,2026-11-01\n2,y,\n")
    (tmp_path / "b.csv").write_text("id,body,at\n1,early,2026-11-02\n2,z,\n3,c,\n")
    found = ingest(tmp_path / "*.csv", **LATEST, time="at")
    assert staying(found) == [("1", "late"), ("2", "x"), ("3", "c")]
    rows = pq.read_table(found.repeats.path).to_pylist()
    assert [(r["key"], r["reason"], r["part"], r["row"]) for r in rows] == [
        ("2", "superseded", found.parts[0].digest, 2),
        ("1", "superseded", found.parts[1].digest, 0),
        ("2", "superseded", found.parts[1].digest, 1),
    ]
    assert [r["detail"] for r in rows] == [
        f"the record of the key in {tmp_path / 'a.csv'} is later "
        f"(time {time}T00:00:00Z, this one's {own})"
        for time, own in [
            ("2026-11-01", "none"),
            ("2026-11-09", "2026-11-02T00:00:00Z"),
            ("2026-11-01", "none"),
        ]
    ]
    assert {(r["stage"], r["level"], r["kind"], r["source"]) for r in rows} == {
        ("ingest", "record", "text", "docs")
    }
    assert found.repeats.records == 3


def test_without_a_time_and_at_the_same_time_the_last_stays(tmp_path, ingest):
    (tmp_path / "a.csv").write_text("id,body,at\n1,a,2026-11-09\n1,b,2026-11-09\n2,a,\n")
    (tmp_path / "b.csv").write_text("id,body,at\n2,b,\n1,c,2026-11-09\n")
    assert staying(ingest(tmp_path / "*.csv", **LATEST)) == [("2", "b"), ("1", "c")]
    assert staying(ingest(tmp_path / "*.csv", **LATEST, time="at")) == [("2", "b"), ("1", "c")]


def test_times_to_the_microsecond_and_in_any_zone(tmp_path, ingest):
    (tmp_path / "a.csv").write_text(
        "id,body,at\n1,a,2026-11-09T12:00:00.000002Z\n1,b,2026-11-09T12:00:00.000001Z\n"
        "2,a,2026-11-09T12:00:00+00:00\n2,b,2026-11-09T12:30:00+01:00\n"
    )
    assert staying(ingest(tmp_path / "a.csv", **LATEST, time="at")) == [("1", "a"), ("2", "a")]


def test_one_source_keeps_the_latest_and_the_other_the_first(tmp_path, ingest):
    (tmp_path / "a.csv").write_text("id,body\n1,a\n1,b\n")
    one = {"kind": "text", "path": str(tmp_path / "a.csv"), "key": "id", "text": ["body"]}
    found = ingest(sources=[{**one, "name": "x", "on_repeat": "latest"}, {**one, "name": "y"}])
    assert staying(found) == [("1", "b"), ("1", "a")]
    reasons = pq.read_table(found.repeats.path)["reason"].to_pylist()
    assert reasons == ["superseded", "repeated-key"]


def test_a_decision_is_found_again_and_another_rule_is_another(tmp_path, ingest, monkeypatch):
    (tmp_path / "a.csv").write_text("id,body\n1,a\n1,b\n")
    first = ingest(tmp_path / "a.csv", **LATEST)
    reject = {**LATEST, "on_repeat": "reject"}
    assert staying(ingest(tmp_path / "a.csv", **reject)) == [("1", "a")]

    def decided_again(*_):
        raise AssertionError("decided again")

    monkeypatch.setattr("tasks.ingest.repeats.decide", decided_again)
    assert ingest(tmp_path / "a.csv", **LATEST).repeats == first.repeats


RECORDS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from([None, 1, 2, 3])), min_size=1, max_size=12
)


def made_part(folder, name: str, rows: list[tuple]) -> RecordsPart:
    """A records file of (key, time, place) rows; the place stands as text."""
    records = [
        {
            **dict.fromkeys(RECORD_NAMES),
            **{"row": at, "source": "docs", "kind": "text", "uri": name, "size": 1},
            **{"key": key, "time": time and datetime(2026, 11, time, tzinfo=UTC), "text": place},
        }
        for at, (key, time, place) in enumerate(rows)
    ]
    path = folder / f"{name}.parquet"
    pq.write_table(pa.Table.from_pylist(records, records_schema()), path)
    return RecordsPart(name, "docs", "text", str(path), len(rows), RejectsRef(""))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=RECORDS, cuts=st.sets(st.integers(1, 11)), latest=st.booleans())
def test_who_stays_does_not_depend_on_how_records_lie_in_parts(tmp_path, records, cuts, latest):
    rows = [(key, time, str(place)) for place, (key, time) in enumerate(records)]
    borders = [0, *sorted(cut for cut in cuts if cut < len(rows)), len(rows)]
    parts = [
        made_part(tmp_path, f"p{at:02}", rows[start:end])
        for at, (start, end) in enumerate(pairwise(borders))
    ]
    decision = decide(parts, ["docs"] if latest else [])
    lost = {(int(row["part"]), row["row"]) for row in decision.losers.iter_rows(named=True)}
    stay = sorted(
        rows[start + row]
        for at, (start, end) in enumerate(pairwise(borders))
        for row in range(end - start)
        if (at, row) not in lost
    )
    expected = []
    for key in {key for key, *_ in rows}:
        mine = [row for row in rows if row[0] == key]
        order = {row: (row[1] or 0, int(row[2])) for row in mine}
        expected.append(max(mine, key=order.get) if latest else mine[0])
    assert stay == sorted(expected)
