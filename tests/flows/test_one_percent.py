"""Pay for what changed: of two thousand documents, twenty edited, twenty added, twenty deleted."""

from __future__ import annotations

import random
from pathlib import Path

import lance
import pytest

import made_embedder
from made_words import WORDS, sentence

DOCUMENTS = 2_000
SHARE = 20


def paragraph(draw: random.Random) -> str:
    """Some words, hardly ever the same twice."""
    return sentence(*(draw.randrange(WORDS) for _ in range(draw.randrange(6, 14))))


def document(draw: random.Random) -> list[str]:
    return [paragraph(draw) for _ in range(draw.randrange(1, 6))]


def write(folder: Path, documents: dict[str, list[str]], only: set[str]) -> None:
    for name in only:
        (folder / name).write_text("\n\n".join(documents[name]))


@pytest.fixture
def documents(notes, monkeypatch):
    """The space over a folder of two thousand documents, each cut into a few chunks."""
    monkeypatch.setattr("tasks.embed.embed_shard.load", made_embedder.WordEmbedder)
    folder = notes.folder / "docs"
    folder.mkdir()
    draw = random.Random(7)
    made = {f"d{n:04}.txt": document(draw) for n in range(DOCUMENTS)}
    write(folder, made, set(made))
    notes.changes["sources"] = [{"name": "docs", "kind": "text", "path": "docs"}]
    notes.changes["chunk"] = {"max_tokens": 16}
    return made


def test_exactly_the_contents_not_seen_before_are_embedded(notes, documents):
    first = notes.build().manifest
    before = notes.content()
    assert first.counts.embedded == len(set(before.values()))
    folder, draw = notes.folder / "docs", random.Random(8)
    chosen = draw.sample(sorted(documents), 3 * SHARE)
    edited, deleted, copied = chosen[:SHARE], chosen[SHARE : 2 * SHARE], chosen[2 * SHARE :]
    for name in edited:
        documents[name][draw.randrange(len(documents[name]))] = paragraph(draw)
    for name in deleted:
        del documents[name]
        (folder / name).unlink()
    # half of those added hold what another document holds: seen before under another id
    added = {f"e{n:02}.txt": document(draw) for n in range(SHARE // 2)}
    added |= {f"f{n:02}.txt": list(documents[copied[n]]) for n in range(SHARE // 2)}
    documents |= added
    write(folder, documents, {*edited, *added})

    planned = notes.build(dry_run=True).manifest.counts
    second = notes.build().manifest
    after = notes.content()
    unseen = set(after.values()) - set(before.values())
    assert 0 < len(unseen) < 200
    assert second.counts.embedded == len(unseen)
    assert second.counts.problems() == []
    touched = {"edited": edited, "deleted": deleted, "added": list(added)}
    unchanged = [key for key in before if _name(key) not in {*edited, *deleted}]
    assert second.counts.unchanged >= len(unchanged)
    assert {key: before[key] for key in unchanged} == {key: after[key] for key in unchanged}
    assert not {_name(key) for key in after} & set(touched["deleted"])
    assert {_name(key) for key in after} >= set(touched["added"])
    assert planned.model_dump(exclude={"embedded", "reused"}) == second.counts.model_dump(
        exclude={"embedded", "reused"}
    )
    # what left and comes back was embedded once already
    documents |= {name: [before[key] for key in before if _name(key) == name] for name in deleted}
    write(folder, documents, set(deleted))
    third = notes.build().manifest.counts
    assert (third.embedded, third.new) == (0, sum(_name(key) in deleted for key in before))


def _name(key: str) -> str:
    return key.removeprefix("docs:").partition("#")[0]


def test_one_percent_touches_no_other_file_of_the_table(notes, documents):
    notes.build()
    data = {name for name in notes.tables() if "/data/" in name}
    changed = sorted(documents)[:SHARE]
    for name in changed:
        documents[name] = [sentence(1, 2, 3, int(name[1:5]))]
    write(notes.folder / "docs", documents, set(changed))
    counts = notes.build().manifest.counts
    assert counts.changed + counts.new <= SHARE
    assert {name for name in notes.tables() if "/data/" in name} >= data
    live = lance.dataset(notes.ref.path, version="prod").count_rows()
    assert live == counts.rows
