"""Semantic duplicates, and how the three tiers play together."""

from __future__ import annotations

from pathlib import Path
from random import Random

import lance
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from made_items import made_items
from schemas.arrow import vectors_schema
from schemas.errors import VecmillError
from schemas.refs import EmbedderRef
from schemas.spec import DedupeSpec, SemanticSpec
from tasks.dedupe.exact import mark_exact
from tasks.dedupe.vectors import judge
from tasks.dedupe.vectors.semantic import VERDICT, mark_semantic, semantic_duplicates
from tasks.geometry.fit import Fit
from tasks.plan.base import NO_ROWS, Base, BaseRef
from tasks.plan.classify import plan_against
from tasks.store.hashes import frame_hashes
from tasks.store.items import read_items
from tasks.store.workdir import Store
from tasks.table.dataset import TableRef

THRESHOLD = 0.95
SPEC = DedupeSpec(semantic=SemanticSpec(threshold=THRESHOLD))
NO_FIT = Fit("fit-none")  # without cells every row is compared with every other

ANGLES = 40
"""Contents are directions on a circle, 9° apart: cosine .988; two steps: .951; three: .891."""


def direction(content: int) -> np.ndarray:
    angle = 2 * np.pi * content / ANGLES
    return np.array([np.cos(angle), np.sin(angle)], np.float32)


def cosine(a: int, b: int) -> float:
    return float(direction(a) @ direction(b))


class Circle:
    """Vectors of contents that are numbers."""

    dimensions = 2

    def places(self, slots: pl.DataFrame) -> pl.DataFrame:
        return slots

    def read(self, places: pl.DataFrame) -> np.ndarray:
        numbers = [content[0] for content in places["content_hash"]]
        return np.stack([direction(number) for number in numbers])


SCHEMA = {
    **{"id": pl.String, "source": pl.String, "kind": pl.String, "content_hash": pl.Binary},
    **{"size": pl.Int64, "time": pl.Datetime("us", "UTC"), "vector_rowaddr": pl.UInt64},
    **dict(zip(VERDICT, (pl.String, pl.String, pl.Float32), strict=True)),
}


def row(name: str, content: int, kind: str = "text", mark: tuple | None = None) -> dict:
    """One item; `mark` is (duplicate_of, kind, score) of the tiers before."""
    of, tier, score = mark or (None, None, None)
    return {
        **{"id": name, "source": name.partition(":")[0], "kind": kind},
        **{"content_hash": bytes([content]) * 16, "size": 1, "time": None, "vector_rowaddr": None},
        **{"duplicate_of": of, "duplicate_kind": tier, "duplicate_score": score},
    }


def judged(rows: list[dict], store: Store, spec: DedupeSpec = SPEC) -> dict[str, tuple]:
    frame = pl.DataFrame(rows, schema=SCHEMA)
    found = semantic_duplicates(frame, NO_FIT, spec, Circle(), store, "settings")
    return {name: tuple(verdict) for name, *verdict in found.rows()}


def test_a_row_points_to_a_kept_row_and_chains_do_not_form(tmp_path):
    store = Store(str(tmp_path))
    found = judged([row(f"a:{i}", i) for i in range(5)], store)
    assert {name: verdict[:2] for name, verdict in found.items()} == {
        "a:1": ("a:0", "semantic"),
        "a:2": ("a:0", "semantic"),
        "a:4": ("a:3", "semantic"),
    }
    assert found["a:2"][2] == pytest.approx(cosine(0, 2), abs=1e-3)


def test_exact_copies_follow_the_row_that_they_point_to(tmp_path):
    rows = [row("a:0", 0), row("a:1", 1), row("a:2", 1, mark=("a:1", "exact", 1.0))]
    found = judged(rows, Store(str(tmp_path)))
    assert found["a:1"][:2] == found["a:2"][:2] == ("a:0", "semantic")
    assert found["a:1"][2] == found["a:2"][2]


def test_a_near_mark_stands_while_a_row_of_its_record_is_kept(tmp_path):
    near = row("b:copy#0", 1, mark=("b:record", "near", 0.8))
    whole = [row("a:0", 0), row("b:record#0", 1), near]
    assert judged(whole, Store(str(tmp_path / "gone")))["b:copy#0"][:2] == ("a:0", "semantic")
    partly = [*whole, row("b:record#1", 20)]
    assert judged(partly, Store(str(tmp_path / "kept")))["b:copy#0"][:2] == ("b:record", "near")


def test_a_released_row_that_resembles_nothing_is_kept(tmp_path):
    near = row("a:copy", 30, mark=("b:record", "near", 0.8))  # before all others by id
    found = judged([row("a:0", 0), row("b:record", 1), near], Store(str(tmp_path)))
    assert set(found) == {"b:record"}


def test_texts_and_pictures_are_not_compared(tmp_path):
    rows = [row("a:0", 0), row("b:0", 0, "image"), row("b:1", 1, "image")]
    assert set(judged(rows, Store(str(tmp_path)))) == {"b:1"}


