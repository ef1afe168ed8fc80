"""Promise 2, on whole builds: any history of a source ends in the content of a fresh build."""

from __future__ import annotations

from itertools import count

import lance
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import made_embedder
from made_words import sentence

KEYS = [f"k{i}" for i in range(10)]

TEXT = st.sampled_from([sentence(1), sentence(1, 2), sentence(3, 4, 5), " ", ""])
RECORD = st.tuples(TEXT, st.sampled_from(["en", "de", None]))
CHANGE = st.dictionaries(st.sampled_from(KEYS), st.none() | RECORD, min_size=1, max_size=5)
"""Key → what its record becomes, or None: it goes. Adds, edits, deletes and columns in one."""

number = count()


def write(notes, records: dict[str, tuple[str, str | None]]) -> None:
    notes.write(
        {key: text for key, (text, _) in records.items()},
        lang={key: lang for key, (_, lang) in records.items()},
    )


def content(space) -> list[dict]:
    table = lance.dataset(space.ref.path, version="prod").to_table()
    rows = table.drop_columns(["cluster", "x", "y"]).sort_by("id").to_pylist()
    assert len({row["id"] for row in rows}) == len(rows)
    return rows


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=st.lists(CHANGE, min_size=1, max_size=5))
def test_any_history_ends_in_the_content_of_a_fresh_build(notes, monkeypatch, changes):
    monkeypatch.setattr("tasks.embed.embed_shard.load", made_embedder.WordEmbedder)
    notes.source(columns=["lang"], max_shrink=1)
    every = {
        "expectations": {"min_rows": 0, "max_reject_share": 1.0},
        "sources": notes.changes["sources"],
    }
    grown, fresh = (
        type(notes)(
            notes.folder, notes.model, {**every, "uri": f"./db{n}", "workdir": f"./work{n}"}
        )
        for n in (next(number), next(number))
    )
    records = {"stays": (sentence(9), "en")}  # a source that is empty is refused
    for change in changes:
        records |= {key: record for key, record in change.items() if record is not None}
        records = {key: record for key, record in records.items() if change.get(key, 1) is not None}
        write(grown, records)
        outcome = grown.build(yes=True)
        assert outcome.exit_code == 0, outcome.message
        counts = outcome.manifest.counts
        assert counts.problems() == []
        assert counts.records == len(records)
        assert counts.records_rejected == sum(not text.strip() for text, _ in records.values())
    fresh.build()
    assert content(grown) == content(fresh)
    again = grown.build()
    assert (again.manifest.published, again.manifest.counts.embedded) == (False, 0)
