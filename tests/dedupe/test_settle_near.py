"""Near marks on records that lose all their rows: nobody points to what is not kept."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from made_items import made_items
from schemas.identity import content_hashes
from schemas.refs import ItemsPart
from schemas.spec import DedupeSpec
from tasks.dedupe.exact import mark_exact
from tasks.dedupe.settle_near import settle_near
from tasks.store.workdir import Store

SPEC = DedupeSpec(semantic=None)


def chunks(store: Store, texts: dict[str, str]) -> ItemsPart:
    """Items `key#n` → text, as chunked records have them."""
    keys = [name.partition("#")[0] for name in texts]
    ids = [f"docs:{name}" for name in texts]
    return made_items(store, texts, values={"id": ids, "key": keys})


def verdicts(
    items: ItemsPart, near: dict[str, str], store: Store, rejected: tuple[str, ...] = ()
) -> dict[str, tuple[str, str]]:
    rows = [
        {"source": "docs", "key": key, "kept_id": f"docs:{kept}", "score": 0.8}
        for key, kept in near.items()
    ]
    path = Path(store.root) / "near.parquet"
    pl.DataFrame(rows).with_columns(pl.col("score").cast(pl.Float32)).write_parquet(path)
    marked = mark_exact([items], SPEC, store, str(path))
    out = content_hashes(rejected).to_pylist()
    settled = settle_near([items], marked, SPEC, store, out)
    assert settle_near([items], marked, SPEC, store, out) == settled
    found = pl.read_parquet(settled).select("id", "duplicate_of", "duplicate_kind").rows()
    return {name: (of, kind) for name, of, kind in found}


def test_a_mark_stands_while_any_row_of_the_record_does(tmp_path) -> None:
    store = Store(str(tmp_path))
    texts = {"a#0": "one", "k#0": "one", "k#1": "own", "x#0": "one?", "x#1": "own?"}
    assert verdicts(chunks(store, texts), {"x": "k"}, store) == {
        "docs:k#0": ("docs:a#0", "exact"),
        "docs:x#0": ("docs:k", "near"),
        "docs:x#1": ("docs:k", "near"),
    }


def test_who_resembles_a_record_of_copies_is_kept(tmp_path) -> None:
    """All that `k` says stands in `a` and `b`; of the rows released, equal ones keep the first."""
    store = Store(str(tmp_path))
    texts = {"a#0": "one", "b#0": "two", "k#0": "one", "k#1": "two"}
    texts |= {"x#0": "one?", "x#1": "two", "y#0": "one?", "y#1": "two!"}
    assert verdicts(chunks(store, texts), {"x": "k", "y": "k"}, store) == {
        "docs:k#0": ("docs:a#0", "exact"),
        "docs:k#1": ("docs:b#0", "exact"),
        "docs:x#1": ("docs:b#0", "exact"),
        "docs:y#0": ("docs:x#0", "exact"),
    }


def test_who_resembles_what_could_not_be_embedded_is_kept(tmp_path) -> None:
    store = Store(str(tmp_path))
    items = chunks(store, {"k": "bad", "x": "bad, nearly", "y": "bad, nearly", "z": "a", "w": "b"})
    near = {"x": "k", "y": "k", "w": "z"}
    assert verdicts(items, near, store, rejected=("bad",)) == {
        "docs:w": ("docs:z", "near"),
        "docs:y": ("docs:x", "exact"),
    }


def test_without_near_marks_there_is_nothing_to_settle(tmp_path) -> None:
    store = Store(str(tmp_path))
    items = chunks(store, {"a": "same", "b": "same"})
    marked = mark_exact([items], SPEC, store)
    assert settle_near([items], marked, SPEC, store, content_hashes(["same"]).to_pylist()) == marked