def test_within_a_source_others_are_not_compared(tmp_path):
    rows = [row("a:0", 0), row("b:0", 1), row("b:1", 1, mark=("b:0", "exact", 1.0))]
    spec = SPEC.model_copy(update={"within": "source"})
    assert set(judged(rows, Store(str(tmp_path)), spec)) == {"b:1"}


# All tiers, on made-up states

ITEM = st.tuples(st.sampled_from("ab"), st.integers(0, 8), st.integers(0, ANGLES - 1))


@st.composite
def states(draw, within: str = "space") -> list[dict]:
    """Items of records of two sources and kinds, marked by the tiers before as their rules say."""

    def group(record: str) -> str:
        return record[0] if within == "source" else ""

    items = draw(st.lists(ITEM, min_size=1, max_size=14))
    chunks: dict[str, list[int]] = {}
    for source, key, content in items:
        chunks.setdefault(f"{source}:{key}", []).append(content)
    records = sorted(chunks)
    kind = {record: draw(st.sampled_from(["text", "text", "image"])) for record in records}
    near: dict[str, str] = {}
    for record in records:
        like = [r for r in records if r not in near and kind[r] == kind[record] and r != record]
        like = [r for r in like if group(r) == group(record)]
        if record not in near.values() and like and draw(st.booleans()):
            near[record] = draw(st.sampled_from(like))
    near = {record: kept for record, kept in near.items() if kept not in near}
    rows = [
        row(f"{record}#{n}", content, kind[record])
        for record in records
        for n, content in enumerate(chunks[record])
    ]
    groups: dict[tuple, list[dict]] = {}
    for each in rows:
        same = (each["kind"], each["content_hash"], group(each["id"]))
        groups.setdefault(same, []).append(each)
    for equal in groups.values():
        plain = sorted(r["id"] for r in equal if r["id"].split("#")[0] not in near)
        for each in equal:
            record = each["id"].split("#")[0]
            if plain and each["id"] != plain[0]:
                each.update(zip(VERDICT, (plain[0], "exact", 1.0), strict=True))
            elif not plain:
                each.update(zip(VERDICT, (near[record], "near", 0.75), strict=True))
    return rows


@settings(deadline=None, max_examples=300)
@given(states(), st.randoms())
def test_every_pointer_ends_at_something_kept(tmp_path_factory, rows: list[dict], random: Random):
    store = Store(str(tmp_path_factory.mktemp("judged")))
    found = judged(rows, store)
    content = {each["id"]: each["content_hash"][0] for each in rows}
    kind = {each["id"]: each["kind"] for each in rows}
    kept = set(content) - set(found)
    kept_records = {name.split("#")[0] for name in kept}
    before = {each["id"]: tuple(each[name] for name in VERDICT) for each in rows}
    for name, (of, tier, score) in found.items():
        if tier == "near":
            assert of in kept_records
            assert (of, tier) == before[name][:2]
            continue
        assert of in kept
        assert kind[of] == kind[name]
        if tier == "exact":
            assert content[name] == content[of]
        else:
            assert score == pytest.approx(cosine(content[name], content[of]), abs=1e-3)
            assert score >= np.float32(THRESHOLD)
    for a in kept:  # no two kept rows are alike
        for b in kept - {a}:
            if kind[a] == kind[b]:
                assert cosine(content[a], content[b]) < THRESHOLD + 1e-3
    for name, (of, tier, _) in before.items():  # what may stand does
        if tier == "near" and of in kept_records:
            assert found[name] == before[name]
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert judged(shuffled, Store(str(tmp_path_factory.mktemp("shuffled")))) == found


@settings(deadline=None, max_examples=150)
@given(states(within="source"))
def test_within_a_source_is_each_source_by_itself(tmp_path_factory, rows: list[dict]):
    spec = SPEC.model_copy(update={"within": "source"})
    found = judged(rows, Store(str(tmp_path_factory.mktemp("all"))), spec)
    alone: dict[str, tuple] = {}
    for source in ("a", "b"):
        own = [each for each in rows if each["source"] == source]
        alone |= judged(own, Store(str(tmp_path_factory.mktemp("one"))))
    assert found == alone


@settings(deadline=None, max_examples=150)
@given(st.lists(states(), min_size=2, max_size=4))
def test_several_builds_give_what_one_gives(tmp_path_factory, steps: list[list[dict]]):
    """Each state is judged with what the builds before have left in the workdir, or without."""
    store = Store(str(tmp_path_factory.mktemp("steps")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge, "FEW", 1.0)  # few rows: or else all of them would be judged again
        for rows in steps:
            alone = Store(str(tmp_path_factory.mktemp("alone")))
            assert judged(rows, store) == judged(rows, alone)


# A plan, vectors in the workdir, vectors in the table

EMBEDDER = EmbedderRef(
    **{"kind": "fake", "model": "fake", "folder": "", "fingerprint": "f00d", "dimensions": 2},
    **{"engine": "torch", "precision": "fp32", "normalize": True, "kinds": frozenset({"text"})},
    **{"window": None, "tokenizer": None, "tokenizer_digest": None, "prompt": ""},
    **{"query_prompt": "", "truncate": None},
)

TEXTS = {"a": "zero", "b": "one", "c": "twenty", "d": "one"}
NUMBERS = {"zero": 0, "one": 1, "twenty": 20}


def write_vectors(store: Store, part) -> None:
    items = pl.read_parquet(part.path, columns=["content_hash", "text"]).unique(maintain_order=True)
    hashes = pa.array(items["content_hash"].to_list(), pa.binary(16))
    flat = np.concatenate([direction(NUMBERS[text]) for text in items["text"]])
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(flat), 2)
    with store.create(f"vectors/{EMBEDDER.vector_key}", "shard") as path:
        pq.write_table(pa.table([hashes, vectors], schema=vectors_schema(2)), path)


