"""DESIGN's "What a changed spec does", sentence by sentence: what is embedded, what is not."""

from __future__ import annotations

import json

import lance
import pytest

from made_specs import PLAIN
from made_words import sentence
from schemas.errors import UsageError
from tasks.table.index import indexed_columns
from tasks.table.releases import list_releases

WITHOUT_A_CHANGE = {"embedded": 0, "changed": 0, "removed": 0, "new": 0}


def prod(notes):
    return lance.dataset(notes.ref.path, version="prod")


def column(notes, name: str) -> set:
    return set(prod(notes).to_table(columns=[name]).column(name).to_pylist())


def counted(outcome) -> dict[str, int]:
    assert outcome.exit_code == 0, outcome.message
    assert outcome.manifest.counts.problems() == []
    return outcome.manifest.counts.model_dump()


@pytest.fixture
def dated(notes, texts):
    """The notes with a year, published."""
    notes.source(columns=["year"])
    notes.write(texts, year={key: 1990 + i for i, key in enumerate(texts)})
    assert prod_type(notes.build(), notes) == "int64"
    return notes


def prod_type(_, notes) -> str:
    return str(prod(notes).schema.field("year").type)


@pytest.mark.parametrize(
    ("columns", "names", "kind"),
    [
        pytest.param([{"name": "year", "type": "string"}], ["year"], "string", id="retyped"),
        pytest.param([{"name": "year", "as": "since"}], ["since"], "int64", id="renamed"),
        pytest.param([], [], None, id="left out"),
        pytest.param(["year", {"name": "year", "as": "of"}], ["year", "of"], "int64", id="added"),
    ],
)
def test_columns_are_one_overwrite_without_embedding(dated, columns, names, kind):
    dated.source(columns=columns)
    counts = counted(dated.build())
    assert counts["embedded"] == counts["new"] == counts["removed"] == counts["changed"] == 0
    assert (counts["reused"], counts["metadata_only"] + counts["unchanged"]) == (30, 30)
    schema = prod(dated).schema
    assert schema.names[19:] == names
    assert all(str(schema.field(name).type) == kind for name in names)
    assert dated.build().manifest.published is False


def test_an_overwrite_rebuilds_the_indexes(dated):
    dated.source(columns=[])
    dated.build()
    assert indexed_columns(prod(dated)) == {"text": "text_idx"}
    assert prod(dated).stats.index_stats("text_idx")["num_unindexed_rows"] == 0


def test_another_vector_type_is_one_overwrite_that_rebuilds_the_indexes(notes):
    notes.build()
    notes.changes["publish"] = {"vector_type": "float32"}
    counts = counted(notes.build())
    assert (counts["unchanged"], counts["embedded"], counts["reused"]) == (30, 0, 30)
    assert str(prod(notes).schema.field("vector").type.value_type) == "float"
    assert indexed_columns(prod(notes)) == {"text": "text_idx"}
    assert [r.number for r in list_releases(notes.ref)] == [1, 2]
    assert notes.build().manifest.published is False


def test_the_order_of_columns_is_no_change(dated, texts):
    years = {key: 1990 + i for i, key in enumerate(texts)}
    dated.write(texts, year=years, lang=dict.fromkeys(texts, "en"))
    dated.source(columns=["year", "lang"])
    dated.build()
    dated.source(columns=["lang", "year"])
    assert dated.build().manifest.published is False


def test_a_column_that_changes_its_values_is_metadata(dated, texts):
    years = {key: 1990 + i for i, key in enumerate(texts)}
    dated.write(texts, year={**years, "n4": 2026})
    counts = counted(dated.build())
    assert (counts["metadata_only"], counts["embedded"], counts["reused"]) == (1, 0, 1)
    assert 2026 in column(dated, "year")


def test_a_source_renamed_is_other_ids_with_the_same_vectors(notes):
    notes.build()
    notes.source(name="memos")
    counts = counted(notes.build())
    assert (counts["new"], counts["removed"], counts["embedded"]) == (30, 30, 0)
    assert counts["reused"] == 30
    assert all(name.startswith("memos:") for name in notes.content())


def test_a_key_renamed_is_other_ids_with_the_same_vectors(notes, texts):
    notes.write(texts, slug={key: f"slug-{key}" for key in texts})
    notes.build()
    notes.source(key="slug")
    counts = counted(notes.build())
    assert (counts["new"], counts["removed"], counts["embedded"]) == (30, 30, 0)
    assert "docs:slug-n7" in notes.content()


