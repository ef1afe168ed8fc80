"""The whole way of a build, on a real table with a small real model."""

from __future__ import annotations

import lance
import numpy as np
import pytest

from made_words import sentence
from schemas.errors import SourceError, UsageError
from schemas.manifest import Manifest
from tasks.table.companions import count_rejects, read_builds, release_hold, set_hold


def test_the_first_build_publishes_v0001(notes):
    outcome = notes.build()
    manifest = outcome.manifest
    assert (outcome.exit_code, manifest.release, manifest.published) == (0, "v0001", True)
    assert "published v0001 of 'notes': 30 rows (30 new, 0 changed, 0 removed)" in outcome.message
    assert notes.content()["docs:n7"] == sentence(7, 47, 87)
    assert manifest.counts.problems() == []
    assert manifest.counts.records == manifest.counts.rows == manifest.counts.embedded == 30
    assert outcome.report.is_file()
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_a_build_without_change_writes_nothing(notes):
    notes.build()
    before = notes.files()
    outcome = notes.build()
    assert (outcome.exit_code, outcome.manifest.release) == (0, "v0001")
    assert not outcome.manifest.published
    assert "v0001 stands, nothing was written" in outcome.message
    assert notes.files() == before


def test_only_what_changed_is_embedded(notes):
    texts = {f"n{i}": sentence(i, i + 40, i + 80) for i in range(30)}
    notes.build()
    texts["n3"] = sentence(300, 301)  # edited
    texts["moved"] = texts.pop("n4")  # the same content under another id
    texts["fresh"] = sentence(302, 303)
    del texts["n5"]
    notes.write(texts)
    counts = notes.build().manifest.counts
    assert (counts.new, counts.changed, counts.removed) == (2, 1, 2)
    assert counts.unchanged == 27
    assert (counts.embedded, counts.reused) == (2, 1)
    assert notes.content() == {f"docs:{key}": text for key, text in texts.items()}
    assert notes.content("v0001")["docs:n5"] == sentence(5, 45, 85)


def test_exact_copies_are_marked_and_judged_again(notes):
    texts = {"b": sentence(1, 2), "a": sentence(1, 2), "c": sentence(3)}
    notes.write(texts)
    notes.source(max_shrink=1)
    assert notes.build().manifest.counts.duplicates.exact == 1
    assert marks(notes) == {"docs:a": None, "docs:b": "docs:a", "docs:c": None}
    notes.write({"b": texts["b"], "c": texts["c"]})
    counts = notes.build(yes=True).manifest.counts
    assert (counts.removed, counts.rejudged, counts.embedded) == (1, 1, 0)
    assert marks(notes) == {"docs:b": None, "docs:c": None}


def marks(notes) -> dict[str, str | None]:
    table = lance.dataset(notes.ref.path, version="prod").to_table(columns=["id", "duplicate_of"])
    return dict(zip(*table.to_pydict().values(), strict=True))


def test_a_dry_run_plans_and_writes_nothing(notes):
    outcome = notes.build(dry_run=True)
    assert "30 new" in outcome.message
    assert list(notes.files()) == ["notes.jsonl"]
    notes.build()
    texts = {f"n{i}": sentence(i, i + 40, i + 80) for i in range(30)} | {"n0": sentence(399)}
    notes.write(texts)
    before = notes.files()
    outcome = notes.build(dry_run=True)
    assert "1 changed" in outcome.message
    assert "1 contents to embed, about" in outcome.message
    assert outcome.manifest.counts.embedded == 0
    assert notes.files() == before


class TestRefusals:
    def test_rejects_over_the_limit(self, notes):
        texts = {f"n{i}": sentence(i) for i in range(20)} | {"x": "", "y": " ", "z": "\x00"}
        notes.write(texts)
        outcome = notes.build()
        assert outcome.exit_code == 3
        assert outcome.manifest.refused_by == ("max_reject_share:docs",)
        assert outcome.manifest.counts.problems() == []
        assert outcome.manifest.counts.records_rejected == 3
        assert [b.manifest.build_id for b in read_builds(notes.ref)] == [outcome.manifest.build_id]
        rejects = count_rejects(notes.ref, outcome.manifest.build_id)
        assert dict(rejects.select("reason", "count").rows()) == {"empty-text": 2, "nul-byte": 1}
        assert outcome.report.is_file()

    def test_vectors_that_collapsed(self, notes, spoiled):
        notes.build()
        before = notes.tags()
        notes.write({f"m{i}": sentence(i, i + 1) for i in range(60)})
        spoiled(lambda vectors: np.tile(vectors[:1], (len(vectors), 1)))
        outcome = notes.build(yes=True)
        assert outcome.exit_code == 3
        assert outcome.manifest.refused_by == ("collapse:text",)
        assert notes.tags() == before
        assert len(notes.content()) == 30
        assert "v0001 stands" in outcome.message

    def test_vectors_that_are_not_unit_length(self, notes, spoiled):
        spoiled(lambda vectors: vectors * 3)
        assert notes.build().manifest.refused_by == ("norm",)

    def test_a_source_that_shrank(self, notes):
        notes.build()
        notes.write({"n0": sentence(0, 40, 80)})
        outcome = notes.build(yes=True)
        assert (outcome.exit_code, outcome.manifest.refused_by) == (3, ("max_shrink:docs",))
        assert "has 1 records, 30 in v0001: it lost 96.7%, at most 20.0% may go" in outcome.message

    def test_a_source_that_vanished(self, notes):
        (notes.folder / "notes.jsonl").rename(notes.folder / "away.jsonl")
        with pytest.raises(SourceError, match=r"notes\.jsonl") as error:
            notes.build()
        assert error.value.exit_code == 2
        (notes.folder / "away.jsonl").rename(notes.folder / "notes.jsonl")
        notes.build()
        (notes.folder / "notes.jsonl").unlink()
        outcome = notes.build()
        assert (outcome.exit_code, outcome.manifest.refused_by) == (3, ("source:docs",))
        assert len(notes.content()) == 30

    def test_half_of_the_table_embedded_again_wants_yes(self, notes):
        notes.build()
        notes.write({f"n{i}": sentence(i, 200) for i in range(30)})
        outcome = notes.build()
        assert (outcome.exit_code, outcome.manifest.refused_by) == (3, ("yes",))
        assert "30 of 30 published rows would be embedded again" in outcome.message
        assert notes.build(yes=True).manifest.release == "v0002"

    def test_a_hold(self, notes):
        notes.build()
        set_hold(notes.ref, "counting again", "ada")
        assert notes.build().exit_code == 0  # nothing to publish
        notes.write({f"n{i}": sentence(i, i + 40, i + 80) for i in range(31)})
        outcome = notes.build()
        assert (outcome.exit_code, outcome.manifest.refused_by) == (3, ("hold",))
        assert "counting again" in outcome.message
        release_hold(notes.ref, "done", "ada")
        assert notes.build().manifest.release == "v0002"

    def test_too_few_rows(self, notes):
        notes.changes["expectations"] = {"min_rows": 31}
        outcome = notes.build()
        assert outcome.exit_code == 3
        assert notes.build(dry_run=True).exit_code == 3
        assert len(read_builds(notes.ref)) == 1  # the dry run is no build