def read(path: str) -> dict[str, tuple]:
    return {name: tuple(verdict) for name, *verdict in pl.read_parquet(path).rows()}


def marked(store: Store, base: BaseRef, rows: Base, rejected=(), spec: DedupeSpec = SPEC) -> str:
    part = made_items(store, TEXTS)
    exact = mark_exact([part], spec, store)
    key = EMBEDDER.vector_key
    plan = plan_against(rows, [part], exact, key, store, "plan", rejected=rejected)
    return mark_semantic(plan, [part], exact, NO_FIT, EMBEDDER, base, spec, store)


NOWHERE = BaseRef(TableRef("nowhere", "space"), None, None)
EMPTY = Base(0, pl.DataFrame(schema=NO_ROWS), None)


def test_a_plan_is_judged_by_the_vectors_of_the_workdir(tmp_path):
    store = Store(str(tmp_path))
    write_vectors(store, made_items(store, TEXTS))
    path = marked(store, NOWHERE, EMPTY)
    score = pytest.approx(cosine(0, 1), abs=1e-3)
    assert read(path) == {
        "docs:b": ("docs:a", "semantic", score),
        "docs:d": ("docs:a", "semantic", score),
    }
    written = Path(path).stat().st_mtime_ns
    assert marked(store, NOWHERE, EMPTY) == path
    assert Path(path).stat().st_mtime_ns == written  # found, not judged again
    assert pl.read_parquet_schema(path) == pl.read_parquet_schema(
        mark_exact([], DedupeSpec(), store)
    )


def test_rejected_contents_are_not_judged(tmp_path):
    store = Store(str(tmp_path))
    part = made_items(store, TEXTS)
    write_vectors(store, part)
    zero = read_items([part], ["content_hash"])["content_hash"][0]
    assert read(marked(store, NOWHERE, EMPTY, {zero})) == {"docs:d": ("docs:b", "exact", 1.0)}


def test_the_published_float16_vectors_give_the_same(tmp_path):
    """As after the workdir was deleted."""
    one, other = Store(str(tmp_path / "one")), Store(str(tmp_path / "other"))
    write_vectors(one, made_items(one, TEXTS))
    part = made_items(other, TEXTS)
    items = pl.read_parquet(part.path, columns=["id", "content_hash", "row_hash", "text"])
    flat = np.concatenate([direction(NUMBERS[text]) for text in items["text"]])
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(flat.astype(np.float16)), 2)
    ref = TableRef(str(tmp_path), "space")
    dataset = lance.write_dataset(pa.table({"vector": vectors}), ref.path)
    rows = items.drop("text").with_columns(
        pl.Series("rowaddr", range(items.height), pl.UInt64),
        *(pl.lit(None, NO_ROWS[name]).alias(name) for name in VERDICT),
    )
    base = Base(dataset.version, rows.select(list(NO_ROWS)), EMBEDDER.vector_key)
    here = BaseRef(ref, dataset.version, EMBEDDER.vector_key)
    assert read(marked(other, here, base)) == read(marked(one, NOWHERE, EMPTY))


def test_a_content_without_a_vector_is_named(tmp_path):
    with pytest.raises(VecmillError, match=r"no vector for 'docs:c' \(and 2 more"):
        marked(Store(str(tmp_path)), NOWHERE, EMPTY)


def test_switched_off_the_verdicts_are_those_of_the_tiers_before(tmp_path):
    store = Store(str(tmp_path))
    part = made_items(store, TEXTS)
    off = DedupeSpec(semantic=None)
    exact = mark_exact([part], off, store)
    assert marked(store, NOWHERE, EMPTY, spec=off) == exact


def test_the_judgement_names_contents_by_hash_alone(tmp_path):
    store = Store(str(tmp_path))
    part = made_items(store, TEXTS)
    write_vectors(store, part)
    marked(store, NOWHERE, EMPTY)
    (path,) = store.files("neighbours")
    table = pq.read_table(path)
    assert table.column_names == ["content_hash", "group", "through", "score", "cells", "sketch"]
    hashes = set(frame_hashes(pl.DataFrame(table)["content_hash"]).tolist())
    assert hashes == set(frame_hashes(read_items([part], ["content_hash"])["content_hash"]))
