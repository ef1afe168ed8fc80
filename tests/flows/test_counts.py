"""Promise 4: in every manifest the counts add up, whatever the build came to."""

from __future__ import annotations

import numpy as np
import pytest

from made_words import sentence
from tasks.table.companions import count_rejects, set_hold


def first(notes, texts, spoiled):
    return notes.build()


def with_rejects(notes, texts, spoiled):
    notes.write({**texts, "blank": " "})
    return notes.build()


def unchanged(notes, texts, spoiled):
    with_rejects(notes, texts, spoiled)
    return notes.build()


def dry_run_of_the_first(notes, texts, spoiled):
    notes.write({**texts, "blank": " "})
    return notes.build(dry_run=True)


def dry_run_of_a_change(notes, texts, spoiled):
    notes.build()
    notes.write({**texts, "n1": sentence(300), "z": texts["n2"]})
    return notes.build(dry_run=True)


def refused_by_validation(notes, texts, spoiled):
    notes.write({**texts, **{f"blank{i}": "" for i in range(6)}})
    return notes.build()


def refused_because_it_shrank(notes, texts, spoiled):
    notes.build()
    notes.write({key: texts[key] for key in list(texts)[:10]})
    return notes.build()


def refused_without_yes(notes, texts, spoiled):
    notes.build()
    notes.write({key: sentence(i, 200) for i, key in enumerate(texts)})
    return notes.build()


def refused_by_a_gate(notes, texts, spoiled):
    notes.build()
    notes.write({**texts, **{f"m{i}": sentence(i, i + 1) for i in range(60)}})
    spoiled(lambda vectors: np.tile(vectors[:1], (len(vectors), 1)))
    return notes.build()


def refused_by_a_hold(notes, texts, spoiled):
    notes.build()
    set_hold(notes.ref, "counting again", "ada")
    notes.write({**texts, "fresh": sentence(390)})
    return notes.build()


def refused_by_a_source(notes, texts, spoiled):
    notes.build()
    (notes.folder / "notes.jsonl").unlink()
    return notes.build()


def refused_first_build(notes, texts, spoiled):
    spoiled(lambda vectors: vectors * 3)
    return notes.build()


def rejected_by_the_embedder(notes, texts, spoiled):
    notes.write({**texts, "poison": sentence(399)})

    def change(vectors):
        bad = np.isclose(vectors, poison, atol=1e-6).all(axis=1)
        return np.where(bad[:, None], np.nan, vectors)

    from tasks.embedders.load import load
    from tasks.embedders.resolve import resolve

    embedder = load(resolve(notes.spec.embedder, {"text"}))
    poison = embedder.embed_texts([sentence(399)])[0]
    spoiled(change)
    return notes.build()


@pytest.mark.parametrize(
    ("scene", "code", "records", "items"),
    [
        # records, used, rejected · items, rows, items rejected, embedded, reused
        (first, 0, (30, 30, 0), (30, 30, 0, 30, 0)),
        (with_rejects, 0, (31, 30, 1), (30, 30, 0, 30, 0)),
        (unchanged, 0, (31, 30, 1), (30, 30, 0, 0, 0)),
        (dry_run_of_the_first, 0, (31, 30, 1), (30, 30, 0, 0, 0)),
        (dry_run_of_a_change, 0, (31, 31, 0), (31, 31, 0, 0, 1)),
        (refused_by_validation, 3, (36, 30, 6), (0, 0, 0, 0, 0)),
        (refused_because_it_shrank, 3, (10, 10, 0), (10, 10, 0, 0, 0)),
        (refused_without_yes, 3, (30, 30, 0), (30, 30, 0, 0, 0)),
        (refused_by_a_gate, 3, (90, 90, 0), (90, 90, 0, 60, 0)),
        (refused_by_a_hold, 3, (31, 31, 0), (31, 31, 0, 1, 0)),
        (refused_by_a_source, 3, (0, 0, 0), (0, 0, 0, 0, 0)),
        (refused_first_build, 3, (30, 30, 0), (30, 30, 0, 30, 0)),
        (rejected_by_the_embedder, 0, (31, 31, 0), (31, 30, 1, 30, 0)),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_the_counts_add_up(notes, texts, spoiled, scene, code, records, items):
    outcome = scene(notes, texts, spoiled)
    counts = outcome.manifest.counts
    assert outcome.exit_code == code, outcome.message
    assert counts.problems() == []
    assert (counts.records, counts.records_used, counts.records_rejected) == records
    assert (
        *(counts.items, counts.rows, counts.items_rejected),
        *(counts.embedded, counts.reused),
    ) == items
    assert sum(source.records for source in outcome.manifest.sources) == counts.records
    stored = count_rejects(notes.ref, outcome.manifest.build_id)["count"].sum()
    recorded = outcome.report is not None  # a dry run and a build without change write nothing
    assert stored == recorded * (counts.records_rejected + counts.items_rejected)


def test_a_published_record_that_is_now_rejected_is_removed_and_rejected(notes, texts):
    notes.build()
    notes.write({**texts, "n3": " "})
    outcome = notes.build()
    counts = outcome.manifest.counts
    assert (counts.removed, counts.records_rejected, counts.rows) == (1, 1, 29)
    assert counts.problems() == []
    assert "docs:n3" not in notes.content()
    assert "docs:n3" in notes.content("v0001")
    rejects = count_rejects(notes.ref, outcome.manifest.build_id)
    assert rejects["reason"].to_list() == ["empty-text"]


def test_an_item_that_cannot_be_embedded_any_more_leaves_the_table(notes, texts, spoiled):
    """Removed and rejected, one level down: its row goes, the item is counted."""
    notes.build()
    notes.write({**texts, "n3": sentence(390)})
    spoiled(lambda vectors: vectors * np.nan if len(vectors) == 1 else vectors)
    counts = notes.build().manifest.counts
    assert (counts.removed, counts.items_rejected, counts.rows) == (1, 1, 29)
    assert counts.problems() == []
    assert "docs:n3" not in notes.content()


def test_files_that_are_not_read_again_count(notes, texts):
    notes.source(path="notes*.jsonl")
    notes.build()
    (notes.folder / "notes2.jsonl").write_text('{"key": "late", "text": "w1 w2"}\n')
    counts = notes.build().manifest.counts
    assert (counts.records, counts.rows, counts.new, counts.unchanged) == (31, 31, 1, 30)


def test_duplicates_are_marked_not_removed(notes, texts):
    notes.write({**texts, "copy": texts["n0"], "again": texts["n0"]})
    counts = notes.build().manifest.counts
    assert (counts.rows, counts.duplicates.exact, counts.embedded) == (32, 2, 30)
