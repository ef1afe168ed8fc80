"""Every stage goes through the rows some at a time: how many at a time changes nothing."""

from __future__ import annotations

from itertools import count

import lance
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import made_embedder
from made_words import sentence

KEYS = [f"k{i}" for i in range(14)]

TEXT = st.sampled_from([sentence(n) for n in range(6)] + [sentence(1, 2, 3, 4, 5, 6), " "])
RECORD = st.tuples(TEXT, st.sampled_from(["en", "de", None]))
STATE = st.dictionaries(st.sampled_from(KEYS), RECORD, max_size=len(KEYS))
"""Copies are likely: verdicts change from state to state."""

FEW = {
    "tasks.plan.classify.ROWS_TOGETHER": 3,
    "tasks.plan.classify.ROWS_AT_ONCE": 2,
    "tasks.store.items.item_frames.__defaults__": (3,),
    "tasks.plan.input_hash.ROWS_TOGETHER": 3,
    "tasks.plan.shards.PER_SHARD": {"text": 2, "image": 2},
    "tasks.publish.rows.PLAN_ROWS": 2,
    "tasks.publish.rows.WINDOW_BYTES": 1,
    "tasks.publish.rows.BATCH_ROWS": 3,
    "tasks.store.vectors.HELD_BYTES": 1,
    "tasks.chunk.chunk_part.RECORDS_AT_ONCE": 4,
    "tasks.chunk.chunk_part.ROWS_PER_GROUP": 2,
}

number = count()


def published(space) -> list[dict]:
    """The content in the order in which it is stored."""
    table = lance.dataset(space.ref.path, version="prod").to_table()
    return table.drop_columns(["cluster", "x", "y"]).to_pylist()


@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(states=st.lists(STATE, min_size=1, max_size=3))
def test_small_windows_publish_what_large_ones_do(notes, monkeypatch, states):
    monkeypatch.setattr("tasks.embed.embed_shard.load", made_embedder.WordEmbedder)
    notes.source(columns=["lang"], max_shrink=1)
    every = {
        "expectations": {"min_rows": 0, "max_reject_share": 1.0},
        "sources": notes.changes["sources"],
    }
    large, small = (
        type(notes)(
            notes.folder, notes.model, {**every, "uri": f"./db{n}", "workdir": f"./work{n}"}
        )
        for n in (next(number), next(number))
    )
    for state in states:
        records = {"stays": (sentence(9), "en"), **state}
        large.write(
            {key: text for key, (text, _) in records.items()},
            lang={key: lang for key, (_, lang) in records.items()},
        )
        usual = large.build(yes=True)
        with pytest.MonkeyPatch.context() as few:
            for name, value in FEW.items():
                few.setattr(name, value)
            found = small.build(yes=True)
        assert (usual.exit_code, found.exit_code) == (0, 0), found.message
        assert found.manifest.counts.problems() == []
        assert found.manifest.counts == usual.manifest.counts
        assert found.manifest.input_hash == usual.manifest.input_hash
        assert published(small) == published(large)
