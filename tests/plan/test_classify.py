"""What a build will do: classes by id and hashes, and which contents must be embedded."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from made_items import made_items
from schemas.arrow import vectors_schema
from schemas.refs import ItemsPart
from schemas.spec import DedupeSpec
from tasks.dedupe.exact import mark_exact
from tasks.plan.base import NO_ROWS as SCHEMA
from tasks.plan.base import Base
from tasks.plan.classify import plan_against
from tasks.plan.input_hash import input_hash
from tasks.plan.shards import PER_SHARD, cut_shards
from tasks.store.items import read_items
from tasks.store.workdir import Store

KEY = "f00d-torch-fp32"

NO_ROWS = pl.DataFrame(schema=SCHEMA)


def base_of(*parts: ItemsPart, duplicates: str | None = None, key: str = KEY) -> Base:
    """A base version that holds exactly these items."""
    rows = read_items(parts, ["id", "content_hash", "row_hash"])
    if duplicates:
        rows = rows.join(pl.read_parquet(duplicates), on="id", how="left", maintain_order="left")
    else:
        rows = rows.with_columns(
            pl.lit(None, pl.String).alias("duplicate_of"),
            pl.lit(None, pl.String).alias("duplicate_kind"),
            pl.lit(None, pl.Float32).alias("duplicate_score"),
        )
    rows = rows.with_columns(pl.int_range(pl.len(), dtype=pl.UInt64).alias("rowaddr"))
    return Base(7, rows.select(NO_ROWS.columns), key)


def plan_of(store, part, base, **options):
    duplicates = mark_exact([part], options.pop("dedupe", DedupeSpec()), store)
    key = options.pop("key", KEY)
    return plan_against(base, [part], duplicates, key, store, "plan", **options)


def classes(plan) -> dict[str, str]:
    return dict(pl.read_parquet(plan.path).select("id", "class").rows())


def test_first_build_is_all_new_and_embeds_each_content_once(tmp_path):
    store = Store(str(tmp_path))
    part = made_items(store, {"a": "one", "b": "two", "c": "one"})
    plan = plan_of(store, part, Base(1, NO_ROWS, None))
    assert classes(plan) == {"docs:a": "new", "docs:b": "new", "docs:c": "new"}
    assert pl.read_parquet(plan.contents)["id"].to_list() == ["docs:a", "docs:b"]
    assert plan.to_embed == 2
    assert plan.changes


def test_every_class(tmp_path):
    store = Store(str(tmp_path))
    lang = [pa.field("lang", pa.string())]
    before = made_items(
        store,
        {"same": "s", "edited": "old", "moved": "m", "gone": "g", "twin": "t", "first": "t"},
        columns=lang,
        values={"lang": ["en"] * 6},
    )
    marks = mark_exact([before], DedupeSpec(), store)
    after = made_items(
        store,
        {"same": "s", "edited": "now", "moved": "m", "twin": "t", "added": "fresh", "copy": "m"},
        columns=lang,
        values={"lang": ["en", "en", "de", "en", "en", "en"]},
    )
    plan = plan_of(store, after, base_of(before, duplicates=marks))
    assert classes(plan) == {
        "docs:same": "unchanged",
        "docs:edited": "changed",
        "docs:moved": "metadata_only",
        "docs:gone": "removed",
        "docs:first": "removed",
        "docs:twin": "rejudged",  # the copy it pointed to left
        "docs:added": "new",
        "docs:copy": "new",
    }
    # the content of `copy` stands in the base: only what was never seen is embedded
    assert pl.read_parquet(plan.contents)["id"].to_list() == ["docs:edited", "docs:added"]
    assert plan.classes == {
        **{"new": 2, "changed": 1, "metadata_only": 1},
        **{"rejudged": 1, "unchanged": 1, "removed": 2},
    }


def test_no_change_is_no_change(tmp_path):
    store = Store(str(tmp_path))
    part = made_items(store, {"a": "one", "b": "one"})
    marks = mark_exact([part], DedupeSpec(), store)
    plan = plan_of(store, part, base_of(part, duplicates=marks))
    assert not plan.changes
    assert plan.to_embed == 0


def test_contents_in_the_workdir_are_not_embedded_again(tmp_path):
    store = Store(str(tmp_path))
    part = made_items(store, {"a": "one", "b": "two"})
    known = read_items([part], ["content_hash"])["content_hash"][:1].to_arrow()
    hashes = pa.array(known.to_pylist(), pa.binary(16))
    vectors = pa.FixedSizeListArray.from_arrays(pa.array([0.5, 0.5], pa.float32()), 2)
    with store.create(f"vectors/{KEY}", "shard") as path:
        pq.write_table(pa.table([hashes, vectors], schema=vectors_schema(2)), path)
    plan = plan_of(store, part, Base(1, NO_ROWS, None))
    assert pl.read_parquet(plan.contents)["id"].to_list() == ["docs:b"]


def test_another_precision_embeds_everything_again(tmp_path):
    store = Store(str(tmp_path))
    part = made_items(store, {"a": "one", "b": "two"})
    plan = plan_of(store, part, base_of(part, key="f00d-torch-bf16"))
    assert set(classes(plan).values()) == {"changed"}
    assert plan.to_embed == 2


def test_an_overwrite_reuses_the_vectors_of_the_base(tmp_path):
    store = Store(str(tmp_path))
    part = made_items(store, {"a": "one", "b": "two"})
    plan = plan_of(store, part, base_of(part), overwrite=True)
    assert plan.changes
    assert plan.to_embed == 0


def test_rejected_contents_leave_the_state(tmp_path):
    store = Store(str(tmp_path))
    part = made_items(store, {"a": "bad", "b": "good", "c": "bad"})
    bad = read_items([part], ["content_hash"])["content_hash"][0]
    plan = plan_of(store, part, base_of(part), rejected={bad})
    assert classes(plan) == {
        "docs:a": "removed",
        "docs:b": "unchanged",
        "docs:c": "removed",
    }


def test_an_id_twice_is_an_error(tmp_path):
    store = Store(str(tmp_path))
    part = made_items(store, {"a": "one"})
    marks = mark_exact([part], DedupeSpec(), store)
    with pytest.raises(ValueError, match=r"ids stand twice in the items, for example .*docs:a"):
        plan_against(Base(1, NO_ROWS, None), [part, part], marks, KEY, store, "plan")


def test_shards_cover_the_contents_in_order(tmp_path, monkeypatch):
    monkeypatch.setitem(PER_SHARD, "text", 2)
    store = Store(str(tmp_path))
    part = made_items(store, {k: k for k in "abcde"})
    shards = cut_shards(plan_of(store, part, Base(1, NO_ROWS, None)))
    assert [(s.index, s.offset, s.length) for s in shards] == [(0, 0, 2), (1, 2, 2), (2, 4, 1)]


def test_shards_grow_rather_than_become_too_many(tmp_path, monkeypatch):
    monkeypatch.setitem(PER_SHARD, "text", 2)
    monkeypatch.setattr("tasks.plan.shards.MOST_SHARDS", 2)
    store = Store(str(tmp_path))
    part = made_items(store, {k: k for k in "abcdefg"})
    shards = cut_shards(plan_of(store, part, Base(1, NO_ROWS, None)))
    assert [(s.index, s.offset, s.length) for s in shards] == [(0, 0, 4), (1, 4, 3)]


TEXTS = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["x", "y", "z"]), max_size=6)


@settings(max_examples=40, deadline=None)
@given(before=TEXTS, after=TEXTS)
def test_the_classes_turn_the_base_into_the_new_state(tmp_path_factory, before, after):
    store = Store(str(tmp_path_factory.mktemp("plan")))
    old, new = made_items(store, before), made_items(store, after)
    marks = mark_exact([old], DedupeSpec(), store)
    base = base_of(old, duplicates=marks)
    found = classes(plan_of(store, new, base))
    assert {i for i, c in found.items() if c == "removed"} == {
        f"docs:{k}" for k in before if k not in after
    }
    assert {i for i, c in found.items() if c == "new"} == {
        f"docs:{k}" for k in after if k not in before
    }
    assert {i for i, c in found.items() if c == "changed"} == {
        f"docs:{k}" for k in after if k in before and before[k] != after[k]
    }
    verdict = dict(pl.read_parquet(marks).select("id", "duplicate_of").rows())
    now = dict(
        pl.read_parquet(mark_exact([new], DedupeSpec(), store)).select("id", "duplicate_of").rows()
    )
    for item, kind in found.items():
        if kind in ("unchanged", "rejudged"):
            assert (kind == "rejudged") == (verdict.get(item) != now.get(item))


def test_input_hash_knows_items_and_judges_but_not_order(tmp_path):
    from schemas.spec import SpaceSpec

    store = Store(str(tmp_path))
    spec = SpaceSpec.model_validate(
        {
            "space": "s",
            "uri": "db",
            "sources": [{"name": "docs", "kind": "text", "path": "*.md"}],
            "embedder": {"kind": "sentence-transformers", "model": "m"},
        }
    )
    one, two = made_items(store, {"a": "x"}), made_items(store, {"b": "y"})
    first = input_hash([], [one, two], [], spec, "f")
    assert first == input_hash([], [two, one], [], spec, "f")
    assert first != input_hash([], [one], [], spec, "f")
    assert first != input_hash([], [one, two], [], spec, "g")
    stricter = spec.model_copy(
        update={"expectations": spec.expectations.model_copy(update={"min_rows": 5})}
    )
    assert first != input_hash([], [one, two], [], stricter, "f")


def test_another_score_is_another_verdict(tmp_path):
    """A stale score would make the table depend on the builds that led to it."""
    store = Store(str(tmp_path))
    part = made_items(store, {"a": "one", "b": "one"})
    marks = mark_exact([part], DedupeSpec(), store)
    base = base_of(part, duplicates=marks)
    stale = base.rows.with_columns(pl.col("duplicate_score") - 0.01)
    plan = plan_of(store, part, Base(base.version, stale, base.vector_key))
    assert classes(plan) == {"docs:a": "unchanged", "docs:b": "rejudged"}


def test_a_provisional_plan_leaves_verdicts_by_vectors_alone(tmp_path):
    """What the tiers before say of such a row may be anything: it is judged again, or stays."""
    store = Store(str(tmp_path))
    part = made_items(store, {"a": "one", "b": "two", "c": "three", "d": "three", "e": "four"})
    base = base_of(part)
    score = pl.lit(0.97, pl.Float32)
    verdicts = {"docs:b": ("docs:a", "semantic"), "docs:d": ("docs:a", "semantic")}
    verdicts["docs:e"] = ("docs:a", "near")
    rows = base.rows.with_columns(
        pl.col("id")
        .replace_strict({k: v[0] for k, v in verdicts.items()}, default=None)
        .alias("duplicate_of"),
        pl.col("id")
        .replace_strict({k: v[1] for k, v in verdicts.items()}, default=None)
        .alias("duplicate_kind"),
    ).with_columns(
        pl.when(pl.col("duplicate_of").is_not_null()).then(score).alias("duplicate_score")
    )
    base = Base(base.version, rows.select(NO_ROWS.columns), base.vector_key)
    plan = plan_of(store, part, base, provisional=True)
    stays = dict.fromkeys(["docs:a", "docs:b", "docs:c", "docs:d"], "unchanged")
    assert classes(plan) == {**stays, "docs:e": "rejudged"}
    kinds = pl.read_parquet(plan.path).select("id", "duplicate_of", "duplicate_kind").rows()
    assert {name: (of, kind) for name, of, kind in kinds if of} == {
        name: verdicts[name] for name in ("docs:b", "docs:d")
    }
    final = plan_of(store, part, base)
    again = dict.fromkeys(["docs:b", "docs:d", "docs:e"], "rejudged")
    assert classes(final) == {**stays, **again}


@pytest.mark.parametrize("kept", [True, False])
def test_what_was_released_by_vectors_is_no_change_by_itself(tmp_path, kept):
    """`r` is near to `k`, of which no row is kept: so it was judged by its vector, and is kept."""
    store = Store(str(tmp_path))
    part = made_items(store, {"a": "one", "k": "two", "r": "three"})
    base = base_of(part)
    of_k = pl.col("id").eq("docs:k") & pl.lit(not kept)
    rows = base.rows.with_columns(
        pl.when(of_k).then(pl.lit("docs:a")).alias("duplicate_of"),
        pl.when(of_k).then(pl.lit("semantic")).alias("duplicate_kind"),
        pl.when(of_k).then(pl.lit(0.97, pl.Float32)).alias("duplicate_score"),
    )
    near = {"source": ["docs"], "key": ["r"], "kept_id": ["docs:k"], "score": [0.8]}
    pl.DataFrame(near, schema_overrides={"score": pl.Float32}).write_parquet(tmp_path / "near")
    marks = mark_exact([part], DedupeSpec(), store, str(tmp_path / "near"))
    base = Base(base.version, rows.select(NO_ROWS.columns), base.vector_key)
    plan = plan_against(base, [part], marks, KEY, store, "plan", provisional=True)
    assert classes(plan)["docs:r"] == ("rejudged" if kept else "unchanged")
    final = plan_against(base, [part], marks, KEY, store, "plan")
    assert classes(final)["docs:r"] == "rejudged"
