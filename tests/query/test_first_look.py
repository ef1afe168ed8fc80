"""`init` looks at files and guesses sources; `load_spec` takes what it writes."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from schemas.errors import UsageError
from schemas.load import load_spec
from schemas.spec import SourceSpec, SpaceSpec
from tasks.ingest.listing import list_files
from tasks.query.first_look import look_at
from tasks.query.space_yaml import space_yaml

PLAIN = "A sentence that is clearly long enough without a comma in it. "
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
    (look,) = look_at([articles]).sources
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


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "ndjson", "csv.gz", "jsonl.zst"])
def test_other_tables(tmp_path, form):
    path = tmp_path / f"Old News.{form}"
    rows = [{"id": f"n{i}", "text": f"{LONG}{i}"} for i in range(4)]
    between = "\t" if form == "tsv" else ","
    lines = [between.join(rows[0]), *(between.join([r["id"], f'"{r["text"]}"']) for r in rows)]
    if "json" in form:
        lines = [json.dumps(row) for row in rows]
    data = "\n".join(lines).encode()
    packed = {"gz": "gzip", "zst": "zstd"}.get(path.suffix[1:])
    with path.open("wb") as raw:
        if packed:
            with pa.CompressedOutputStream(raw, packed) as out:
                out.write(data)
        else:
            raw.write(data)

    found = look_at([path])
    [look] = found.sources
    assert (look.name, look.key, look.text) == ("old_news", "id", ("text",))
    (tmp_path / "space.yaml").write_text(space_yaml(found, tmp_path))
    load_spec(tmp_path / "space.yaml")


def test_folders_of_documents_and_pictures(tmp_path):
    for name in ["docs/a.md", "docs/deep/b.md", "docs/note.txt", "photos/1.jpg", "photos/2.png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "docs/.hidden.md").write_text("x")

    found = look_at([tmp_path / "docs", tmp_path / "photos"])
    assert [(look.name, look.kind, look.files) for look in found.sources] == [
        ("docs", "text", 2),
        ("docs_2", "text", 1),
        ("photos", "image", 2),
    ]
    assert [look.path for look in found.sources] == [
        str(tmp_path / "docs/**/*.md"),
        str(tmp_path / "docs/**/*.txt"),
        str(tmp_path / "photos"),
    ]
    (tmp_path / "space.yaml").write_text(space_yaml(found, tmp_path, space="all"))
    spec = load_spec(tmp_path / "space.yaml")
    assert spec.embedder.kind == "open-clip"


def test_pictures_in_parquet(tmp_path):
    path = tmp_path / "pics.parquet"
    pq.write_table(pa.table({"id": ["a", "b"], "image": [b"x", b"y"], "label": ["u", "v"]}), path)
    (look,) = look_at([path]).sources
    assert (look.kind, look.image, look.key) == ("image", "image", "id")
    assert look.columns == (("label", "label"),)


def kept_files(look, tmp_path) -> list[str]:
    """The files that the path of a look means, relative to `tmp_path`."""
    source = SourceSpec(name="s", kind="text", path=look.path)
    return [file.uri.removeprefix(f"{tmp_path}/") for file in list_files(source, {})]


def test_of_a_mixed_folder_what_cannot_be_embedded_is_left_out_and_said(tmp_path):
    for name, text in {
        "a.csv": f"id,text\n1,{PLAIN}\n",
        "b.csv": f"id,text\n2,{PLAIN}\n",
        "deep/c.csv": f"key,title\n1,{PLAIN}\n",
        "numbers.csv": "a,b\n1.5,2\n",
        "empty.csv": "",
        "x.png": "x",
        "y.JPG": "x",
        "read.md": "x",
        "letter.docx": "x",
        "packed.txt.gz": "x",
    }.items():
        (tmp_path / "mix" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mix" / name).write_text(text)
    found = look_at([tmp_path / "mix"])
    assert {look.ending: kept_files(look, tmp_path) for look in found.sources if not look.key} == {
        "pictures": ["mix/x.png", "mix/y.JPG"],
        "md": ["mix/read.md"],
    }
    assert {look.key: kept_files(look, tmp_path) for look in found.sources if look.key} == {
        "id": ["mix/a.csv", "mix/b.csv"],
        "key": ["mix/deep/c.csv"],
    }
    assert [left.replace(str(tmp_path), "") for left in found.left] == [
        "1 × .docx: no reader knows this ending",
        "1 × .gz: no reader knows this ending",
        "/mix/empty.csv has no rows to look at; expected a csv file with some",
        "/mix/numbers.csv: no column of text and none of image bytes; its columns are "
        "a (number), b (integer)",
    ]
    text = space_yaml(found, tmp_path)
    assert "# Not taken: 1 × .docx" in text
    (tmp_path / "space.yaml").write_text(text)
    assert len(load_spec(tmp_path / "space.yaml").sources) == 4


@pytest.mark.parametrize("folder", ["we[ird] {x}", "a*b?", "[z]"])
def test_a_folder_whose_name_has_wildcards(tmp_path, folder):
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "a.md").write_text("x")
    [look] = look_at([tmp_path / folder]).sources
    assert kept_files(look, tmp_path) == [f"{folder}/a.md"]


def test_files_that_are_named_are_all_that_is_taken(tmp_path):
    for name in ["a.md", "b,c.md", "not named.md"]:
        (tmp_path / name).write_text("x")
    [look] = look_at([tmp_path / "a.md", tmp_path / "b,c.md", tmp_path / "a.md"]).sources
    assert (look.files, kept_files(look, tmp_path)) == (2, ["a.md", "b,c.md"])


@pytest.mark.parametrize(
    ("name", "data", "note"),
    [
        ("a.csv", f"id,text\n1,caf\xe9 {PLAIN}\n", "line 2 is not UTF-8"),
        ("a.csv", f"id;text\n1;{PLAIN}\n", "set apart by ';'; expected ','"),
        ("a.csv", f"id,text,text\n1,{PLAIN},x\n2,x,{PLAIN}\n", "more than once are left out: text"),
        ("a.csv", f"n,text\n1,{PLAIN}\n1,{PLAIN}\n", "'n' is a guess"),
    ],
)
def test_what_looks_wrong_with_a_table_is_said(tmp_path, name, data, note):
    (tmp_path / name).write_text(data, "latin-1")
    if "text,text" in data:
        with pytest.raises(UsageError, match="no column of text"):
            look_at([tmp_path / name])
        return
    found = look_at([tmp_path / name])
    assert note in " ".join(found.sources[0].notes)
    assert note in space_yaml(found, tmp_path)


def test_a_bad_line_and_a_long_one_are_looked_over(tmp_path):
    good = json.dumps({"id": 1, "text": PLAIN * 40_000})
    (tmp_path / "a.jsonl").write_text(f"{good}\nno json\n")
    (tmp_path / "b.csv").write_text(f"id,text\n1,{PLAIN * 10_000}\n")
    for path in (tmp_path / "a.jsonl", tmp_path / "b.csv"):
        assert look_at([path]).sources[0].text == ("text",)


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
        pytest.param(lambda p: _write(p / "a.txt.gz", "x"), "nothing to embed", id="packed text"),
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