class TestChangedSpecs:
    def test_another_embedder_is_another_space(self, notes):
        notes.build()
        notes.changes["embedder"] = {
            "kind": "sentence-transformers",
            "model": str(notes.model),
            "prompt": "w1 ",
        }
        with pytest.raises(UsageError, match="another fingerprint is another embedding space"):
            notes.build()

    def test_a_column_added_is_one_overwrite_without_embedding(self, notes):
        notes.build()
        lang = {f"n{i}": "en" for i in range(30)}
        notes.write({f"n{i}": sentence(i, i + 40, i + 80) for i in range(30)}, lang=lang)
        notes.source(columns=["lang"])
        counts = notes.build().manifest.counts
        assert (counts.metadata_only, counts.embedded, counts.reused) == (30, 0, 30)
        dataset = lance.dataset(notes.ref.path, version="prod")
        assert set(dataset.to_table(columns=["lang"]).column("lang").to_pylist()) == {"en"}
        assert "lang" not in lance.dataset(notes.ref.path, version="v0001").schema.names

    def test_another_vector_type_is_one_overwrite(self, notes):
        notes.build()
        notes.changes["publish"] = {"vector_type": "float32"}
        counts = notes.build().manifest.counts
        assert (counts.unchanged, counts.embedded, counts.reused) == (30, 0, 30)
        field = lance.dataset(notes.ref.path, version="prod").schema.field("vector")
        assert str(field.type.value_type) == "float"

    def test_another_precision_embeds_again_only_when_asked(self, notes):
        first = notes.build().manifest
        assert first.embedder.precision == "fp32"
        embedder = {"kind": "sentence-transformers", "model": str(notes.model)}
        notes.changes["embedder"] = {**embedder, "precision": "bf16"}
        assert notes.build().manifest.refused_by == ("yes",)
        second = notes.build(yes=True).manifest
        assert (second.counts.changed, second.embedder.precision) == (30, "bf16")
        notes.changes["embedder"] = embedder  # auto: what the space has
        assert notes.build().manifest.embedder.precision == "bf16"


def test_a_new_reject_is_recorded_though_no_row_changes(notes):
    texts = {f"n{i}": sentence(i, i + 40, i + 80) for i in range(30)}
    notes.build()
    notes.write({**texts, "blank": " "})
    outcome = notes.build()
    assert (outcome.exit_code, outcome.manifest.published) == (0, False)
    assert outcome.manifest.counts.records_rejected == 1
    assert count_rejects(notes.ref, outcome.manifest.build_id)["count"].sum() == 1
    before = notes.files()
    notes.build()
    assert notes.files() == before


def test_an_item_that_cannot_be_embedded_is_rejected_and_counted(notes, monkeypatch):
    from tasks.embedders.sentence_transformers_embedder import StaticText

    real = StaticText.submit_tokens

    def choke(self, tokens, rows):
        if [13, 53, 93] in [tokens.ragged(row)[0].tolist() for row in np.split(rows, len(rows))]:
            raise RuntimeError("the poisoned text")
        return real(self, tokens, rows)

    monkeypatch.setattr(StaticText, "submit_tokens", choke)
    texts = {f"n{i}": sentence(i, i + 40, i + 80) for i in range(30)}
    notes.write({**texts, "copy": texts["n13"]})
    refused = notes.build()
    assert refused.manifest.refused_by == ("max_reject_share:docs:items",)
    assert "2 of 31 items of source 'docs' could not be embedded (6.5%)" in refused.message
    planned = notes.build(dry_run=True)  # it is known by now
    assert planned.manifest.refused_by == refused.manifest.refused_by
    notes.changes["expectations"] = {"max_reject_share": 0.1}
    outcome = notes.build()
    counts = outcome.manifest.counts
    assert (counts.items, counts.rows, counts.items_rejected) == (31, 29, 2)
    assert counts.problems() == []
    rejects = count_rejects(notes.ref, outcome.manifest.build_id)
    assert rejects.rows() == [("docs", "item", "embed", "embed-failed", 2)]
    assert "docs:n13" not in notes.content()
    before = notes.tables()
    assert notes.build().manifest.published is False
    assert notes.tables() == before
