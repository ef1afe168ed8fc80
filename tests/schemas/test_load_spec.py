"""The file a user writes: what is read from it, and how one that cannot be read is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import UsageError
from schemas.load import load_spec, parse_spec
from schemas.mistakes import SpecError

MINIMAL = """
space: handbook
uri: ./lancedb
sources:
  - {name: docs, kind: text, path: "docs/**/*.md"}
embedder: {kind: sentence-transformers, model: sentence-transformers/all-MiniLM-L6-v2}
"""

EVERYTHING = """
space: handbook
uri: ./lancedb
workdir: ./.vecmill
storage_options: {aws_region: AWS_REGION, aws_secret_access_key: AWS_SECRET_ACCESS_KEY}
sources:
  - name: docs
    kind: text
    path: s3://corpus/docs/*.jsonl.zst
    key: doc_id
    text: [title, body]
    columns: [lang, {name: updated_at, as: updated, type: timestamp}]
    mode: snapshot
    on_repeat: reject
    time: updated_at
    max_shrink: 0.2
chunk: {max_tokens: 128, overlap: 16, tokenizer: null}
embedder:
  kind: sentence-transformers
  model: sentence-transformers/all-MiniLM-L6-v2
  revision: main
  prompt: "passage: "
  query_prompt: "query: "
  precision: bf16
  engine: torch
  normalize: true
  dimensions: 128
expectations: {suite: null, max_reject_share: 0.05, min_rows: 1}
dedupe: {exact: true, near: null, semantic: null, within: source, keep: [latest, shortest]}
cluster: null
audit: {quality: warn, canary: off, verify: off, drift: off, recall: off}
publish: {tag: live, index: off, keep: null, vector_type: float32, thumbnails: false}
compute: {engine: local, max_workers: 4}
"""


def written(folder: Path, text: str, name: str = "space.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_minimal_spec_gets_every_default(tmp_path: Path) -> None:
    spec = load_spec(written(tmp_path, MINIMAL))
    assert spec.space == "handbook"
    assert spec.chunk is not None
    assert (spec.chunk.max_tokens, spec.chunk.overlap) == (256, 0)
    assert spec.publish.tag == "prod"
    assert spec.expectations.max_reject_share == 0.05
    assert spec.dedupe.keep == ("earliest", "longest")
    assert (spec.dedupe.near.threshold, spec.dedupe.semantic.threshold) == (0.7, 0.95)
    assert (spec.cluster.method, spec.cluster.k, spec.cluster.map) == ("kmeans", "auto", "pca")


def test_what_is_not_built_yet_resolves_to_off(tmp_path: Path) -> None:
    spec = load_spec(written(tmp_path, MINIMAL)).model_dump(mode="json")
    assert spec["audit"] == {
        "quality": "refuse",
        "canary": "off",
        "verify": "off",
        "drift": "off",
        "recall": "off",
    }
    assert spec["publish"]["keep"] == 10
    assert spec["compute"]["engine"] == "local"


def test_every_field_that_is_built_can_be_written(tmp_path: Path) -> None:
    spec = load_spec(written(tmp_path, EVERYTHING))
    source = spec.source("docs")
    assert source.path == "s3://corpus/docs/*.jsonl.zst"
    assert [(c.name, c.target, c.type) for c in source.columns] == [
        ("lang", "lang", None),
        ("updated_at", "updated", "timestamp"),
    ]
    assert spec.embedder.precision == "bf16"
    assert spec.publish.index == "off"
    assert spec.audit.drift == "off"


@pytest.mark.parametrize("text", [MINIMAL, EVERYTHING], ids=["minimal", "everything"])
def test_a_resolved_spec_comes_back_from_its_own_json(tmp_path: Path, text: str) -> None:
    spec = load_spec(written(tmp_path, text))
    for dumped in (spec.model_dump_json(), spec.model_dump_json(by_alias=True)):
        assert parse_spec(json.loads(dumped), "/elsewhere", "the manifest") == spec


def test_the_inline_form_says_off_as_false(tmp_path: Path) -> None:
    data = json.loads(load_spec(written(tmp_path, MINIMAL)).model_dump_json())
    data["audit"]["quality"] = False
    data["publish"]["index"] = False
    spec = parse_spec(data, tmp_path, "flow parameter")
    assert (spec.audit.quality, spec.publish.index) == ("off", "off")


def test_the_inline_form_is_not_changed(tmp_path: Path) -> None:
    data = {
        "space": "a",
        "uri": "db",
        "sources": [{"name": "s", "kind": "text", "path": "x.md"}],
        "embedder": {"kind": "open-clip", "model": "some/model"},
    }
    before = json.dumps(data)
    parse_spec(data, tmp_path, "flow parameter")
    assert json.dumps(data) == before


@pytest.mark.parametrize("word", ["yes", "on", "Yes", "ON", "true"])
def test_a_switch_may_be_written_as_yaml_1_1_writes_it(tmp_path: Path, word: str) -> None:
    spec = load_spec(written(tmp_path, MINIMAL + f"publish: {{thumbnails: {word}}}\n"))
    assert spec.publish.thumbnails is True


def test_a_bare_no_is_a_text_where_a_text_belongs(tmp_path: Path) -> None:
    text = MINIMAL.replace('"docs/**/*.md"', "no").replace("name: docs", "name: no")
    assert load_spec(written(tmp_path, text)).source("no").path == str(tmp_path / "no")


def test_sources_may_share_settings_by_a_yaml_anchor(tmp_path: Path) -> None:
    text = """
space: handbook
uri: ./lancedb
sources:
  - &table {name: a, kind: text, path: a.csv, key: id, text: body}
  - {<<: *table, name: b, path: b.csv}
