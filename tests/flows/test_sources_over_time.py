"""`mode` and `on_repeat` on whole builds: dated deltas with updates, late ones, files that go."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import lance
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import made_embedder
from made_words import sentence
from tasks.table.companions import read_rejects

APPEND = {
    "name": "docs",
    "kind": "text",
    "path": "deltas/*.parquet",
    "key": "id",
    "text": ["body"],
    "columns": ["updated"],
    "time": "updated",
    "mode": "append",
    "on_repeat": "latest",
}
LAX = {"min_rows": 1, "max_reject_share": 1.0}
FIRST_DAY = datetime(2026, 11, 1, tzinfo=UTC)


def day(number: int, hour: int = 0) -> datetime:
    """Day `number` of the month, from 1."""
    return FIRST_DAY + timedelta(days=number - 1, hours=hour)


@dataclass
class Deltas:
    """The space `notes` over dated files, and what happens to them."""

    notes: object

    @property
    def folder(self) -> Path:
        return self.notes.folder / "deltas"

    def path(self, number: int) -> Path:
        return self.folder / f"2026-11-{number:02}.parquet"

    def put(self, number: int, records: dict[str, str], when: int | None = None, **columns) -> None:
        """The file of a day: key → text, with the time of that day or of day `when`."""
        self.folder.mkdir(exist_ok=True)
        rows = {
            "id": list(records),
            "body": list(records.values()),
            "updated": [day(when or number)] * len(records),
            **columns,
        }
        pq.write_table(pa.table(rows), self.path(number))

    def drop(self, *numbers: int) -> None:
        for number in numbers:
            self.path(number).unlink()

    def build(self, **overrides):
        outcome = self.notes.build(**{"yes": True, **overrides})
        assert outcome.exit_code == 0, outcome.message
        assert outcome.manifest.counts.problems() == []
        return outcome

    def again(self) -> None:
        """A build without a change: it publishes and embeds nothing and writes to no table."""
        before = self.notes.tables()
        manifest = self.build().manifest
        assert (manifest.published, manifest.counts.embedded) == (False, 0)
        assert self.notes.tables() == before

    def texts(self) -> dict[str, str]:
        return {key.partition(":")[2]: text for key, text in self.notes.content().items()}

    def rejected(self, outcome) -> list[tuple[str, str, str]]:
        """key, reason and file of each reject of a build."""
        rows = read_rejects(self.notes.ref, outcome.manifest.build_id).to_dicts()
        return sorted((r["key"], r["reason"], Path(r["uri"]).stem) for r in rows)

    def rows(self) -> dict[str, dict]:
        table = lance.dataset(self.notes.ref.path, version="prod").to_table()
        return {row["id"]: row for row in table.to_pylist()}


@pytest.fixture
def deltas(notes, monkeypatch) -> Deltas:
    monkeypatch.setattr("tasks.embed.embed_shard.load", made_embedder.WordEmbedder)
    notes.changes |= {"sources": [APPEND]}
    (notes.folder / "notes.jsonl").unlink()
    return Deltas(notes)


def first_three_days(deltas: Deltas) -> None:
    deltas.put(1, {"a": sentence(1), "b": sentence(2), "c": sentence(3)})
    deltas.put(2, {"b": sentence(20), "d": sentence(4)})
    deltas.put(3, {"c": sentence(30), "e": sentence(5)})


NOW = {"a": "w1", "b": "w20", "c": "w30", "d": "w4", "e": "w5"}


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
    rejects = read_rejects(deltas.notes.ref, outcome.manifest.build_id).to_dicts()
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


def test_a_column_added_renamed_and_retyped_with_rows_kept(deltas):
    first_three_days(deltas)
    deltas.build()
    deltas.drop(1, 2)
    deltas.put(3, {"c": sentence(30), "e": sentence(5)}, lang=["de", None])
    stamp = {"name": "updated", "as": "changed", "type": "string"}
    deltas.notes.source(columns=[stamp, "lang"])
    outcome = deltas.build()
    assert outcome.manifest.counts.embedded == 0
    columns = {k: (row["changed"][:10], row["lang"]) for k, row in deltas.rows().items()}
    assert columns == {
        "docs:a": ("2026-11-01", None),
        "docs:b": ("2026-11-02", None),
        "docs:c": ("2026-11-03", "de"),
        "docs:d": ("2026-11-02", None),
        "docs:e": ("2026-11-03", None),
    }
    deltas.again()
    deltas.put(4, {"a": sentence(99)}, when=1, lang=["fr"])  # as old as what is kept: later file
    deltas.put(5, {"d": sentence(99)}, when=1, lang=["fr"])  # older
    deltas.build()
    assert deltas.texts() == {**NOW, "a": "w99"}


def test_a_type_that_a_kept_value_cannot_have_is_refused(deltas):
    deltas.notes.source(columns=["updated", "grade"])
    deltas.put(1, {"a": sentence(1)}, grade=["good"])
    deltas.put(2, {"b": sentence(2)}, grade=["1"])
    deltas.build()
    deltas.drop(1)
    deltas.notes.source(columns=["updated", {"name": "grade", "type": "int32"}])
    with pytest.raises(Exception, match="'good' of the published record 'a' cannot be read as"):
        deltas.build()


def test_another_vector_type_rewrites_kept_rows_too(deltas):
    first_three_days(deltas)
    deltas.build()
    deltas.drop(1, 2)
    deltas.notes.changes["publish"] = {"vector_type": "float32"}
    counts = deltas.build().manifest.counts
    assert (counts.embedded, counts.rows) == (0, 5)
    assert deltas.texts() == NOW
    deltas.again()


def test_vectors_are_computed_anew_from_kept_texts(deltas):
    first_three_days(deltas)
    deltas.build()
    deltas.drop(1, 2)
    deltas.notes.changes["embedder"] = {**deltas.notes.data["embedder"], "precision": "bf16"}
    counts = deltas.build().manifest.counts
    assert (counts.embedded, counts.changed, counts.rows) == (5, 5, 5)
    assert deltas.texts() == NOW


def test_chunks_of_kept_documents_keep_their_ids(deltas):
    deltas.notes.changes["chunk"] = {"max_tokens": 8, "overlap": 2}
    long = sentence(*range(20))
    deltas.put(1, {"a": long, "b": long})
    deltas.put(2, {"b": sentence(50, 51)})
    deltas.build()
    before = deltas.rows()
    assert sum(key.startswith("docs:a#") for key in before) > 2
    deltas.drop(1)
    counts = deltas.build().manifest.counts
    assert deltas.rows() == before
    assert (counts.records, counts.items, counts.unchanged) == (2, len(before), len(before))
    deltas.again()
    deltas.notes.changes["chunk"] = {"max_tokens": 16}  # what has no file stays as it was cut
    deltas.put(3, {"c": long})
    deltas.build()
    after = deltas.rows()
    assert {k: v["text"] for k, v in after.items() if v["key"] == "a"} == {
        k: v["text"] for k, v in before.items() if v["key"] == "a"
    }
    assert sum(key.startswith("docs:c#") for key in after) == 2


def test_marks_of_duplicates_look_at_kept_rows(deltas):
    deltas.put(1, {"a": sentence(1)})
    deltas.put(2, {"b": sentence(2)})
    deltas.build()
    deltas.drop(1)
    deltas.put(3, {"z": sentence(1)})
    deltas.build()
    assert {k: row["duplicate_of"] for k, row in deltas.rows().items()} == {
        "docs:a": None,
        "docs:b": None,
        "docs:z": "docs:a",  # the earlier one is kept: its time is a column of the table
    }


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


def test_min_rows_and_the_reject_share_count_kept_records(deltas):
    deltas.notes.changes["expectations"] = {"min_rows": 5, "max_reject_share": 0.2}
    first_three_days(deltas)
    deltas.build()
    deltas.drop(1, 2, 3)
    deltas.put(4, {"f": " ", "g": sentence(7)})
    outcome = deltas.build()
    [share] = [a for a in outcome.manifest.audits if a.name == "max_reject_share:docs"]
    assert share.value == pytest.approx(1 / 7)
    assert deltas.texts() == {**NOW, "g": "w7"}


def test_a_refused_build_counts_what_is_kept(deltas):
    first_three_days(deltas)
    deltas.build()
    deltas.drop(1, 2)
    deltas.put(4, {f"x{i}": " " for i in range(9)})
    outcome = deltas.notes.build()
    counts = outcome.manifest.counts
    assert outcome.manifest.refused_by == ("max_reject_share:docs",)
    assert (counts.records, counts.records_used, counts.problems()) == (14, 5, [])


def test_kept_texts_are_read_once_over_many_releases(deltas, monkeypatch):
    first_three_days(deltas)
    deltas.build()
    deltas.drop(1, 2)
    deltas.put(4, {"f": sentence(6)})
    deltas.build()
    import tasks.ingest.kept

    def read_again(*_: object) -> None:
        raise AssertionError("a kept text was read again")

    monkeypatch.setattr(tasks.ingest.kept, "_write", read_again)
    for number in (5, 6):
        deltas.put(number, {f"g{number}": sentence(number)})
        deltas.build()
    assert deltas.texts() == {**NOW, "f": "w6", "g5": "w5", "g6": "w6"}


def test_without_the_workdir_the_table_is_enough(deltas):
    first_three_days(deltas)
    deltas.build()
    deltas.drop(1, 2)
    deltas.build()
    shutil.rmtree(deltas.notes.folder / "work")
    deltas.again()
    assert deltas.texts() == NOW


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