def test_other_chunking_embeds_where_the_content_is_new(notes, texts):
    long = " ".join(sentence(*range(i, i + 8)) + ".\n\n" for i in range(100, 260, 8))
    notes.write({**texts, "long": long})
    notes.build()
    notes.changes["chunk"] = {"max_tokens": 64}
    counts = counted(notes.build())
    assert counts["removed"] == 31  # chunked ids end in #n
    assert counts["embedded"] == counts["new"] - 30 >= 2  # short notes are what they were
    assert notes.content()["docs:n7#0"] == texts["n7"]


def test_other_text_columns_embed_where_the_content_is_new(notes, texts):
    notes.write(texts, title={key: "w399" if key == "n1" else None for key in texts})
    notes.build()
    notes.source(text=["title", "text"])
    counts = counted(notes.build())
    assert (counts["changed"], counts["embedded"], counts["unchanged"]) == (1, 1, 29)
    assert notes.content()["docs:n1"] == f"w399\n\n{texts['n1']}"


def test_other_expectations_validate_the_records_again(notes, texts):
    notes.write({**texts, "short": "w1"})
    notes.build()
    suite = notes.folder / "suite.json"
    length = {"column": "text", "min_value": 3}
    expectation = {"type": "expect_column_value_lengths_to_be_between", "kwargs": length}
    suite.write_text(json.dumps({"name": "long", "expectations": [expectation]}))
    notes.changes["expectations"] = {"suite": "suite.json"}
    counts = counted(notes.build())
    assert (counts["removed"], counts["records_rejected"], counts["embedded"]) == (1, 1, 0)
    assert "docs:short" not in notes.content()


def test_other_rules_on_duplicates_judge_again_without_embedding(notes, texts):
    notes.write({**texts, "copy": texts["n0"]})
    notes.build()
    notes.changes["dedupe"] = {**PLAIN["dedupe"], "exact": False}
    counts = counted(notes.build())
    assert (counts["rejudged"], counts["embedded"], counts["duplicates"]["exact"]) == (1, 0, 0)
    assert column(notes, "duplicate_of") == {None}


def test_a_limit_changed_is_no_change_of_the_table(notes):
    notes.build()
    version = notes.tags()
    notes.changes["expectations"] = {"min_rows": 5}
    outcome = notes.build()
    assert (outcome.exit_code, outcome.manifest.published) == (0, False)
    assert notes.tags() == version


def test_another_tag_moves_without_a_build(notes):
    notes.build()
    notes.changes["publish"] = {"tag": "stable"}
    assert notes.build().manifest.published is False
    assert notes.tags()["stable"] == notes.tags()["prod"] == notes.tags()["v0001"]


def test_more_than_half_embedded_again_wants_yes(notes, texts):
    notes.build()
    keys = list(texts)
    notes.write({**texts, **{key: sentence(i, 300) for i, key in enumerate(keys[:15])}})
    assert notes.build().manifest.published  # exactly half
    notes.write({**texts, **{key: sentence(i, 301) for i, key in enumerate(keys[:16])}})
    assert notes.build().manifest.refused_by == ("yes",)
    assert notes.build(yes=True).manifest.published


def test_new_documents_in_place_of_old_ones_need_no_yes(notes):
    notes.build()
    notes.write({f"other{i}": sentence(i, i + 200) for i in range(30)})
    counts = counted(notes.build())
    assert (counts["new"], counts["removed"], counts["embedded"]) == (30, 30, 30)
    assert [r.number for r in list_releases(notes.ref)] == [1, 2]


def test_documents_chunked_into_other_contents_need_yes(notes, texts):
    notes.write({key: " ".join([text] * 20) for key, text in texts.items()})
    notes.build()
    notes.changes["chunk"] = {"max_tokens": 16}
    outcome = notes.build()
    assert outcome.manifest.refused_by == ("yes",)
    assert "30 of 30 published rows would be embedded again" in outcome.message


def test_other_text_columns_of_most_records_need_yes(notes, texts):
    notes.write(texts, title=dict.fromkeys(texts, "w399"))
    notes.build()
    notes.source(text=["title", "text"])
    before = notes.tables()
    dry = notes.build(dry_run=True)
    assert (dry.exit_code, dry.manifest.refused_by) == (3, ("yes",))
    assert notes.tables() == before
    assert "30 of 30 published rows would be embedded again" in notes.build().message
    counts = counted(notes.build(yes=True))
    assert (counts["changed"], counts["embedded"]) == (30, 30)


@pytest.mark.parametrize("option", [{"normalize": False}, {"dimensions": 16}, {"prompt": "w1 "}])
def test_another_embedder_is_refused_before_anything_is_read(notes, option):
    notes.build()
    before = notes.tables()
    model = {"kind": "sentence-transformers", "model": str(notes.model)}
    notes.changes["embedder"] = {**model, **option}
    (notes.folder / "notes.jsonl").unlink()
    with pytest.raises(UsageError, match="another fingerprint is another embedding space"):
        notes.build(yes=True)
    assert notes.tables() == before