embedder: {kind: open-clip, model: some/model}
"""
    spec = load_spec(written(tmp_path, text))
    assert [(s.name, s.key, s.text) for s in spec.sources] == [
        ("a", "id", ("body",)),
        ("b", "id", ("body",)),
    ]


def test_an_alias_may_stand_twice_and_override_what_it_merged(tmp_path: Path) -> None:
    text = """
space: handbook
uri: ./lancedb
sources:
  - {name: a, kind: text, path: a.csv, key: id, text: body, columns: [&wide {name: b, type: int32}]}
  - {name: b, kind: text, path: b.csv, key: id, text: body, columns: [&c {<<: *wide, name: c}, ]}
  - {name: c, kind: text, path: c.csv, key: id, text: body, columns: [*c, *wide]}
embedder: {kind: open-clip, model: some/model}
"""
    spec = load_spec(written(tmp_path, text))
    assert [[(c.name, c.type) for c in s.columns] for s in spec.sources] == [
        [("b", "int32")],
        [("c", "int32")],
        [("c", "int32"), ("b", "int32")],
    ]


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert load_spec(path).space == "handbook"


def test_a_spec_may_be_read_from_a_uri(tmp_path: Path) -> None:
    import fsspec

    with fsspec.open("memory://specs/space.yaml", "w") as file:
        file.write(MINIMAL.replace("./lancedb", str(tmp_path)) + f"workdir: {tmp_path}-work\n")
    spec = load_spec("memory://specs/space.yaml")
    assert spec.source("docs").path == "memory://specs/docs/**/*.md"


# What cannot be read at all


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("space: [a\nuri: b", r"space\.yaml: line 2, column 4 .*expected YAML; correct that line"),
        ("space: a: b", r"line 1, column 9 .*put a text that holds ': ' in quotes"),
        ("space:\n\t- a", r"line 2, column 1 .*indent with spaces instead of tabs"),
        ("space: a\n---\nspace: b", r"line 2, column 1 .*keep one document"),
        ("a: &x [*x]", r"line 1, column 4 .*an alias that leads back to itself"),
        ("? [a, b]\n: 1", r"line 1, column 3 .*a key that is a list"),
        ("a: *nobody", r"line 1, column 4 .*undefined alias"),
        ("a: \x07", r"the file .*special characters are not allowed.*expected YAML"),
        ("a: " + "[" * 3000, r"the file \(nested without end\): expected YAML"),
        ("", r"the spec is empty: expected a mapping with space, .*; vecmill init PATH writes"),
        ("# only a comment\n", r"the spec is empty"),
        ("- a\n- b", r"the spec \(a list of 2\): expected a mapping with space"),
        ("handbook", r"the spec 'handbook': expected a mapping with space"),
    ],
    ids=[
        *("unclosed-list", "colon-in-text", "tab", "two-documents", "endless-alias"),
        *("list-as-key", "unknown-alias", "control-character", "deep", "empty", "comment-only"),
        *("a-list", "a-word"),
    ],
)
def test_a_file_that_is_no_spec_says_where(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        load_spec(written(tmp_path, text))
    assert len(caught.value.mistakes) == 1
    assert caught.value.exit_code == 2


def test_an_alias_bomb_is_refused_quickly(tmp_path: Path) -> None:
    levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    with pytest.raises(SpecError, match="unfolds without end"):
        load_spec(written(tmp_path, "\n".join(["a0: &a0 [x]", *levels])))


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_bytes("space: b\xfccher".encode("latin-1"))
    with pytest.raises(SpecError, match=r"byte 8 is 0xfc.*expected UTF-8 text; save the file as"):
        load_spec(path)


def test_a_yaml_tag_runs_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    text = MINIMAL + f"workdir: !!python/object/apply:os.mkdir ['{marker}']\n"
    with pytest.raises(SpecError, match=r"workdir.*expected plain YAML without tags") as caught:
        load_spec(written(tmp_path, text))
    assert len(caught.value.mistakes) == 1
    assert not marker.exists()


def test_a_missing_file_suggests_the_one_that_is_there(tmp_path: Path) -> None:
    written(tmp_path, MINIMAL, "handbook.yaml")
    with pytest.raises(UsageError, match=r"handbok\.yaml: no such file: .*did you mean .*/handboo"):
        load_spec(tmp_path / "handbok.yaml")
    with pytest.raises(UsageError, match=r"there is no folder .*/nowhere"):
        load_spec(tmp_path / "nowhere" / "space.yaml")


def test_a_folder_names_the_specs_in_it(tmp_path: Path) -> None:
    written(tmp_path, MINIMAL, "handbook.yaml")
    with pytest.raises(UsageError, match=r"is a folder: .*; name one of handbook\.yaml"):
        load_spec(tmp_path)


def test_a_uri_that_cannot_be_read_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"memory://nothing/x\.yaml cannot be read .*check the"):
        load_spec("memory://nothing/x.yaml")


def test_a_uri_with_credentials_is_refused_and_not_shown() -> None:
    with pytest.raises(UsageError, match="carries a user name, a password") as caught:
        load_spec("https://user:hunter2@host/space.yaml")
    assert "hunter2" not in str(caught.value)


def test_a_store_without_its_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UsageError, match=r"s3://b/x\.yaml cannot be read: Install s3fs"):
        load_spec("s3://b/x.yaml")


def test_reading_a_spec_loads_nothing_heavy(tmp_path: Path) -> None:
    path = written(tmp_path, EVERYTHING)
    program = (
        "import sys; from schemas.load import load_spec; load_spec(sys.argv[1]); "
        "print(sorted({'pyarrow', 'numpy', 'torch', 'prefect', 'fsspec'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert run.stdout.strip() == "[]"
