"""The map of a fit in the report: places, names of clusters, colours of any column."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import lance
import numpy as np
import pyarrow as pa
import pytest

from schemas.arrow import table_schema
from schemas.identity import content_hashes
from schemas.manifest import Counts, EmbedderRecord, Manifest
from tasks.geometry.typical import typical_points
from tasks.report.collect import collect
from tasks.report.colours import COLOURS, cluster_colouring, colourings
from tasks.report.data import MapLabel
from tasks.report.render import render
from tasks.table.clusters import ClusterRecord

EVIL = "</script><b>sea</b>"
DAY = datetime(2026, 1, 1, tzinfo=UTC)


def rows(count: int = 60, placed: bool = True) -> pa.Table:
    """Three clusters in three corners; every tenth row is in none."""
    schema = table_schema(4, "float16", [pa.field("length", pa.int64())])
    number = [-1 if i % 10 == 9 else i % 3 for i in range(count)]
    ids = [f"a:{i:03}" for i in range(count)]
    random = np.random.default_rng(2)
    vectors = random.normal(size=(count, 4))
    known = {
        "id": ids,
        "source": ["a"] * count,
        "kind": ["text"] * count,
        "text": [f"text {i}" for i in range(count)],
        "row_hash": content_hashes(ids),
        "vector": list((vectors / np.linalg.norm(vectors, axis=1)[:, None]).astype(np.float16)),
        "cluster": number,
        "x": [10.0 * n + i / count for i, n in enumerate(number)] if placed else [None] * count,
        "y": [5.0 * (n % 2) for n in number] if placed else [None] * count,
        "length": list(range(count)),
    }
    return pa.table(
        [pa.array(known.get(f.name, [None] * count), f.type) for f in schema], schema=schema
    )


def manifest(fit_id: str | None = "fit-abc") -> Manifest:
    embedder = EmbedderRecord(
        fingerprint="f", kind="k", model="m", dimensions=4, precision="fp32", engine="torch"
    )
    return Manifest(
        space="things",
        build_id="b1",
        release="v0001",
        version=1,
        published=True,
        tag="prod",
        resolved_spec={"cluster": {"map": "umap"}},
        counts=Counts(records=60, records_used=60, items=60, rows=60, new=60),
        embedder=embedder,
        fit_id=fit_id,
        code_version="0",
        started_at=DAY,
    )


def records() -> list[ClusterRecord]:
    sizes, terms = (17, 19, 18), (("cats",), (EVIL, "ship"), ())
    return [
        ClusterRecord(
            "fit-abc", "text", n, terms[n], sizes[n], np.eye(4, dtype=np.float32)[n],
            (f"a:{n:03}", f"a:{n + 3:03}"),
        )
        for n in range(3)
    ]  # fmt: skip


@pytest.fixture
def page(tmp_path) -> str:
    dataset = lance.write_dataset(rows(), str(tmp_path / "t.lance"))
    return render(collect(dataset, manifest(), (), records()))


def drawn(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="pictures">(.*?)</script>', page, re.S)
    assert found
    [picture] = json.loads(found[1])
    return picture


def test_rows_stand_where_the_fit_put_them(page):
    picture = drawn(page)
    where = dict(zip(picture["id"], zip(picture["x"], picture["y"], strict=True), strict=True))
    assert where["a:001"] == (round(10 + 1 / 60, 4), 5.0)
    assert "on the map of <code>fit-abc</code>" in page
    assert "(UMAP)" in page
    assert "principal components" not in page


def test_clusters_have_their_names_on_the_map_the_largest_first(page):
    labels = drawn(page)["labels"]
    assert [label["cluster"] for label in labels] == [1, 2, 0]
    assert [label["name"] for label in labels] == [f"{EVIL}, ship", "cluster 2", "cats"]
    assert 10 <= labels[0]["x"] <= 11
    assert EVIL not in page.split('id="pictures"')[0]


def test_colours_begin_with_the_clusters(page):
    first, *others = drawn(page)["colourings"]
    assert first["column"] == "cluster"
    assert first["names"] == [f"{EVIL}, ship", "cluster 2", "cats", "in no cluster"]
    assert first["tones"] == [0, 1, 2, -1]
    assert first["codes"].count(3) == 6
    assert [each["column"] for each in others] == ["length", "source"]


def test_each_cluster_is_shown_with_rows_that_stand_for_it(page):
    assert page.count('<article class="cluster">') == 3
    assert "19 rows, 32 %" in page
    assert '<p class="text" title="a:004">text 4</p>' in page


def test_without_a_map_the_picture_is_of_two_components(tmp_path):
    dataset = lance.write_dataset(rows(placed=False), str(tmp_path / "t.lance"))
    page = render(collect(dataset, manifest(None)))
    assert "on their first two principal components, which carry" in page
    assert [label["name"] for label in drawn(page)["labels"]] == [
        "cluster 0", "cluster 1", "cluster 2"
    ]  # fmt: skip


def test_the_same_rows_in_another_order_give_the_same_page(page, tmp_path):
    mixed = rows().take(np.random.default_rng(1).permutation(60))
    dataset = lance.write_dataset(mixed, str(tmp_path / "other.lance"))
    assert render(collect(dataset, manifest(), (), records())) == page


NUMBERS = {
    "integers": (list(range(60)), "0 – 9", "50 – 59"),
    "floats": ([i / 8 for i in range(60)], "0 – 1.125", "6.25 – 7.375"),
    "decimals": ([Decimal(i) for i in range(60)], "0 – 9", "50 – 59"),
    "days": ([(DAY + timedelta(days=i)).date() for i in range(60)], "2026-01-01 – 2026-01-10", ""),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_and_times_are_coloured_from_low_to_high(name):
    values, low, high = NUMBERS[name]
    table = pa.table({"source": ["a"] * 61, "v": [*values, None], "duplicate_kind": [None] * 61})
    [steps] = [each for each in colourings(table, ["v"]) if each.column == "v"]
    assert steps.ordered
    assert steps.names[0] == low
    assert steps.names[-2].startswith(high)
    assert (steps.names[-1], steps.tones[-1], steps.codes[-1]) == ("(none)", -1, 6)
    assert [steps.codes.count(code) for code in range(7)] == [10] * 6 + [1]


def test_few_numbers_are_values_and_a_skewed_column_has_fewer_steps():
    few, skewed = [i % 3 for i in range(60)], [0] * 45 + list(range(15))
    table = pa.table(
        {"source": ["a"] * 60, "few": few, "skew": skewed, "duplicate_kind": [""] * 60}
    )
    found = {each.column: each for each in colourings(table, ["few", "skew"])}
    assert (found["few"].names, found["few"].ordered) == (("0", "1", "2"), False)
    assert (found["skew"].names, found["skew"].tones) == (("0 – 4", "5 – 14"), (4, 5))
    assert [found["skew"].codes.count(code) for code in range(2)] == [50, 10]


def test_clusters_that_share_a_colour_stand_far_apart():
    labels = [MapLabel(str(i), i, float(i), 0.0) for i in range(COLOURS + 1)]
    [colouring] = cluster_colouring(np.arange(COLOURS + 1), labels)
    assert colouring.tones[COLOURS] == 0


def test_a_group_in_two_heaps_has_its_middle_in_one_of_them():
    places = np.array([[0, 0], [0, 1], [10, 0], [10, 1], [10, 2], [5, 9]], float)
    assert typical_points(places, np.array([3, 3, 3, 3, 3, 8])) == {3: 3, 8: 5}


def test_of_a_crowd_of_clusters_neighbours_share_a_colour():
    turns = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    labels = [
        MapLabel(f"c{number}", number, float(np.cos(turn)), float(np.sin(turn)))
        for number, turn in enumerate(turns)
    ]
    (colouring,) = cluster_colouring(np.arange(60), labels)
    changes = np.count_nonzero(np.diff([*colouring.tones, colouring.tones[0]]))
    assert (len(set(colouring.tones)), changes) == (COLOURS, COLOURS)
