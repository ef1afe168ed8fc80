"""`audit`: a whole release passes; a damaged, missing or doctored file is found and named."""

from __future__ import annotations

import json
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from made_words import sentence
from tasks.audit.gates import Expected
from tasks.audit.release import audit_release
from tasks.table.releases import list_releases

GATES = [
    *("readable", "content", "columns", "duplicates", "counts", "ids_unique", "width"),
    *("finite", "zero_vectors", "norm", "collapse:text"),
]


@pytest.fixture
def built(notes, texts):
    """Two releases with a column and a copy."""
    notes.source(columns=["lang", {"name": "year", "as": "since"}])
    notes.changes["publish"] = {"vector_type": "float32"}
    every = {**texts, "copy": texts["n0"]}
    notes.write(every, lang=dict.fromkeys(every, "en"), year=dict.fromkeys(every, 1990))
    notes.build()
    every["n3"] = sentence(300)
    notes.write(every, lang=dict.fromkeys(every, "en"), year=dict.fromkeys(every, 1990))
    notes.build()
    return notes


def failed(answer) -> dict[str, str]:
    audits = json.loads(answer.out)["audits"]
    return {audit["name"]: audit["detail"] for audit in audits if not audit["passed"]}


@pytest.mark.parametrize("words", [[], ["--release", "v0001"]], ids=["prod", "v0001"])
def test_a_whole_release_passes_and_nothing_is_written(built, words):
    before = built.files()
    answer = built.command("audit", *words, "--json")
    document = json.loads(answer.out)
    assert (answer.code, document["passed"]) == (0, True)
    assert [audit["name"] for audit in document["audits"]] == GATES
    assert failed(answer) == {}
    assert built.files().keys() - before.keys() == {"notes.yaml"} - before.keys()


def test_for_people(built):
    answer = built.command("audit")
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert lines[0].startswith("notes v0002, version ")
    assert lines[1].split() == ["gate", "verdict", "value", "limit"]
    assert [line.split()[:2] for line in lines[2:4]] == [
        ["readable", "passed"],
        ["content", "passed"],
    ]


def test_a_rollback_passes(built):
    built.command("rollback")
    answer = built.command("audit", "--json")
    assert (answer.code, json.loads(answer.out)["release"]) == (0, "v0003")


def data_files(notes) -> list[Path]:
    """The data files of the release, by fragment."""
    dataset = lance.dataset(notes.ref.path, version="prod")
    names = [file.path for each in dataset.get_fragments() for file in each.data_files()]
    return [Path(notes.ref.path, "data", name) for name in names]


def test_a_missing_file_is_named(built):
    first, *_ = data_files(built)
    first.unlink()
    answer = built.command("audit", "--json")
    assert answer.code == 3
    found = failed(answer)
    assert list(found) == ["readable"]
    assert first.name in found["readable"]
    assert "1 of 2 fragments cannot be read" in found["readable"]
    assert "FAILED readable" in built.command("audit").out


def test_a_cut_file_is_named(built):
    first, *_ = data_files(built)
    first.write_bytes(first.read_bytes()[: first.stat().st_size // 2])
    answer = built.command("audit", "--json")
    assert (answer.code, first.name in failed(answer)["readable"]) == (3, True)


def test_a_flipped_bit_in_a_text_is_found(built, texts):
    first, *_ = data_files(built)
    whole = first.read_bytes()
    at = whole.find(texts["n5"].encode())
    assert at > 0
    first.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    answer = built.command("audit", "--json")
    assert answer.code == 3
    assert (
        "1 of 31 texts are not what their content hash says; for example docs:n5"
        in (failed(answer)["content"])
    )


def test_a_flipped_bit_in_a_column_warns(built):
    first, *_ = data_files(built)
    whole = first.read_bytes()
    spoilt = bytearray(whole)
    place = str(built.folder / "notes.jsonl").encode()  # the uri of every row
    at = whole.find(place)
    assert at > 0
    spoilt[at + len(place) - 8] ^= 1
    first.write_bytes(bytes(spoilt))
    answer = built.command("audit", "--json")
    assert (answer.code, list(failed(answer))) == (0, ["columns"])


def test_counts_ids_and_vectors_are_those_of_the_manifest(built):
    """Rows that a stranger put in place of the release's: every gate says its own."""
    release = list_releases(built.ref)[-1]
    dataset = lance.dataset(built.ref.path, version=release.version)
    table = dataset.to_table()
    values = np.zeros((table.num_rows + 1, 32), np.float32)
    values[:, 0] = 3
    values[0, 0] = np.nan
    doctored = pa.concat_tables([table, table.slice(4, 1)])
    at = doctored.schema.get_field_index("vector")
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 32)
    doctored = doctored.set_column(at, dataset.schema.field("vector"), vectors)
    at = doctored.schema.get_field_index("duplicate_kind")
    nothing = pa.nulls(doctored.num_rows, pa.string())
    doctored = doctored.set_column(at, dataset.schema.field("duplicate_kind"), nothing)
    written = lance.write_dataset(doctored, built.ref.path, mode="overwrite")
    expected = Expected(release.manifest.counts, 32, normalize=True)
    columns = {"docs": ["lang", "since"]}
    verdicts = audit_release(built.ref, written.version, expected, columns)
    assert [v.name for v in verdicts if not v.passed] == [
        *("duplicates", "counts", "ids_unique", "finite", "norm", "collapse:text")
    ]


def test_a_gate_that_was_accepted_warns(notes, spoiled):
    spoiled(lambda vectors: vectors * 3)
    build = notes.build().manifest.build_id
    notes.command("accept", build, "--reason", "raw lengths", "--who", "ada")
    assert notes.build().manifest.published
    answer = notes.command("audit", "--json")
    assert answer.code == 0
    assert failed(answer)["norm"].startswith("accepted by ada: raw lengths")


def test_nothing_to_audit(notes):
    answer = notes.command("audit")
    assert (answer.code, "has no release yet" in answer.err) == (2, True)
