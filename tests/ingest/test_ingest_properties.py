"""Random mixes of good and bad lines: the good ones all arrive, and the counts add up."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path
from unittest.mock import patch

import pyarrow.parquet as pq
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.identity import canonical_text
from schemas.spec import SpaceSpec
from tasks.ingest.read_part import read_part
from tasks.ingest.survey import survey
from tasks.store.workdir import Store

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
"""Any Unicode: quotes, line ends, delimiters, combining marks."""

BAD_JSON = st.sampled_from(
    [
        *(b"{", b"[]", b"1", b'"x"', b"nul", b'{"id": "x"} {}', b'{"id": "x", "body": "\xff"}'),
        *(b'{"id": 1.5, "body": "x"}', b'{"id": "x", "body": 1}'),
        b'{"id": "x", "body": "\\ud800"}',
    ]
)
BAD_CSV = st.sampled_from([b"a,b,c", b"a", b'"a"b,c', b"a,\xff", b'x,"\xff"', b",no key"])


def read(data: bytes, ending: str, block: int) -> tuple[list[tuple[str, str]], int]:
    """Keys and texts of a file with that content, and the number of its rejects."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"t.{ending}"
        file.write_bytes(data)
        source = {"name": "s", "kind": "text", "path": str(file), "key": "id", "text": "body"}
        embedder = {"kind": "timm", "model": "m"}
        spec = SpaceSpec(space="s", uri="db", sources=[source], embedder=embedder)
        (part,) = survey(spec).listings[0].parts
        cut = "tasks.ingest.record_cutter.BLOCK_BYTES"
        with patch(cut, block), patch("tasks.ingest.byte_chunks.CHUNK_BYTES", 1 + block // 3):
            result = read_part(part, Store(f"{folder}/w"))
        rows = pq.read_table(result.path)
        places = rows["row"].to_pylist()
        places += pq.read_table(result.rejects.path)["row"].to_pylist()
        assert sorted(places) == list(range(result.records + result.rejects.records))
        pairs = zip(rows["key"].to_pylist(), rows["text"].to_pylist(), strict=True)
        return list(pairs), result.rejects.records


def expected(lines: list[str | bytes]) -> tuple[list[tuple[str, str]], int]:
    """What must arrive: good lines are texts, numbered; bad ones are bytes."""
    good = [(str(i), canonical_text([t])) for i, t in enumerate(lines) if isinstance(t, str)]
    kept = [(key, text) for key, text in good if text]
    return kept, len(lines) - len(kept)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS | BAD_JSON, min_size=1, max_size=12), st.integers(1, 400))
def test_jsonl(lines, block):
    encoded = [
        json.dumps({"id": str(i), "body": line}, ensure_ascii=i % 2 == 0).encode()
        if isinstance(line, str)
        else line
        for i, line in enumerate(lines)
    ]
    head = b'{"id": "head", "body": "has both columns"}\n'
    found, rejected = read(head + b"\n".join(encoded), "jsonl", block)
    kept, lost = expected(lines)
    assert found == [("head", "has both columns"), *kept]
    assert rejected == lost


def csv_line(key: str, text: str) -> bytes:
    """One record as Python's csv module writes it."""
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="").writerow([key, text])
    return out.getvalue().encode()


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS | BAD_CSV, min_size=1, max_size=12), st.integers(1, 400))
def test_csv(lines, block):
    encoded = [
        csv_line(str(i), line) if isinstance(line, str) else line for i, line in enumerate(lines)
    ]
    found, rejected = read(b"id,body\n" + b"\n".join(encoded), "csv", block)
    assert (found, rejected) == expected(lines)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=6), st.sampled_from(["jsonl", "csv"]))
def test_a_bad_line_changes_nothing_for_its_neighbours(texts, ending):
    # With it the block is read record by record, without it by Arrow.
    head, bad = (b"id,body\n", b"a,b,c\n") if ending == "csv" else (b"", b"[1]\n")
    lines = [
        csv_line(str(i), text)
        if ending == "csv"
        else json.dumps({"id": i, "body": text}, ensure_ascii=False).encode()
        for i, text in enumerate(texts)
    ]
    data = head + b"\n".join(lines) + b"\n"
    found, rejected = read(data, ending, 1000)
    assert read(data + bad, ending, 1000) == (found, rejected + 1)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["csv", "tsv", "jsonl", "jsonl.gz", "csv.zst"]))
@example(data=b"\n", ending="jsonl")
def test_no_bytes_make_ingest_fail(data, ending):
    read(data, ending, 50)
    read(b'id,body\n"' + data, ending, 50)
