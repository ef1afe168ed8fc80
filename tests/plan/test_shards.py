"""Shards are as large as what they cost, cover the contents in order, and fit in memory."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.arrow import CONTENTS
from schemas.refs import PlanRef
from tasks.plan import shards as module
from tasks.plan.shards import COST, PER_SHARD, QUICK_COST, TEXT_COST, cut_shards


def plan_of(folder, sizes: list[int], images: int = 0) -> PlanRef:
    """A plan whose contents are texts of these sizes, and then as many images."""
    rows = [
        {
            **{"content_hash": bytes(16), "part": "p", "row": n, "id": str(n), "source": "s"},
            **{"key": str(n), "uri": "u", "kind": kind, "size": size},
        }
        for n, (kind, size) in enumerate(
            [*(("text", size) for size in sizes), *[("image", 10_000_000)] * images]
        )
    ]
    path = str(folder / "contents.parquet")
    pq.write_table(pa.Table.from_pylist(rows, CONTENTS), path)
    return PlanRef("", path, {}, len(rows), False, 0)


def lengths(plan: PlanRef, **options) -> list[int]:
    return [shard.length for shard in cut_shards(plan, **options)]


def test_short_texts_make_large_shards_and_long_ones_small(tmp_path):
    short = lengths(plan_of(tmp_path, [60] * 4_000))
    assert short[0] == COST["text"] // (60 + TEXT_COST)
    assert sum(short) == 4_000
    passages = lengths(plan_of(tmp_path, [600] * 1_000))
    assert passages[0] == COST["text"] // (600 + TEXT_COST) == 243


def test_a_text_beyond_the_budget_is_a_shard_of_its_own(tmp_path):
    huge = COST["text"] * 3
    assert lengths(plan_of(tmp_path, [10, huge, huge, 10])) == [1, 1, 1, 1]


def test_a_quick_embedder_gets_larger_ones(tmp_path):
    plan = plan_of(tmp_path, [60] * 4_000, images=600)
    assert lengths(plan, quick=True) == [4_000, 600]
    assert lengths(plan)[-2:] == [512, 88]
    assert QUICK_COST["text"] > COST["text"]


def test_growing_shards_stop_where_memory_does(tmp_path, monkeypatch):
    monkeypatch.setitem(PER_SHARD, "text", 2)
    monkeypatch.setattr(module, "MOST_SHARDS", 2)
    plan = plan_of(tmp_path, [10] * 100)
    assert lengths(plan) == [50, 50]
    monkeypatch.setattr(module, "MOST_BYTES", 4 * 8 * 20)  # vectors of 20 rows
    assert lengths(plan, dimensions=8) == [20] * 5
    monkeypatch.setattr(module, "MOST_BYTES", (10 + TEXT_COST) * 5)  # or the texts of five
    assert lengths(plan, dimensions=1) == [5] * 20


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 400_000), max_size=30),
    images=st.integers(0, 5),
    quick=st.booleans(),
)
def test_any_contents_are_covered_once_in_order(tmp_path_factory, sizes, images, quick):
    plan = plan_of(tmp_path_factory.mktemp("plan"), sizes, images)
    found = cut_shards(plan, quick=quick)
    assert [shard.index for shard in found] == list(range(len(found)))
    assert [shard.offset for shard in found] == [
        sum(each.length for each in found[:n]) for n in range(len(found))
    ]
    assert sum(shard.length for shard in found) == len(sizes) + images
    budget = (QUICK_COST if quick else COST)["text"]
    for shard in found:
        inside = sizes[shard.offset : shard.offset + shard.length]
        assert shard.length == 1 or not inside or sum(inside) <= budget
        mixed = shard.offset < len(sizes) < shard.offset + shard.length
        assert not mixed, "a shard is of one kind"


@pytest.mark.parametrize("kind", ["text", "image"])
def test_every_kind_has_its_bounds(kind):
    assert COST[kind] <= QUICK_COST[kind]
    assert PER_SHARD[kind] > 0
