"""`mode` and `on_repeat` on whole builds: dated deltas with updates, late ones, files that go."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_deltas import APPEND, LAX, NOW, first_three_days

from made_words import sentence
from schemas.manifest import Manifest
from tasks.table.companions import read_rejects


def test_a_month_of_dated_deltas(deltas):
    expected: dict[str, str] = {}
    for number in range(1, 31):
        records = {f"n{number}": sentence(number), f"n{number // 2}": sentence(number, 100)}
        deltas.put(number, records)
        expected |= records
        if number % 5 == 0:
            outcome = deltas.build()
            assert deltas.texts() == expected
    counts = outcome.manifest.counts
    assert (counts.records, counts.records_used) == (60, len(expected))
    assert counts.records_rejected == len(deltas.rejected(outcome)) == 60 - len(expected)
    assert {reason for _, reason, _ in deltas.rejected(outcome)} == {"superseded"}
    deltas.drop(*range(1, 28))
    outcome = deltas.build()
    assert deltas.texts() == expected
    assert outcome.manifest.counts.embedded == 0
    deltas.again()


def test_superseded_records_are_outside_the_reject_share(deltas):
    deltas.notes.changes["expectations"] = {"max_reject_share": 0.0}
    first_three_days(deltas)
    outcome = deltas.build()
    assert deltas.texts() == NOW
    assert deltas.rejected(outcome) == [
        ("b", "superseded", "2026-11-01"),
        ("c", "superseded", "2026-11-01"),
    ]


def test_a_file_that_is_gone_removes_nothing_and_counts_go_on(deltas):
    first_three_days(deltas)
    deltas.build()
    deltas.drop(1, 2)
    outcome = deltas.build()
    counts = outcome.manifest.counts
    assert deltas.texts() == NOW
    assert (counts.records, counts.records_used, counts.records_rejected) == (5, 5, 0)
    assert (counts.rows, counts.unchanged, counts.removed) == (5, 5, 0)
    [source] = outcome.manifest.sources
    assert (source.files, source.records, source.repeated) == (1, 5, 0)
    assert outcome.manifest.published is False
    deltas.again()


def test_a_record_gone_from_an_edited_file_stays(deltas):
    first_three_days(deltas)
    deltas.build()
    deltas.put(1, {"a": sentence(11)})
    deltas.put(3, {"e": sentence(5)})
    deltas.build()
    assert deltas.texts() == {**NOW, "a": "w11"}
    deltas.again()


def test_a_record_that_its_own_file_now_spoils_leaves(deltas):
    deltas.notes.changes["expectations"] = LAX
    first_three_days(deltas)
    deltas.build()
    deltas.put(2, {"b": sentence(20), "d": " "})
    outcome = deltas.build()
    assert deltas.texts() == {key: text for key, text in NOW.items() if key != "d"}
    assert ("d", "empty-text", "2026-11-02") in deltas.rejected(outcome)
    deltas.again()


def test_a_late_arrival_is_superseded_by_what_was_published(deltas):
    first_three_days(deltas)
    deltas.build()
    deltas.drop(2)
    deltas.put(9, {"b": sentence(99), "f": sentence(6)}, when=1)
    outcome = deltas.build()
    assert deltas.texts() == {**NOW, "f": "w6"}
    gone = deltas.path(2)
    batches = read_rejects(deltas.notes.ref, outcome.manifest.build_id)
    rejects = [row for batch in batches for row in batch.to_pylist()]
    assert {
        (r["key"], r["reason"]): r["detail"] for r in rejects if r["uri"] == str(deltas.path(9))
    } == {
        ("b", "superseded"): f"the published record of the key, from {gone}, is later "
        "(time 2026-11-02T00:00:00Z, this one's 2026-11-01T00:00:00Z)"
    }
    deltas.again()


def test_what_is_later_replaces_what_was_kept(deltas):
    first_three_days(deltas)
    deltas.build()
    deltas.drop(1, 2, 3)
    deltas.put(4, {"a": sentence(41)})
    counts = deltas.build().manifest.counts
    assert deltas.texts() == {**NOW, "a": "w41"}
    assert (counts.changed, counts.unchanged, counts.embedded, counts.records) == (1, 4, 1, 5)


@pytest.mark.parametrize(("rule", "stays"), [("reject", "w1"), ("latest", "w9")])
def test_without_a_time_file_order_decides(deltas, rule, stays):
    deltas.notes.changes["expectations"] = LAX
    deltas.notes.source(time=None, on_repeat=rule)
    deltas.put(1, {"a": sentence(1)})
    deltas.put(2, {"b": sentence(2)})
    deltas.build()
    deltas.drop(1)
    deltas.put(3, {"a": sentence(9)})
    outcome = deltas.build()
    assert deltas.texts() == {"a": stays, "b": "w2"}
    assert [key for key, *_ in deltas.rejected(outcome)] == (["a"] if rule == "reject" else [])
    deltas.again()


def test_an_earlier_file_that_comes_later_replaces_where_the_first_stays(deltas):
    deltas.notes.source(time=None, on_repeat="reject")
    deltas.put(5, {"a": sentence(5)})
    deltas.put(6, {"b": sentence(6)})
    deltas.build()
    deltas.drop(5)
    deltas.put(1, {"a": sentence(1)})
    deltas.build()
    assert deltas.texts() == {"a": "w1", "b": "w6"}


def test_a_folder_that_moved_holds_the_same_files(deltas):
    deltas.notes.changes["expectations"] = LAX
    deltas.notes.source(time=None, on_repeat="reject")
    first_three_days(deltas)
    deltas.build()
    deltas.drop(2)
    for name in ("moved", "moved again"):
        deltas.folder.rename(deltas.notes.folder / name)
        (deltas.notes.folder / name).joinpath("2026-11-01.parquet").touch()
        deltas.notes.source(path=f"{name}/*.parquet")
        outcome = deltas.build()
        rows = deltas.rows()
        assert {key: row["text"] for key, row in rows.items()} == {
            "docs:a": "w1",
            "docs:b": "w2",
            "docs:c": "w3",
            "docs:d": "w4",
            "docs:e": "w5",
        }
        assert outcome.manifest.counts.embedded == 0
        assert Path(rows["docs:a"]["uri"]).parent.name == name
        assert Path(rows["docs:d"]["uri"]).parent.name == "deltas"
        deltas.again()
        deltas.folder.mkdir(exist_ok=True)
        (deltas.notes.folder / name).rename(deltas.folder.with_name("next"))
        deltas.folder.rmdir()
        deltas.folder.with_name("next").rename(deltas.folder)
    # the file of `d` comes back at its relative path, without `d`: `d` stays; with it: replaced
    deltas.put(2, {"d": sentence(44)})
    deltas.notes.source(path="deltas/*.parquet")
    deltas.build()
    assert deltas.texts()["d"] == "w44"


def test_from_snapshot_to_append_rows_of_gone_files_stay_from_then_on(deltas):
    deltas.notes.source(mode="snapshot", max_shrink=1)
    first_three_days(deltas)
    deltas.build()
    deltas.drop(2)
    deltas.build()
    assert sorted(deltas.texts()) == ["a", "b", "c", "e"]
    assert deltas.texts()["b"] == "w2"
    deltas.notes.source(mode="append")
    deltas.drop(1)
    deltas.build()
    assert deltas.texts() == {"a": "w1", "b": "w2", "c": "w30", "e": "w5"}
    deltas.again()


def test_from_append_to_snapshot_they_leave_guarded_by_max_shrink(deltas):
    first_three_days(deltas)
    deltas.build()
    deltas.drop(1, 2)
    deltas.build()
    deltas.notes.source(mode="snapshot")
    refused = deltas.notes.build(yes=True)
    assert (refused.exit_code, refused.manifest.refused_by) == (3, ("max_shrink:docs",))
    assert "has 2 records, 5 in v0001" in refused.message
    deltas.notes.source(max_shrink=1)
    deltas.build()
    assert deltas.texts() == {"c": "w30", "e": "w5"}


def test_a_source_renamed_or_left_out_keeps_nothing(deltas):
    first_three_days(deltas)
    deltas.build()
    deltas.drop(1, 2)
    deltas.notes.source(name="papers")
    outcome = deltas.build()
    assert deltas.notes.content() == {"papers:c": "w30", "papers:e": "w5"}
    assert outcome.manifest.counts.embedded == 0


def test_all_files_gone_is_refused(deltas):
    first_three_days(deltas)
    deltas.build()
    deltas.drop(1, 2, 3)
    outcome = deltas.notes.build()
    assert (outcome.exit_code, outcome.manifest.refused_by) == (3, ("source:docs",))
    assert "matched no file" in outcome.message
    deltas.folder.rmdir()
    assert deltas.notes.build().manifest.refused_by == ("source:docs",)
    assert deltas.texts() == NOW


def test_superseded_records_that_go_are_no_loss(deltas):
    """A daily dump of everything: the old ones hold nothing that counts."""
    deltas.notes.source(mode="snapshot")
    every = {f"n{i}": sentence(i) for i in range(20)}
    for number in range(1, 6):
        deltas.put(number, every)
    deltas.build()
    deltas.drop(1, 2, 3, 4)
    [source] = deltas.build().manifest.sources
    assert (source.records, source.repeated) == (20, 0)


def test_a_release_that_does_not_tell_of_repeats_is_compared_with_all_records(deltas, monkeypatch):
    """Manifests of version 0.1.0 do not."""
    deltas.notes.source(mode="snapshot")
    deltas.put(1, {f"k{i}": sentence(i) for i in range(10)})
    deltas.put(2, {f"k{i}": sentence(i + 20) for i in range(10)})
    with monkeypatch.context() as patched:
        to_json = Manifest.to_json

        def without(manifest) -> str:
            said = json.loads(to_json(manifest))
            for source in said["sources"]:
                del source["repeated"], source["forgotten"], source["roots"]
            return json.dumps(said)

        patched.setattr(Manifest, "to_json", without)
        deltas.build()
    deltas.put(3, {"k0": sentence(99)})
    deltas.build()
    assert len(deltas.texts()) == 10


def test_two_append_sources_do_not_share_keys(deltas):
    timed = {**APPEND, "columns": [{"name": "updated", "type": "timestamp"}]}
    deltas.notes.changes["sources"] = [timed, {**timed, "name": "more", "path": "other.jsonl"}]
    other = deltas.notes.folder / "other.jsonl"
    line = {"id": "a", "body": sentence(7), "updated": "2026-11-01T00:00:00Z"}
    deltas.put(1, {"a": sentence(1)})
    deltas.put(2, {"b": sentence(2)})
    other.write_text(json.dumps(line) + "\n")
    deltas.build()
    deltas.drop(1)
    other.write_text(json.dumps({**line, "id": "z"}) + "\n")
    deltas.build()
    assert deltas.notes.content() == {
        "docs:a": "w1",
        "docs:b": "w2",
        "more:a": "w7",
        "more:z": "w7",
    }
    deltas.again()


TIMES = {
    "ISO in csv, as strings": ("csv", ["2026-11-02T08:00:00+02:00", "2026-11-01"], "updated"),
    "seconds in jsonl": ("jsonl", [1_793_600_000, 1_793_500_000], "updated"),
    "strings cast to timestamps": (
        *("csv", ["2026-11-02", "2026-11-01"]),
        {"name": "updated", "as": "at", "type": "timestamp"},
    ),
}


@pytest.mark.parametrize(("ending", "times", "column"), TIMES.values(), ids=TIMES)
def test_times_in_any_form_outlive_their_file(deltas, ending, times, column):
    deltas.notes.source(path=f"deltas/*.{ending}", columns=[column])
    deltas.folder.mkdir()

    def write(name: str, body: str, time: object) -> None:
        if ending == "csv":
            text = f"id,body,updated\nk,{body},{time}\n{name},w7,{time}\n"
        else:
            lines = [
                {"id": key, "body": b, "updated": time} for key, b in (("k", body), (name, "w7"))
            ]
            text = "".join(json.dumps(line) + "\n" for line in lines)
        (deltas.folder / f"{name}.{ending}").write_text(text)

    late, early = times
    write("a", "w1", late)
    deltas.build()
    (deltas.folder / f"a.{ending}").unlink()
    write("b", "w2", early)
    deltas.build()
    assert deltas.texts() == {"k": "w1", "a": "w7", "b": "w7"}
    write("c", "w3", late)
    deltas.build()
    assert deltas.texts()["k"] == "w3"  # as late, in a later file


def test_documents_in_a_folder(deltas):
    """The relative path is the key: a document's file is its own, and nobody else's."""
    folder = deltas.notes.folder / "cafe\u0301"
    folder.mkdir()
    deltas.notes.changes["expectations"] = LAX
    source = {"name": "docs", "kind": "text", "path": f"{folder.name}/*.txt", "mode": "append"}
    deltas.notes.changes["sources"] = [source]
    for name in ("a", "b", "e\u0301", "c"):
        (folder / f"{name}.txt").write_text(sentence(1, len(name)))
    deltas.build()
    for name in ("a", "e\u0301"):
        (folder / f"{name}.txt").unlink()
    (folder / "b.txt").write_text(sentence(9))
    (folder / "c.txt").write_text("")
    deltas.build()
    assert deltas.texts() == {"a.txt": "w1 w1", "b.txt": "w9", "\u00e9.txt": "w1 w2"}
    deltas.again()


def test_one_file_whose_lines_go(deltas):
    deltas.notes.source(path="notes.jsonl", time=None, columns=[])
    deltas.notes.changes["sources"][0] |= {"key": "key", "text": "text"}
    deltas.notes.write({"a": sentence(1), "b": sentence(2)})
    deltas.build()
    deltas.notes.write({"b": sentence(3)})
    deltas.build()
    assert deltas.texts() == {"a": "w1", "b": "w3"}


def test_a_dry_run_plans_with_kept_rows_and_writes_nothing(deltas):
    first_three_days(deltas)
    deltas.build()
    deltas.drop(1, 2)
    deltas.put(4, {"a": sentence(41), "f": sentence(6)})
    before = deltas.notes.files()
    counts = deltas.build(dry_run=True).manifest.counts
    assert (counts.new, counts.changed, counts.unchanged, counts.removed) == (1, 1, 4, 0)
    assert deltas.notes.files() == before
