"""`init` looks at files and guesses sources; `load_spec` takes what it writes."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from schemas.errors import UsageError
from schemas.load import load_spec
from schemas.spec import SpaceSpec
from tasks.query.first_look import look_at
from tasks.query.space_yaml import space_yaml

LONG = "A sentence that is clearly long enough to be worth embedding, number "


@pytest.fixture
def articles(tmp_path):
    path = tmp_path / "articles.parquet"
    rows = {
        "doc_id": [1, 2, 3],
        "lang": ["en", "en", "de"],
        "body": [f"{LONG}{i}" for i in range(3)],
        "title": ["One", "Two", "Three"],
        "source": ["web", "web", "book"],
        "tags": [["a"], ["b"], []],
    }
    pq.write_table(pa.table(rows), path)
    return path


def test_a_table_has_its_key_text_and_columns_guessed(articles):
    (look,) = look_at([articles])
    assert (look.name, look.kind, look.key) == ("articles", "text", "doc_id")
    assert look.text == ("title", "body")
    assert look.columns == (("lang", "lang"), ("source", "source_"))
    assert look.left == ("tags",)


def test_what_init_writes_is_a_spec(articles, tmp_path):
    text = space_yaml(look_at([articles]), tmp_path)
    (tmp_path / "space.yaml").write_text(text)
    spec = load_spec(tmp_path / "space.yaml")
    assert spec.space == "articles"
    assert spec.sources[0].path == str(articles)
    assert [c.target for c in spec.sources[0].columns] == ["lang", "source_"]
    assert spec.embedder.kind == "sentence-transformers"


def test_every_key_of_the_spec_is_explained(articles, tmp_path):
    text = space_yaml(look_at([articles]), tmp_path)
    assert [name for name in SpaceSpec.model_fields if f"{name}" not in text] == []


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "csv.gz", "jsonl.zst"])
def test_other_tables(tmp_path, form):
    path = tmp_path / f"Old News.{form}"
    rows = [{"id": f"n{i}", "text": f"{LONG}{i}"} for i in range(4)]
    between = "\t" if form == "tsv" else ","
    lines = [between.join(rows[0]), *(between.join([r["id"], f'"{r["text"]}"']) for r in rows)]
    if form.startswith("jsonl"):
        lines = [json.dumps(row) for row in rows]
    data = "\n".join(lines).encode()
    packed = {"gz": "gzip", "zst": "zstd"}.get(path.suffix[1:])
    with path.open("wb") as raw:
        if packed:
            with pa.CompressedOutputStream(raw, packed) as out:
                out.write(data)
        else:
            raw.write(data)

    looks = look_at([path])
    assert (looks[0].name, looks[0].key, looks[0].text) == ("old_news", "id", ("text",))
    (tmp_path / "space.yaml").write_text(space_yaml(looks, tmp_path))
    load_spec(tmp_path / "space.yaml")


def test_folders_of_documents_and_pictures(tmp_path):
    for name in ["docs/a.md", "docs/deep/b.md", "docs/note.txt", "photos/1.jpg", "photos/2.png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "docs/.hidden.md").write_text("x")

    looks = look_at([tmp_path / "docs", tmp_path / "photos"])
    assert [(look.name, look.kind, look.files) for look in looks] == [
        ("docs", "text", 2),
        ("docs_2", "text", 1),
        ("photos", "image", 2),
    ]
    assert [look.path for look in looks] == [
        str(tmp_path / "docs/**/*.md"),
        str(tmp_path / "docs/**/*.txt"),
        str(tmp_path / "photos"),
    ]
    (tmp_path / "space.yaml").write_text(space_yaml(looks, tmp_path, space="all"))
    spec = load_spec(tmp_path / "space.yaml")
    assert spec.embedder.kind == "open-clip"


def test_pictures_in_parquet(tmp_path):
    path = tmp_path / "pics.parquet"
    pq.write_table(pa.table({"id": ["a", "b"], "image": [b"x", b"y"], "label": ["u", "v"]}), path)
    (look,) = look_at([path])
    assert (look.kind, look.image, look.key) == ("image", "image", "id")
    assert look.columns == (("label", "label"),)


def test_a_hostile_column_name_stays_inside_its_quotes(tmp_path):
    path = tmp_path / "t.parquet"
    odd = "x]\nuri: /etc # : {"
    pq.write_table(pa.table({"id": [1], "text": [LONG], odd: ["v"]}), path)
    data = yaml.safe_load(space_yaml(look_at([path]), tmp_path))
    assert data["uri"] == "./lancedb"
    assert data["sources"][0]["columns"] == [{"name": odd, "as": "x__uri___etc______"}]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda p: p / "gone.csv", "does not exist", id="missing"),
        pytest.param(lambda p: _write(p / "a.exe", "x"), "nothing to embed", id="unknown format"),
        pytest.param(lambda p: _write(p / "a.csv", ""), "no rows", id="empty table"),
        pytest.param(lambda p: _write(p / "a.jsonl", "{"), "cannot be read as jsonl", id="broken"),
        pytest.param(lambda p: _write(p / "a.parquet", "no"), "as parquet", id="not parquet"),
    ],
)
def test_what_cannot_be_looked_at_is_a_usage_error(tmp_path, make, message):
    with pytest.raises(UsageError, match=message):
        look_at([make(tmp_path)])


def _write(path, text):
    path.write_text(text)
    return path
