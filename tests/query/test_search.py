"""Search on a release: by vector, by words, by both; filters; and what is refused."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from schemas.errors import UsageError
from tasks.query.releases import find_release
from tasks.query.search import SCORE, Question, search


def ids(found):
    return found.hits.column("id").to_pylist()


def test_the_nearest_row_comes_first(tiny, embedder):
    found = search(tiny, Question("a dog barks at night", k=2))
    assert ids(found)[0] == "docs:dog#0"
    assert found.hits.column(SCORE)[0].as_py() == pytest.approx(1.0, abs=1e-3)
    assert found.release.name == "v0001"
    assert "vector" not in found.hits.column_names
    assert found.hits.column("lang")[0].as_py() == "en"


def test_words_alone_need_no_embedder(tiny):
    found = search(tiny, Question("ships", mode="text"))
    assert ids(found) == ["docs:sea#0"]


def test_hybrid_puts_first_what_both_find(tiny, embedder):
    found = search(tiny, Question("cat sleeps mat", mode="hybrid", k=3))
    assert ids(found)[:2] == ["docs:cat#0", "docs:copy#0"]
    scores = found.hits.column(SCORE).to_pylist()
    assert scores == sorted(scores, reverse=True)
    assert len(ids(found)) == len(set(ids(found))) == 3


def test_kept_leaves_out_marked_duplicates(tiny, embedder):
    question = {"text": "the cat sleeps on the mat", "k": 2}
    assert set(ids(search(tiny, Question(**question)))) == {"docs:cat#0", "docs:copy#0"}
    assert "docs:copy#0" not in ids(search(tiny, Question(**question, kept=True)))


@pytest.mark.parametrize("mode", ["vector", "text", "hybrid"])
def test_a_condition_holds_for_every_hit(tiny, embedder, mode):
    found = search(tiny, Question("the", mode=mode, where="lang = 'en' OR lang = 'de' -- all"))
    assert set(ids(found)) <= {"docs:cat#0", "docs:dog#0", "docs:copy#0"}
    assert len(ids(found)) >= 2


@pytest.mark.parametrize(
    "where",
    [
        "lang ===",
        "nope = 3",
        "lang = 'en') OR (1 = 1",
        "lang = 'en'; drop table",
        "lang",
        "",
        "1 +",
    ],
)
def test_a_wrong_condition_is_a_usage_error_that_shows_it(tiny, embedder, where):
    with pytest.raises(UsageError, match="--where"):
        search(tiny, Question("cat", where=where))


def test_another_embedder_is_refused_by_both_names(tiny, embedder):
    embedder.fingerprint = "cd" * 16
    with pytest.raises(UsageError) as caught:
        search(tiny, Question("cat"))
    assert "ab" * 16 in str(caught.value)
    assert "cd" * 16 in str(caught.value)
    assert ids(search(tiny, Question("cat", mode="text", k=1))) == ["docs:cat#0"]


def test_by_picture(tiny, embedder, tmp_path):
    from PIL import Image

    data = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(data, "PNG")
    path = tmp_path / "cat.png"
    path.write_bytes(data.getvalue())
    assert ids(search(tiny, Question(image=path, k=1)))[0] in ("docs:cat#0", "docs:copy#0")

    path.write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"cat\.png"):
        search(tiny, Question(image=path))


@pytest.mark.parametrize(
    ("question", "message"),
    [
        pytest.param(Question(), "one of the two", id="nothing"),
        pytest.param(Question("  "), "is empty", id="blank"),
        pytest.param(Question("a", image=__file__), "one of the two", id="both"),
    ],
)
def test_a_question_that_cannot_be_answered(tiny, question, message):
    with pytest.raises(UsageError, match=message):
        search(tiny, question)


def test_an_unknown_release_names_those_there_are(tiny):
    with pytest.raises(UsageError, match="'v0009'; it has v0001"):
        search(tiny, Question("cat", mode="text"), release="v0009")


def test_a_space_that_was_never_built(tiny, tmp_path):
    empty = tiny.model_copy(update={"uri": str(tmp_path / "elsewhere")})
    with pytest.raises(UsageError, match="no release yet"):
        search(empty, Question("cat", mode="text"))


@pytest.mark.parametrize(
    ("exported", "engine"),
    [(True, ("openvino", "bf16")), (False, ("torch", "fp32"))],
    ids=["exported", "not exported"],
)
def test_a_query_is_embedded_by_the_releases_engine_where_its_export_is_at_hand(
    tiny, embedder, monkeypatch, exported, engine
):
    from schemas.manifest import EmbedderRecord

    asked = []
    release = find_release(tiny)
    made_by = release.manifest.embedder.model_dump() | {"engine": "openvino", "precision": "bf16"}
    manifest = release.manifest.model_copy(update={"embedder": EmbedderRecord(**made_by)})
    monkeypatch.setattr(
        "tasks.query.search.find_release", lambda *_: replace(release, manifest=manifest)
    )
    monkeypatch.setattr(
        "tasks.embedders.exported.export.exported_already",
        lambda ref: asked.append(ref) or exported,
    )
    assert search(tiny, Question("cat")).hits.num_rows
    assert (embedder.loaded.engine, embedder.loaded.precision) == engine
    assert embedder.loaded.exports == asked[0].exports == f"{tiny.workdir}/engines"
