"""The report: one page, no network, hostile documents harmless, every section where it belongs."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime

import lance
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from schemas.arrow import REJECTS, table_schema
from schemas.identity import content_hashes
from schemas.manifest import AuditResult, Counts, DuplicateCounts, EmbedderRecord, Manifest, Timings
from tasks.report.collect import collect
from tasks.report.render import _seconds, funnel, render, write_report
from tasks.report.verdict import verdict

EVIL = '</script><script>alert("owned")</script><img src=x onerror=alert(1)>'


def jpeg(colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (128, 96), colour).save(out, "JPEG")
    return out.getvalue()


def table(count: int = 40) -> pa.Table:
    """Texts and pictures; `a:0` has two exact copies; one id, text and label are hostile."""
    schema = table_schema(4, "float16", [pa.field("label", pa.string())])
    vectors = np.random.default_rng(1).normal(size=(count, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = [f"a:{i}" for i in range(count - 1)] + [f"a:'{EVIL}"]
    picture = [i % 4 == 3 for i in range(count)]
    known = {
        "id": ids,
        "source": ["a"] * count,
        "kind": ["image" if p else "text" for p in picture],
        "text": [None if p else f"{EVIL} text {i}" for i, p in enumerate(picture)],
        "thumbnail": [jpeg("red") if p else None for p in picture],
        "row_hash": content_hashes(ids),
        "vector": list(vectors.astype(np.float16)),
        "duplicate_of": [{1: "a:0", 2: "a:0", 4: f"a:'{EVIL}"}.get(i) for i in range(count)],
        "duplicate_kind": ["exact" if i in (1, 2, 4) else None for i in range(count)],
        "label": [EVIL if i % 2 else "calm" for i in range(count)],
    }
    return pa.table(
        [pa.array(known.get(f.name, [None] * count), f.type) for f in schema], schema=schema
    )


REJECT_ROWS = [
    *(
        {"source": "a", "key": f"k{i}", "kind": "text", "level": "record", "stage": "ingest"}
        | {"reason": "empty-text", "detail": EVIL, "uri": f"/x/{EVIL}", "position": i}
        for i in range(7)
    ),
    {"source": "a", "key": "z", "id": "a:z#1", "kind": "text", "level": "item", "stage": "embed"}
    | {"reason": "embed-failed", "detail": "it is NaN", "uri": "/x", "position": None},
]


def manifest(**changes: object) -> Manifest:
    when = datetime(2026, 11, 3, 9, 12, tzinfo=UTC)
    counts = Counts(
        records=47, records_used=40, records_rejected=7, items=41, items_rejected=1, rows=40,
        new=30, unchanged=10, embedded=28, duplicates=DuplicateCounts(exact=3),
    )  # fmt: skip
    audit = AuditResult(
        name="collapse", value=0.1, threshold=0.95, passed=True, severity="refuse", detail="fine"
    )
    known = {
        "space": "things",
        "build_id": "b1",
        "release": "v0002",
        "version": 7,
        "published": True,
        "tag": "prod",
        "base_release": "v0001",
        "resolved_spec": {"space": "things", "uri": EVIL},
        "counts": counts,
        "embedder": EmbedderRecord(
            fingerprint="ab" * 16, kind="open-clip", model=EVIL, dimensions=4,
            precision="fp32", engine="torch",
        ),
        "audits": (audit,),
        "timings": Timings(ingest=0.02, embed=61.5, total=70),
        "code_version": "0",
        "started_at": when,
        "finished_at": when,
    }  # fmt: skip
    return Manifest(**{**known, **changes})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    dataset = lance.write_dataset(table(), str(tmp_path_factory.mktemp("t") / "things.lance"))
    return collect(dataset, manifest(), pa.Table.from_pylist(REJECT_ROWS, REJECTS).to_batches(2))


def points(page: str) -> list[dict]:
    found = re.search(r'<script type="application/json" id="pictures">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])


def test_nothing_from_a_document_becomes_markup(data):
    page = render(data)
    assert EVIL not in page
    assert "<script>alert" not in page
    assert re.findall(r"<script[^>]*>", page) == [
        '<script type="application/json" id="pictures">',
        "<script>",
    ]
    assert "onerror=alert(1)>" not in page
    assert page.count("&lt;script&gt;") > 5


def test_the_page_asks_nothing_of_the_network(data):
    page = render(data)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    assert policy[1].startswith("default-src 'none'; img-src data:;")
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "url(" not in page
    assert "@import" not in page


def test_the_script_is_the_one_that_the_policy_allows(data):
    import base64
    import hashlib

    page = render(data)
    script = page.rsplit("<script>", 1)[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page


def test_each_kind_has_its_own_picture_with_what_a_reader_may_colour_by(data):
    image, text = points(render(data))
    assert (image["kind"], len(image["x"])) == ("image", 10)
    assert (text["kind"], len(text["x"])) == ("text", 30)
    assert image["thumbnail"][0].startswith("data:image/jpeg;base64,")
    assert text["thumbnail"] == [None] * 30
    assert [c["column"] for c in text["colourings"]] == ["label", "duplicate_kind", "source"]
    assert set(text["colourings"][1]["names"]) == {"exact", "kept"}


def test_columns_of_bytes_and_lists_are_no_colours(tmp_path):
    rows = table(4)
    for name, value in {"raw": b"\xff\xfe", "fixed": b"\xff\xfe", "list": [1], "map": "m"}.items():
        kind = pa.binary(2) if name == "fixed" else None
        rows = rows.append_column(name, pa.array([value, None] * 2, kind))
    dataset = lance.write_dataset(rows, str(tmp_path / "t.lance"))
    [_, picture] = collect(dataset, manifest()).pictures
    columns = [colouring.column for colouring in picture.colourings]
    assert sorted(columns) == ["duplicate_kind", "label", "map", "source"]


def test_duplicates_show_the_kept_row_and_its_copies(data):
    largest, other = data.duplicates
    assert (largest.kept.id, largest.count) == ("a:0", 2)
    assert [copy.id for copy in largest.copies] == ["a:1", "a:2"]
    assert other.kept.id == f"a:'{EVIL}"
    assert other.kept.thumbnail is not None


def test_of_a_record_that_was_cut_the_first_chunk_is_shown(tmp_path):
    rows = table(4)
    columns = {
        "id": ["a:kept#0", "a:kept#1", "a:copy#0", "a:copy#1"],
        "text": ["It begins so.", "It goes on.", "It began so.", "It went on."],
        "duplicate_of": [None, None, "a:kept", "a:kept"],
        "duplicate_kind": [None, None, "near", "near"],
    }
    for name, values in columns.items():
        rows = rows.set_column(rows.schema.get_field_index(name), name, [values])
    dataset = lance.write_dataset(rows, str(tmp_path / "t.lance"))
    [group] = collect(dataset, manifest()).duplicates
    assert (group.kept.id, group.kept.text) == ("a:kept", "It begins so.")
    assert [copy.text for copy in group.copies] == ["It began so.", "It went on."]


def test_the_funnel_adds_up_from_records_to_rows(data):
    assert [(step.label, step.count) for step in funnel(data)] == [
        ("records read", 47),
        ("rejected in ingest", 7),
        ("records used", 40),
        ("items to embed", 41),
        ("rejected in embed", 1),
        ("rows published", 40),
        ("of them exact duplicates", 3),
    ]


def test_the_same_content_gives_the_same_page(data, tmp_path):
    shuffled = table().take(np.random.default_rng(3).permutation(40))
    dataset = lance.write_dataset(shuffled, str(tmp_path / "other.lance"))
    again = collect(dataset, manifest(), pa.Table.from_pylist(REJECT_ROWS, REJECTS).to_batches(9))
    assert render(again) == render(data)


def test_a_refused_build_says_why_and_what_to_do():
    failed = AuditResult(
        name="collapse", value=0.99, threshold=0.95, passed=False, severity="refuse", detail="flat"
    )
    refused = manifest(
        published=False, release=None, version=None, refused_by=("collapse",), audits=(failed,)
    )
    page = render(collect(None, refused))
    assert "Refused by collapse" in page
    assert "still names v0001" in page
    assert "collapse: flat" in page
    assert "The way on." in page
    assert "The rows of this build are gone" in page


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        pytest.param({}, "Published v0002", id="published"),
        pytest.param({"published": False}, "Nothing to do: v0002 stands", id="no change"),
        pytest.param({"published": False, "release": None}, "Not published", id="neither"),
        pytest.param(
            {"published": False, "release": None, "refused_by": ("a", "b")},
            "Refused by a and b",
            id="refused",
        ),
    ],
)
def test_the_headline(changes, title):
    assert verdict(manifest(**changes)).title == title


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.04, "40 ms"), (59.94, "59.9 s"), (59.97, "1 min 00 s"), (119.7, "2 min 00 s")],
)
def test_a_time_has_no_sixty_seconds(seconds, said):
    assert _seconds(seconds) == said


def test_an_empty_table_has_a_report(tmp_path):
    dataset = lance.write_dataset(table().slice(0, 0), str(tmp_path / "e.lance"))
    path = write_report(collect(dataset, manifest(counts=Counts())), tmp_path / "r" / "x.html")
    assert path.read_text().startswith("<!doctype html>")
    assert [p.name for p in path.parent.iterdir()] == ["x.html"]


def test_thumbnails_that_are_no_jpeg_stay_out_of_the_page():
    from tasks.report.pictures import shrink

    assert shrink(b"<svg onload=alert(1)>") is None
    assert shrink(b"\xff\xd8 cut") is None
    small = Image.open(io.BytesIO(shrink(jpeg("blue")) or b""))
    assert max(small.size) == 64
