"""Every mistake a spec can have: each is reported with its path, the value, and what to do."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from schemas.load import load_spec, parse_spec
from schemas.mistakes import SpecError

RIGHT: dict[str, Any] = {
    "space": "handbook",
    "uri": "./lancedb",
    "sources": [
        {"name": "docs", "kind": "text", "path": "d.parquet", "key": "id", "text": ["body"]},
        {"name": "notes", "kind": "text", "path": "notes/**/*.md"},
    ],
    "embedder": {"kind": "open-clip", "model": "some/model"},
    "chunk": {},
    "expectations": {},
    "dedupe": {},
    "audit": {},
    "publish": {},
    "compute": {},
}

LEFT_OUT = object()


def changed(*changes: tuple[str, Any]) -> dict[str, Any]:
    """The right spec with the value at each dotted path replaced, or left out."""
    data = copy.deepcopy(RIGHT)
    for path, value in changes:
        *above, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        place: Any = data
        for part in above:
            place = place[part]
        if value is LEFT_OUT:
            del place[last]
        else:
            place[last] = value
    return data


def mistakes_of(data: Any, base: Path) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse_spec(data, base, "space.yaml")
    return [str(each) for each in caught.value.mistakes]


@pytest.mark.parametrize("path", ["sources.0.text", "dedupe.keep", "sources.0.columns"])
def test_two_wrong_elements_are_no_repetition(tmp_path: Path, path: str) -> None:
    found = mistakes_of(changed((path, [5, 5])), tmp_path)
    assert [line.split(" ")[0] for line in found] == [f"{dotted(path)}[0]", f"{dotted(path)}[1]"]


def test_a_file_has_its_path_for_a_key(tmp_path: Path) -> None:
    found = mistakes_of(changed(("sources.1.key", "id"), ("sources.1.time", "t")), tmp_path)
    assert [line.split("; ")[1] for line in found] == [
        "remove it (the key is the relative path)",
        "remove it",
    ]


def test_the_spec_that_the_others_change_is_right(tmp_path: Path) -> None:
    assert parse_spec(RIGHT, tmp_path, "space.yaml").space == "handbook"


def shown(message: str) -> str:
    """A readable test id: the path and the value."""
    return message.split(":")[0].replace(" ", "_")


NAMED = (
    "a name of small letters, digits and single underscores that begins with a letter, "
    "at most 100 long"
)

MISSING = [
    ("space", "space is missing: expected a name of .* (The table's name); add space: my_table"),
    ("uri", "uri is missing: expected a text that is not empty (LanceDB URI: a folder or an "),
    ("sources", "sources is missing: expected a list, each a mapping with the keys name, kind, "),
    ("embedder", "embedder is missing: expected a mapping with the keys kind, model, revision"),
    ("embedder.kind", "embedder.kind is missing: expected one of sentence-transformers, open-c"),
    ("embedder.model", "embedder.model is missing: expected a text that is not empty (Hub id"),
    ("sources.0.name", f"sources[0].name is missing: expected {NAMED} (The source's name; part"),
    ("sources.0.kind", "sources[0].kind is missing: expected one of text, image (text or image)"),
    ("sources.1.path", "sources[1].path is missing: expected a text that is not empty (File, "),
]


@pytest.mark.parametrize(("path", "message"), MISSING, ids=[path for path, _ in MISSING])
def test_a_missing_field_is_named_and_explained(tmp_path: Path, path: str, message: str) -> None:
    (found,) = mistakes_of(changed((path, LEFT_OUT)), tmp_path)
    assert found.startswith(message.replace("a name of .*", NAMED))


WRONG_KEYS = [
    ("sorces", [], "expected only the keys space, uri, workdir, storage_options, sources, chunk"),
    ("sorces", [], "did you mean sources?"),
    ("chunks", {}, "did you mean chunk?"),
    ("max_tokens", 3, "did you mean chunk.max_tokens?"),
    ("model", "m", "did you mean embedder.model?"),
    ("threshold", 0.7, "did you mean dedupe.near.threshold?"),
    ("storage-options", {}, "did you mean storage_options?"),
    ("chunk.maxTokens", 3, "did you mean chunk.max_tokens?"),
    ("chunk.max_token", 3, "did you mean chunk.max_tokens?"),
    ("chunk.workdir", "x", "did you mean workdir?"),
    ("chunk.dimensions", 3, "did you mean embedder.dimensions?"),
    ("sources.1.colums", [], "did you mean sources[1].columns?"),
    ("sources.1.max_tokens", 3, "did you mean chunk.max_tokens?"),
    ("sources.1.type", "string", "did you mean sources[1].columns[].type?"),
    ("embedder.normalise", True, "did you mean embedder.normalize?"),
    ("expectations.minrows", 1, "did you mean expectations.min_rows?"),
    ("publish.recall", 0.9, "did you mean audit.recall?"),
    ("max_token", 3, "did you mean chunk.max_tokens?"),
    ("Max-Tokens", 3, "did you mean chunk.max_tokens?"),
    ("compute.zzz", 1, "expected only the keys engine, max_workers; remove it"),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG_KEYS, ids=[c[0] for c in WRONG_KEYS])
def test_a_wrong_key_suggests_the_nearest_right_one(
    tmp_path: Path, path: str, value: Any, message: str
) -> None:
    (found,) = mistakes_of(changed((path, value)), tmp_path)
    assert found.startswith(f"{dotted(path)} ")
    assert message in found


def dotted(path: str) -> str:
    """`sources.1.path` as messages write it."""
    return path.replace(".0.", "[0].").replace(".1.", "[1].").replace(".2.", "[2].")


VALUES = [
    # Types: a number is no text, a text is no number, a word is no switch.
    ("space", 7, f"space 7: expected {NAMED}; put it in quotes: '7'"),
    ("uri", None, "uri null: expected a text that is not empty; correct the value"),
    ("uri", "", "uri '': expected a text that is not empty; correct the value"),
    ("workdir", "", "workdir '': expected a text that is not empty; or leave it out for the def"),
    (
        "sources",
        {},
        "sources (a mapping of nothing): expected a list, .*; write a list: each entry",
    ),
    ("sources", [], "sources (a list of 0): expected a list, each a mapping with the keys name"),
    ("sources.1", "notes", "sources[1] 'notes': expected a mapping with the keys name, kind, path"),
    ("sources.0.text", 5, "sources[0].text 5: expected a list, each a text that is not empty; wri"),
    ("sources.0.text", [5], "sources[0].text[0] 5: expected a text .*; put it in quotes: '5'"),
    ("sources.0.columns", "a", "sources[0].columns 'a': expected a list, each a mapping .*; write"),
    ("sources.0.columns", [5], "sources[0].columns[0] 5: expected a mapping with the keys name, a"),
    (
        "sources.0.columns",
        [{"name": "a", "type": "text"}],
        "sources[0].columns[0].type 'text': expected one of string, bool, .*, or null; or leave",
    ),
    ("sources.0.key", 5, "sources[0].key 5: expected a text that is not empty, or null; put it i"),
    ("sources.0.time", True, "sources[0].time true: expected a text .*; put it in quotes: 'true'"),
    ("chunk", 256, "chunk 256: expected a mapping with the keys max_tokens, overlap, tokenizer, o"),
    ("chunk.max_tokens", "256", "chunk.max_tokens '256': .*; write it without quotes: 256"),
    ("chunk.max_tokens", 2.5, "chunk.max_tokens 2.5: expected a whole number from 8 to 100000; or"),
    ("chunk.overlap", None, "chunk.overlap null: expected a whole number from 0 up; or leave it o"),
    ("embedder", "some/model", "embedder 'some/model': .*; write embedder: {kind: sentence-transf"),
    ("embedder.normalize", "maybe", "embedder.normalize 'maybe': expected true or false; or leave"),
    ("embedder.normalize", 1, "embedder.normalize 1: expected true or false; or leave it out for"),
    ("expectations.min_rows", True, "expectations.min_rows true: expected a whole number from 0 u"),
    (
        "publish",
        [],
        "publish (a list of 0): expected a mapping with the keys tag, index, keep, vec",
    ),
    ("dedupe.keep", "longest", "dedupe.keep 'longest': expected a list, each one of earliest, lat"),
    # Bounds.
    ("chunk.max_tokens", 7, "chunk.max_tokens 7: expected a whole number from 8 to 100000; or le"),
    ("chunk.max_tokens", 100_001, "chunk.max_tokens 100001: expected a whole number from 8 to"),
    ("chunk.overlap", -1, "chunk.overlap -1: expected a whole number from 0 up; or leave it out"),
    ("sources.0.max_shrink", 1.5, "sources[0].max_shrink 1.5: expected a number from 0 to 1; or"),
    ("expectations.max_reject_share", -0.1, "expectations.max_reject_share -0.1: expected a numb"),
    ("expectations.max_reject_share", float("nan"), "expectations.max_reject_share nan: expected"),
    ("expectations.min_rows", -1, "expectations.min_rows -1: expected a whole number from 0 up;"),
    ("embedder.dimensions", 0, "embedder.dimensions 0: expected a whole number from 1 up, or nul"),
    ("compute.max_workers", 0, "compute.max_workers 0: expected a whole number from 1 up, or null"),
    # Words.
    ("sources.1.kind", "txt", "sources[1].kind 'txt': expected one of text, image; did you mean t"),
    ("sources.1.mode", "snapshots", "sources[1].mode 'snapshots': .*; did you mean snapshot?"),
    ("sources.1.on_repeat", "rejects", "sources[1].on_repeat 'rejects': .*; did you mean reject?"),
    ("embedder.kind", "openclip", "embedder.kind 'openclip': .*; did you mean open-clip?"),
    ("embedder.precision", "float32", "embedder.precision 'float32': expected one of auto, fp32,"),
    ("embedder.engine", "pytorch", "embedder.engine 'pytorch': .*; did you mean torch?"),
    ("dedupe.within", "sources", "dedupe.within 'sources': .*; did you mean source?"),
    ("dedupe.keep", ["longst"], "dedupe.keep[0] 'longst': .*; did you mean longest?"),
    ("audit.quality", "refused", "audit.quality 'refused': .*; did you mean refuse?"),
    ("audit.quality", True, "audit.quality true: expected one of off, .*; say which: warn, refuse"),
    ("audit.quality", "on", "audit.quality 'on': expected one of off, .*; say which: warn, refuse"),
    ("publish.index", "always", "publish.index 'always': expected one of auto, off; or leave it o"),
    ("publish.vector_type", "float64", "publish.vector_type 'float64': .*; did you mean float"),
    ("compute.engine", "locl", "compute.engine 'locl': .*; did you mean local?"),
    # Names.
    ("space", "AG-News", f"space 'AG-News': expected {NAMED}; try ag_news"),
    ("space", "a__b", f"space 'a__b': expected {NAMED}; try a_b"),
    ("space", "2024_news", f"space '2024_news': expected {NAMED}; try s_2024_news"),
    ("space", "a" * 101, "space 'a.*: expected a name of .*; try aaa"),
    ("space", "bücher\n", "space 'bücher\\\\n': expected a name of .*; try b_cher"),
    ("sources.1.name", "My Docs", f"sources[1].name 'My Docs': expected {NAMED}; try my_docs"),
    (
        "sources.1.name",
        "docs",
        "sources[1].name 'docs': expected a name of its own (sources[0] has",
    ),
    # The moving tag.
    ("publish.tag", "a b", "publish.tag 'a b': expected letters, digits, '.', '_' and '-' only"),
    ("publish.tag", "v0001", "publish.tag 'v0001': expected a tag of your own: v0001…, data-… an"),
    ("publish.tag", "data-live", "publish.tag 'data-live': expected a tag of your own"),
    ("publish.tag", "base-1", "publish.tag 'base-1': expected a tag of your own"),
    ("publish.tag", ".live", "publish.tag '.live': expected a tag without a '.' at either end"),
    ("publish.tag", "a..b", "publish.tag 'a..b': expected a tag without a '.' at either end"),
    ("publish.tag", "live.lock", "publish.tag 'live.lock': expected a tag without a '.' at eith"),
    # Between fields.
    ("chunk.overlap", 256, "chunk.overlap 256: expected less than chunk.max_tokens (256); a tenth"),
    ("dedupe.keep", ["longest", "longest"], "dedupe.keep[1] 'longest': expected each rule once;"),
    ("dedupe.keep", ["latest", "earliest"], "dedupe.keep[1] 'earliest': expected no opposite of l"),
    # Columns of the user's.
    (
        "sources.0.columns",
        ["vector"],
        "sources[0].columns[0].name 'vector': expected a name that v",
    ),
    (
        "sources.0.columns",
        ["time"],
        "sources[0].columns[0].name 'time': .*; rename it: {name: 'time', as: source_time}",
    ),
    ("sources.0.columns", ["_rowid"], "sources[0].columns[0].name '_rowid': expected a name that"),
    ("sources.0.columns", ["a.b"], "sources[0].columns[0].name 'a.b': expected a name without '.'"),
    ("sources.0.columns", ["a`b"], "sources[0].columns[0].name 'a`b': .* as: a_b}"),
    ("sources.0.columns", ["*"], "sources[0].columns[0].name '*': .* as: column}"),
    ("sources.0.columns", ["a\tb"], "sources[0].columns[0].name 'a\\tb': expected a name without"),
    (
        "sources.0.columns",
        [" a"],
        "sources[0].columns[0].name ' a': .*; rename it: {name: ' a', as: a}",
    ),
    ("sources.0.columns", ["lang", "lang"], "sources[0].columns[1].name 'lang': expected each col"),
    (
        "sources.0.columns",
        ["lang", {"name": "code", "as": "lang"}],
        "sources[0].columns[1].as 'lang': expected each column of a source once; remove it, or",
    ),
    ("sources.0.columns", [{"name": "a", "as": "id"}], "sources[0].columns[0].as 'id': expected"),
    ("sources.0.text", ["a", "b", "a"], "sources[0].text[2] 'a': expected each column once; remo"),
    # What a source says about columns must fit its files.
    ("sources.0.key", LEFT_OUT, "sources[0].key is missing: expected the column that holds each r"),
    ("sources.0.text", LEFT_OUT, "sources[0].text is missing: expected the columns to embed, sinc"),
    ("sources.0.text", [], "sources[0].text is missing: expected the columns to embed, since the"),
    ("sources.0.image", "pixels", "sources[0].image 'pixels': expected no image column on a sour"),
    ("sources.1.key", "id", "sources[1].key 'id': expected nothing, since .md files have no such"),
    ("sources.1.text", ["a"], "sources[1].text (a list of 1): expected nothing, since .md files"),
    ("sources.1.columns", ["a"], "sources[1].columns (a list of 1): expected nothing, since .md"),
    ("sources.1.time", "t", "sources[1].time 't': expected nothing, since .md files have no such"),
    ("sources.1.path", "a/*.jpg", "sources[1].kind 'text': expected image, since the path names"),
    ("sources.1.path", "shards/*.tar", "sources[1].kind 'text': expected image, since the path n"),
    # Places.
    ("uri", "s3://key:secret@bucket/x", "uri (a value that is not shown): expected "),
    ("uri", "$HOME/lancedb", "uri '$HOME/lancedb': expected a path; variables are not replaced"),
    ("workdir", "${WORK}", "workdir '${WORK}': expected a path; variables are not replaced in a"),
    ("workdir", "./lancedb/work", "workdir './lancedb/work': expected a folder apart from uri ("),
    ("workdir", "./lancedb", "workdir './lancedb': expected a folder apart from uri (./lancedb)"),
    ("uri", "./.vecmill/db", "workdir './.vecmill': expected a folder apart from uri (./.vecmill"),
    ("sources.1.path", "lancedb/x.md", "sources[1].path 'lancedb/x.md': expected files outside u"),
    ("sources.1.path", ".vecmill/*.md", "sources[1].path '.vecmill/*.md': expected files outside"),
    ("sources.1.path", "a\0b", "sources[1].path 'a\\x00b': expected a path without NUL character"),
    ("expectations.suite", "no.json", "expectations.suite 'no.json': expected a Great Expectatio"),
    # Storage options name variables.
    ("storage_options", 5, "storage_options (a value that is not shown): expected a mapping of st"),
    ("storage_options", {"region": "us-east-1"}, "storage_options.region (a value that is not sho"),
    ("storage_options", {"allow_http": True}, "storage_options.allow_http (a value that is not s"),
]


def case_id(case: tuple[str, Any, str]) -> str:
    path, value, _ = case
    return f"{path}={'left out' if value is LEFT_OUT else str(value)[:30]}"


@pytest.mark.parametrize(("path", "value", "message"), VALUES, ids=map(case_id, VALUES))
def test_a_wrong_value_is_explained(tmp_path: Path, path: str, value: Any, message: str) -> None:
    (found,) = mistakes_of(changed((path, value)), tmp_path)
    position = 0
    for piece in message.replace("\\\\n", "\\n").split(".*"):
        assert piece in found[position:], found
        position = found.index(piece, position) + len(piece)
    assert found.startswith(message.split(".*")[0][:20].split(" ")[0])


# A source above the table or the work in progress would read what vecmill writes.

OWN = [
    ("text", ".", {}, "sources[0].path '.': expected files outside uri, which vecmill writes ("),
    ("text", "**/*", {}, "sources[0].path '**/*': expected files outside uri, which vecmill wr"),
    ("image", "..", {}, "sources[0].path '..': expected files outside uri, which vecmill writes"),
    ("text", "w/..", {"uri": ".db", "workdir": "w"}, "expected files outside workdir, which vecmi"),
]


@pytest.mark.parametrize(("kind", "path", "places", "message"), OWN, ids=[c[1] for c in OWN])
def test_a_source_does_not_read_what_vecmill_writes(
    tmp_path: Path, kind: str, path: str, places: dict, message: str
) -> None:
    data = changed(("sources", [{"name": "all", "kind": kind, "path": path}]), *places.items())
    (found,) = mistakes_of(data, tmp_path)
    assert message in found


@pytest.mark.parametrize("path", ["*", "*/*.md", "**/*.md", "notes/**", "**/pages/*"])
def test_a_source_beside_the_table_is_fine(tmp_path: Path, path: str) -> None:
    data = changed(("sources", [{"name": "all", "kind": "text", "path": path}]))
    assert parse_spec(data, tmp_path, "space.yaml").space == "handbook"


def test_hidden_folders_are_read_by_no_source(tmp_path: Path) -> None:
    everything = {"name": "all", "kind": "text", "path": "."}
    data = changed(("uri", ".lancedb"), ("sources", [everything]))
    assert parse_spec(data, tmp_path, "space.yaml").uri == str(tmp_path / ".lancedb")


IMAGES = {"name": "pictures", "kind": "image", "path": "pictures/"}

SOURCES = [
    ({**IMAGES, "text": ["caption"]}, "sources[0].text (a list of 1): expected no text columns on"),
    ({**IMAGES, "path": "p/*.md"}, "sources[0].kind 'image': expected text, since the path names"),
    (
        {**IMAGES, "path": "p.csv"},
        "sources[0].kind 'image': expected text, .*which hold no pictures",
    ),
    ({**IMAGES, "path": "p.parquet", "key": "id"}, "sources[0].image is missing: expected the col"),
    ({**IMAGES, "path": "p.parquet", "image": "i"}, "sources[0].key is missing: expected the colu"),
    ({**IMAGES, "path": "p/*.PNG", "key": "id"}, "sources[0].key 'id': expected nothing, since .p"),
    (
        {**IMAGES, "path": "p.tar", "image": "jpg"},
        "sources[0].image 'jpg': expected nothing, since",
    ),
]


@pytest.mark.parametrize(("source", "message"), SOURCES, ids=[m.split(":")[0] for _, m in SOURCES])
def test_an_image_source_is_explained(tmp_path: Path, source: dict, message: str) -> None:
    (found,) = mistakes_of(changed(("sources", [source])), tmp_path)
    assert all(piece in found for piece in message.split(".*")), found


def test_a_webdataset_has_columns_in_its_sidecars(tmp_path: Path) -> None:
    source = {**IMAGES, "path": "p.tar", "key": "uid", "time": "taken", "columns": ["label"]}
    assert parse_spec(changed(("sources", [source])), tmp_path, "space.yaml").kinds == {"image"}


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "CSV", "csv.gz", "jsonl.zst"])
def test_every_table_needs_key_and_text(tmp_path: Path, ending: str) -> None:
    source = {"name": "docs", "kind": "text", "path": f"docs/*.{ending}"}
    found = mistakes_of(changed(("sources", [source])), tmp_path)
    assert [line.split(" is missing")[0] for line in found] == ["sources[0].key", "sources[0].text"]


def test_a_folder_may_hold_tables_or_documents(tmp_path: Path) -> None:
    (tmp_path / "corpus.v1.txt").mkdir()
    plain = {"name": "docs", "kind": "text", "path": "corpus.v1.txt"}
    keyed = {"name": "tables", "kind": "text", "path": "corpus.v1.txt", "key": "id", "text": "body"}
    spec = parse_spec(changed(("sources", [plain, keyed])), tmp_path, "space.yaml")
    assert [source.text for source in spec.sources] == [(), ("body",)]


@pytest.mark.parametrize(
    ("embedder", "kind", "only"),
    [("sentence-transformers", "image", "text"), ("timm", "text", "image")],
)
def test_an_embedder_refuses_a_kind_that_it_cannot_embed(
    tmp_path: Path, embedder: str, kind: str, only: str
) -> None:
    data = changed(
        ("embedder.kind", embedder), ("sources", [{"name": "a", "kind": kind, "path": "files/"}])
    )
    assert mistakes_of(data, tmp_path) == [
        f"sources[0].kind '{kind}': expected {only}: an embedder of kind {embedder} embeds {only} "
        "only; embedder.kind: open-clip embeds text and images into one space"
    ]


@pytest.mark.parametrize(
    ("engine", "precision", "found"),
    [
        (
            "openvino",
            "fp16",
            "embedder.precision 'fp16': expected one of auto, fp32, bf16, since embedder.engine is "
            "openvino; leave it out (auto), or write engine: torch",
        ),
        (
            "onnx",
            "bf16",
            "embedder.precision 'bf16': expected one of auto, fp32, since embedder.engine is onnx; "
            "leave it out (auto), or write engine: torch or openvino",
        ),
        ("torch", "fp16", None),
        ("openvino", "auto", None),
        ("auto", "fp16", None),
    ],
)
def test_an_engine_refuses_a_precision_that_it_does_not_compute(
    tmp_path: Path, engine: str, precision: str, found: str | None
) -> None:
    data = changed(("embedder.engine", engine), ("embedder.precision", precision))
    if found is None:
        parse_spec(data, tmp_path, "space.yaml")
    else:
        assert mistakes_of(data, tmp_path) == [found]


def test_a_timm_embedder_takes_no_prompt(tmp_path: Path) -> None:
    embedder = {"kind": "timm", "model": "m", "prompt": "a", "query_prompt": "b"}
    data = changed(("embedder", embedder), ("sources", [IMAGES]))
    assert [line.split(" ")[0] for line in mistakes_of(data, tmp_path)] == [
        "embedder.prompt",
        "embedder.query_prompt",
    ]


def test_one_column_has_one_type_in_every_source(tmp_path: Path) -> None:
    year = {"name": "year", "type": "int32"}
    data = changed(("sources.0.columns", [year]))
    data["sources"][1] = {**data["sources"][0], "name": "more"}
    data["sources"][1]["columns"] = [{"name": "jahr", "as": "year", "type": "string"}]
    (found,) = mistakes_of(data, tmp_path)
    assert found.startswith(
        "sources[1].columns[0].type 'string': expected int32, as source docs has it: a column"
    )


@pytest.mark.parametrize("name", ["uri", "workdir"])
def test_a_file_where_a_folder_belongs(tmp_path: Path, name: str) -> None:
    (tmp_path / "taken").write_text("")
    for place in ("taken", "taken/below"):
        (found,) = mistakes_of(changed((name, place)), tmp_path)
        assert found.startswith(f"{name} '{place}': expected a folder, or a place where one can be")
        assert f"{tmp_path}/taken is a file" in found


# All at once

TEN = """
space: Handbook
uri: ./lancedb
max_tokens: 256
sources:
  - {name: docs, kind: txt, path: docs/*.md}
  - {name: docs, kind: text, path: table.csv, text: body, max_shrink: 2}
chunk: {max_tokens: 64, overlap: 64}
embedder: {kind: sentence-transformers}
audit: {drift: warn}
publish: {tag: v0001}
"""


def test_ten_mistakes_are_ten_mistakes_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(TEN)
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    assert [(each.path, each.line) for each in caught.value.mistakes] == [
        ("space", 2),
        ("max_tokens", 4),
        ("sources[0].kind", 6),
        ("sources[1].max_shrink", 7),
        ("sources[1].name", 7),
        ("sources[1].key", 7),
        ("chunk.overlap", 8),
        ("embedder.model", 9),
        ("audit.drift", 10),
        ("publish.tag", 11),
    ]
    head, *lines = str(caught.value).splitlines()
    assert head == f"{path} has 10 mistakes; nothing was run:"
    assert all(line.startswith(f"{path}: ") for line in lines)
    assert lines[2] == (
        f"{path}: sources[0].kind 'txt' (line 6): expected one of text, image; did you mean text?"
    )


def test_a_repeated_key_is_reported_beside_the_others(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(TEN + "uri: ./other\nchunk: null\n")
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    repeated = [str(m) for m in caught.value.mistakes if "each key once" in m.expected]
    assert repeated == [
        "uri stands on line 3 too (line 12): expected each key once; keep one of the two",
        "chunk stands on line 8 too (line 13): expected each key once; keep one of the two",
    ]


def test_one_mistake_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(changed(("chunk.max_tokens", 3)), tmp_path, "space.yaml")
    assert str(caught.value) == (
        "space.yaml: chunk.max_tokens 3: expected a whole number from 8 to 100000; "
        "or leave it out for the default, 256"
    )


# Secrets

SECRETS = [
    ("storage_options", {"aws_secret_access_key": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"}),
    ("storage_options", {"aws_access_key_id": "AKIAIOSFODNN7EXAMPLE"}),
    ("storage_options", {"account_key": "QWERTYUIOPASDFGHJKLZ"}),
    ("storage_options", {"deep": {"secret": "hunter2hunter2"}}),
    ("aws_secret_access_key", "hunter2hunter2"),
    ("embedder.hf_token", "hf_abcdefghijklmnop"),
    ("embedder.revision", ["hf_abcdefghijklmnop"]),
    ("embedder.precision", "hf_abcdefghijklmnop"),
    ("uri", "s3://AKIAIOSFODNN7EXAMPLE:hunter2hunter2@bucket/x"),
    ("sources.1.path", "https://host/x.md?sig=hunter2hunter2"),
    ("sources.1.path", "https://user:hunter2hunter2@host/x.md"),
    ("embedder.model", "https://user:hunter2hunter2@host/model"),
]


@pytest.mark.parametrize(
    ("path", "value"), SECRETS, ids=[f"{path}-{i}" for i, (path, _) in enumerate(SECRETS)]
)
def test_a_secret_is_refused_and_never_shown(tmp_path: Path, path: str, value: Any) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(changed((path, value)), tmp_path, "space.yaml")
    said = f"{caught.value}{[repr(each) for each in caught.value.mistakes]}"
    secrets = ("wJalr", "AKIA", "QWERTY", "hunter2", "hf_abcdefgh")
    assert not [secret for secret in secrets if secret in said]
    # Python prints the cause of an error too: pydantic's would show the input.
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "MINIO_KEY", "_TOKEN", "KEY2"])
def test_a_storage_option_names_a_variable(tmp_path: Path, name: str) -> None:
    spec = parse_spec(changed(("storage_options", {"k": name})), tmp_path, "space.yaml")
    assert spec.storage_options == {"k": name}
