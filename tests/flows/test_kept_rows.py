"""Published rows whose files are gone, through everything that happens to a table."""

from __future__ import annotations

import shutil

import pytest
from made_deltas import NOW, first_three_days

from made_words import sentence
from schemas.errors import UsageError


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


def test_another_key_gives_other_ids_and_keeps_no_record_twice(deltas):
    names = {"a": "a2", "b": "b2", "c": "c2"}
    deltas.put(1, {"a": sentence(1), "b": sentence(2)}, uid=[names["a"], names["b"]])
    deltas.put(2, {"c": sentence(3)}, uid=[names["c"]])
    deltas.build()
    deltas.drop(1)
    deltas.notes.source(key="uid")
    counts = deltas.build().manifest.counts
    assert (counts.new, counts.removed, counts.unchanged, counts.embedded) == (1, 1, 2, 0)
    assert deltas.texts() == {"a": "w1", "b": "w2", "c2": "w3"}  # what has no file has no other key
    deltas.again()


def test_a_type_that_a_kept_value_cannot_have_is_refused(deltas):
    deltas.notes.source(columns=["updated", "grade"])
    deltas.put(1, {"a": sentence(1)}, grade=["good"])
    deltas.put(2, {"b": sentence(2)}, grade=["1"])
    deltas.build()
    deltas.drop(1)
    deltas.notes.source(columns=["updated", {"name": "grade", "type": "int32"}])
    with pytest.raises(UsageError, match="'good' of the published record 'a' cannot be read as"):
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


@pytest.mark.parametrize("step", ["gather", "plan_rows", "embed_rows", "audit_candidate"])
def test_what_another_build_published_meanwhile_is_kept_too(deltas, monkeypatch, step):
    """The other build read a file that is gone when this one plans again."""
    import flows.compose

    first_three_days(deltas)
    deltas.build()
    deltas.put(4, {"f": sentence(6)})
    real = getattr(flows.compose, step)

    def late(*arguments, **options):
        monkeypatch.setattr(flows.compose, step, real)
        deltas.put(5, {"a": sentence(50), "g": sentence(7)})
        deltas.build()
        deltas.drop(1, 5)
        deltas.put(6, {"h": sentence(8)})
        return real(*arguments, **options)

    monkeypatch.setattr(flows.compose, step, late)
    deltas.build()
    deltas.build()  # what came while the first had read its sources already
    assert deltas.texts() == {**NOW, "a": "w50", "f": "w6", "g": "w7", "h": "w8"}
    deltas.again()
