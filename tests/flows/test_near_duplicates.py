"""Near-duplicate records in builds: published, rejudged, kept through time, and forgotten."""

from __future__ import annotations

import shutil
import sys

import lance
import numpy as np

from made_words import sentence
from tasks.embedders.load import load
from tasks.embedders.resolve import resolve

NEAR = {"dedupe": {"near": {"threshold": 0.6}}}


def marked(notes) -> dict[str, tuple[str, str]]:
    """id → what it is a duplicate of, and of which kind, in the release."""
    columns = ["id", "duplicate_of", "duplicate_kind"]
    rows = lance.dataset(notes.ref.path, version="prod").to_table(columns=columns).to_pylist()
    return {r["id"]: (r["duplicate_of"], r["duplicate_kind"]) for r in rows if r["duplicate_of"]}


def long(*words: int) -> str:
    """A text of some hundred characters."""
    return " ".join(sentence(*(w + i for w in words)) for i in range(0, 60, 3))


def test_a_near_copy_is_published_with_its_mark(notes, texts) -> None:
    notes.changes |= NEAR
    notes.write({**texts, "a": long(1, 2), "b": long(1, 2) + " w7", "c": long(1, 2)})
    outcome = notes.build()
    assert outcome.exit_code == 0
    assert marked(notes) == {
        "docs:a": ("docs:b", "near"),
        "docs:c": ("docs:b", "near"),
    }
    counts = outcome.manifest.counts.duplicates
    assert (counts.exact, counts.near) == (0, 2)


def test_a_better_copy_rejudges_and_a_kept_one_that_leaves_too(notes, texts) -> None:
    notes.changes |= NEAR
    notes.write({**texts, "a": long(1, 2), "b": long(1, 2) + " w7"})
    notes.build()
    assert marked(notes) == {"docs:a": ("docs:b", "near")}
    notes.write({**texts, "a": long(1, 2), "b": long(1, 2) + " w7", "d": long(1, 2) + " w7 w8"})
    outcome = notes.build()
    assert marked(notes) == {"docs:a": ("docs:d", "near"), "docs:b": ("docs:d", "near")}
    counts = outcome.manifest.counts
    assert (counts.new, counts.rejudged, counts.embedded) == (1, 2, 1)
    notes.write({**texts, "a": long(1, 2), "b": long(1, 2) + " w7"})
    assert notes.build().manifest.counts.rejudged == 2
    assert marked(notes) == {"docs:a": ("docs:b", "near")}
    before = notes.tables()
    assert "up to date" in notes.build().message
    assert notes.tables() == before


def test_chunks_inherit(notes, texts) -> None:
    notes.changes |= {**NEAR, "chunk": {"max_tokens": 16}}
    notes.write({**texts, "a": long(1, 2), "b": long(1, 2) + " w7 w8 w9"})
    notes.build()
    found = marked(notes)
    assert set(found.values()) <= {
        ("docs:b", "near"),
        *((f"docs:b#{n}", "exact") for n in range(99)),
    }
    assert {name.partition("#")[0] for name in found} == {"docs:a"}
    rows = lance.dataset(notes.ref.path, version="prod").to_table(columns=["id"])["id"].to_pylist()
    assert {name for name in rows if name.startswith("docs:a#")} == set(found)


def test_switched_on_and_off_embeds_nothing(notes, texts) -> None:
    notes.write({**texts, "a": long(1, 2), "b": long(1, 2) + " w7"})
    notes.build()
    assert marked(notes) == {}
    notes.changes |= NEAR
    counts = notes.build().manifest.counts
    assert (counts.rejudged, counts.embedded) == (1, 0)
    del notes.changes["dedupe"]
    assert notes.build().manifest.counts.rejudged == 1
    assert marked(notes) == {}


