"""Each reason by a file that has it, through a whole build, as `vecmill rejects` tells it."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import pytest
import yaml

import flows.demo
from made_images import made_image, made_tar
from made_specs import PLAIN
from schemas.reasons import Reason
from tasks.embed import embed_shard
from tasks.embedders.open_clip_embedder import OpenClip
from tasks.store.pictures import open_picture

SCENE_CLIP = Path(flows.demo.__file__).parent / "scene_clip"

DOCUMENTS = {
    "good.md": b"# A red circle",
    "blank.md": b" \n\t",
    "latin.txt": b"caf\xe9",
    "nul.txt": b"a\0b",
    "half.txt": b"half \xed\xa0\xbd of a pair",
    "long.txt": b"word " * 400,
    "thesis.pdf": b"%PDF-1.7",
    "shout.txt": b"A RED CIRCLE",
}
TABLE = (
    "id,body,year\n1,a red circle,2001\n,no key,2001\n1,again,2001\n2,too,many,fields\n3,x,soon\n"
)
LINES = '{"id": 1.5, "body": "a blue square"}\n{"id": 7, "body": "a green line"}\n'
SUITE = {
    "name": "calm",
    "expectations": [
        {
            "type": "expect_column_values_to_not_match_regex",
            "kwargs": {"column": "text", "regex": "^[A-Z ]+$"},
            "meta": {"vecmill": {"source": "documents"}},
        }
    ],
}

EXPECTED = {
    "empty-text": ("documents", "blank.md", None, "documents/blank.md", "blank"),
    "not-utf8": ("documents", "latin.txt", None, "documents/latin.txt", r"caf\\xe9"),
    "nul-byte": ("documents", "nul.txt", None, "documents/nul.txt", "NUL"),
    "lone-surrogate": ("documents", "half.txt", None, "documents/half.txt", r"\\xed\\xa0"),
    "text-too-long": ("documents", "long.txt", None, "documents/long.txt", "2000 characters"),
    "unsupported-format": ("documents", "thesis.pdf", None, "documents/thesis.pdf", "no text"),
    "expectation:expect_column_values_to_not_match_regex": (
        *("documents", "shout.txt", None, "documents/shout.txt", "text = 'A RED CIRCLE'"),
    ),
    "missing-key": ("table", None, 3, "table.csv", "blank"),
    "repeated-key": ("table", "1", None, "table.csv", "first in"),
    "superseded": ("dated", "1", None, "dated.csv", "is later"),
    "malformed-line": ("table", None, 5, "table.csv", "4 fields; expected 3"),
    "bad-value": ("table", "3", 6, "table.csv", "'soon' cannot be read as int32"),
    "bad-key": ("lines", None, 1, "lines/a.jsonl", "1.5 is float"),
    "missing-column": ("lines", "9", 1, "lines/other.jsonl", "no column 'body'"),
    "unreadable-file": ("lines", None, None, "lines/cut.jsonl.gz", "gzip"),
    "outside-root": ("photos", "leak.png", None, "photos/leak.png", "leads out"),
    "empty-image": ("photos", "empty.png", None, "photos/empty.png", "0 bytes"),
    "corrupt-image": ("photos", "corrupt.png", None, "photos/corrupt.png", "PNG"),
    "truncated-image": ("photos", "cut.png", None, "photos/cut.png", "PNG"),
    "decompression-bomb": ("photos", "bomb.png", None, "photos/bomb.png", "30000 x 30000 px"),
    "image-too-small": ("photos", "pixel.png", None, "photos/pixel.png", "1 x 1 px"),
    "source-changed": ("photos", "changed.png", None, "photos/changed.png", "changed"),
    "embed-failed": ("photos", "odd.png", None, "photos/odd.png", "an odd size"),
}
"""Reason → source, key, position, end of the uri, and something that the detail says."""


def write_sources(folder: Path) -> None:
    for name in ("documents", "lines", "photos"):
        (folder / name).mkdir()
    for name, data in DOCUMENTS.items():
        (folder / "documents" / name).write_bytes(data)
    (folder / "table.csv").write_text(TABLE)
    (folder / "dated.csv").write_text("id,body\n1,a red line\n1,a blue line\n")
    (folder / "lines" / "a.jsonl").write_text(LINES)
    (folder / "lines" / "other.jsonl").write_text('{"id": 9, "title": "x"}\n')
    (folder / "lines" / "cut.jsonl.gz").write_bytes(b"\x1f\x8b\x08")
    photos, red = folder / "photos", made_image("red")
    header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    bomb = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    for name, data in {
        "red.png": red,
        "empty.png": b"",
        "corrupt.png": red[:60] + bytes(8) + red[68:],
        "cut.png": red[:60],
        "bomb.png": red[:8] + bomb + red[33:],
        "pixel.png": made_image(size=(1, 1)),
        "changed.png": made_image("green"),
        "odd.png": made_image("blue", size=(50, 50)),
    }.items():
        (photos / name).write_bytes(data)
    (folder / "secret.png").write_bytes(red)
    (photos / "leak.png").symlink_to(folder / "secret.png")
    made_tar(folder / "photos.tar", {"a.png": made_image("yellow"), "../b.png": red})


def write_spec(folder: Path) -> Path:
    (folder / "suite.json").write_text(json.dumps(SUITE))
    table = {"kind": "text", "key": "id", "text": ["body"]}
    spec = {
        "space": "rejects",
        "uri": "./db",
        "workdir": "./work",
        "sources": [
            {"name": "documents", "kind": "text", "path": "documents"},
            {**table, "name": "table", "path": "table.csv"}
            | {"columns": [{"name": "year", "type": "int32"}]},
            {**table, "name": "lines", "path": "lines"},
            {"name": "photos", "kind": "image", "path": "photos"},
            {**table, "name": "dated", "path": "dated.csv", "on_repeat": "latest"},
            {"name": "tar", "kind": "image", "path": "photos.tar"},
        ],
        **PLAIN,
        "embedder": {
            "kind": "open-clip",
            "model": str(SCENE_CLIP),
            "engine": "torch",
            "precision": "fp32",
        },
        "expectations": {"max_reject_share": 1.0, "suite": "suite.json"},
    }
    (folder / "space.yaml").write_text(yaml.safe_dump(spec))
    return folder / "space.yaml"


@pytest.fixture(scope="module")
def space(tmp_path_factory, vecmill) -> Path:
    """A published space: a good record in each source, and a reject of each reason."""
    folder = tmp_path_factory.mktemp("every-reject")
    write_sources(folder)
    spec = write_spec(folder)
    prepare, load = OpenClip.prepare_bytes, embed_shard.load

    def fails_at_odd_sizes(self, content):
        if open_picture(content).size == (50, 50):
            raise ValueError("an odd size")
        return prepare(self, content)

    def changes_a_file(ref):
        (folder / "photos" / "changed.png").write_bytes(made_image("black"))
        return load(ref)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tasks.ingest.record_checks.MAX_TEXT", 1_000)
        patched.setattr(OpenClip, "prepare_bytes", fails_at_odd_sizes)
        patched.setattr(embed_shard, "load", changes_a_file)
        done = vecmill("build", spec, "--json", "--quiet")
    assert done.code == 0, done.err
    counts = json.loads(done.out)["counts"]
    assert counts["records"] == counts["records_used"] + counts["records_rejected"]
    assert counts["items"] == counts["rows"] + counts["items_rejected"]
    assert (counts["records_rejected"], counts["items_rejected"]) == (22, 2)
    return spec


def test_every_reason_has_its_file():
    asked_for = {Reason.FORGOTTEN}  # no file brings it about
    assert {str(reason) for reason in set(Reason) - asked_for} < set(EXPECTED)


@pytest.mark.parametrize("reason", EXPECTED)
def test_it_is_told_with_example_and_reference(space, vecmill, reason):
    answer = json.loads(vecmill("rejects", space, "--reason", reason, "--json").out)
    [group] = answer["reasons"]
    source, key, position, end, said = EXPECTED[reason]
    example = group["examples"][0]
    assert (group["reason"], group["meaning"] != "") == (reason, True)
    assert (example["source"], example["key"]) == (source, key)
    assert example["position"] == position
    assert example["uri"].endswith(end)
    assert said in example["detail"]


def test_a_reason_that_none_has_names_those_there_are(space, vecmill):
    answer = vecmill("rejects", space, "--reason", "empty-txt")
    assert (answer.code, answer.out) == (0, "")
    assert (
        "no reject has the reason 'empty-txt'; the reasons of this build: bad-key, " in answer.err
    )


def test_people_read_the_same(space, vecmill):
    out = vecmill("rejects", space).out
    assert "malformed-line  1 record, stage ingest: the line cannot be parsed\n" in out
    assert f"in {space.parent / 'table.csv'}:5\n" in out
    assert "embed-failed  1 item, stage embed: the embedder could not embed it\n" in out
    assert out.count("\n        in ") == 24