def test_who_resembles_what_could_not_be_embedded_is_kept(notes, texts, monkeypatch) -> None:
    from tasks.embedders.sentence_transformers_embedder import StaticText

    real, longest = StaticText.submit_tokens, len(long(1, 2).split())

    def choke(self, tokens, rows):
        if any(len(tokens.ragged(row)[0]) > longest for row in np.split(rows, len(rows))):
            raise RuntimeError("too long")
        return real(self, tokens, rows)

    monkeypatch.setattr(StaticText, "submit_tokens", choke)
    notes.changes |= {"dedupe": {"near": {"threshold": 0.6}, "semantic": None}}
    notes.changes |= {"expectations": {"max_reject_share": 0.1}}
    notes.write({**texts, "a": long(1, 2), "b": long(1, 2) + " w7", "c": long(1, 2)})
    outcome = notes.build()
    assert outcome.manifest.counts.items_rejected == 1
    assert marked(notes) == {"docs:c": ("docs:a", "exact")}
    before = notes.tables()
    assert "up to date" in notes.build().message
    assert notes.tables() == before


def test_a_deleted_workdir_changes_nothing(notes, texts) -> None:
    import shutil

    notes.changes |= NEAR
    notes.write({**texts, "a": long(1, 2), "b": long(1, 2) + " w7"})
    notes.build()
    shutil.rmtree(notes.folder / "work")
    before = notes.tables()
    assert "up to date" in notes.build().message
    assert notes.tables() == before


def test_a_dry_run_writes_nothing(notes, texts) -> None:
    notes.changes |= NEAR
    notes.write({**texts, "a": long(1, 2), "b": long(1, 2) + " w7"})
    before = notes.files()
    assert notes.build(dry_run=True).manifest.counts.duplicates.near == 1
    assert notes.files() == before


def test_what_was_forgotten_is_in_no_file(notes, texts) -> None:
    notes.changes |= NEAR
    notes.write({**texts, "a": long(1, 2), "person": long(1, 2) + " w7"})
    notes.build()
    assert marked(notes) == {"docs:a": ("docs:person", "near")}
    work = notes.folder / "work"
    assert list(work.glob("signatures/*/*.arrow"))
    answer = notes.command("forget", "--key", "person", "--yes")
    assert answer.code == 0, answer.err
    assert not list(work.glob("signatures/*/*"))
    assert not list(work.glob("near/*"))
    assert not list(work.glob("near-texts/*"))
    assert marked(notes) == {}
    notes.build()
    assert marked(notes) == {}


def test_a_build_without_change_loads_no_compiler(notes, texts, tmp_path) -> None:
    import subprocess

    notes.changes |= NEAR
    notes.write({**texts, "a": long(1, 2), "b": long(1, 2) + " w7"})
    notes.build()
    code = (
        "import sys; from flows.cli import run; "
        f"assert run(['build', {str(notes.spec_file())!r}]) == 0; "
        "assert 'numba' not in sys.modules, 'numba was loaded'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_cannot_be_embedded_is_no_record_that_others_point_to(notes, texts, spoiled) -> None:
    """It was the longest, and is in no table: the next one is kept, now and in later builds."""
    notes.changes |= NEAR | {"expectations": {"max_reject_share": 1.0}}
    bad = long(1, 2) + " w7 w8"
    poison = load(resolve(notes.spec.embedder, {"text"})).embed_texts([bad])[0]

    def change(vectors: np.ndarray) -> np.ndarray:
        is_bad = np.isclose(vectors, poison, atol=1e-6).all(axis=1)
        return np.where(is_bad[:, None], np.nan, vectors)

    spoiled(change)
    notes.write({**texts, "a": long(1, 2), "b": long(1, 2) + " w7", "bad": bad})
    counts = notes.build().manifest.counts
    assert (counts.items_rejected, counts.duplicates.near) == (1, 1)
    assert marked(notes) == {"docs:a": ("docs:b", "near")}
    before = notes.tables()
    assert notes.build(dry_run=True).manifest.counts.rejudged == 0
    assert notes.build().manifest.published is False
    assert notes.tables() == before
    shutil.rmtree(notes.folder / "work")
    assert notes.build().manifest.published is False
