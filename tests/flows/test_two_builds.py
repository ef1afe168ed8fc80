"""Two builds of one space at once: one wins, the other plans again, and nothing is doubled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

import flows.compose
from made_words import sentence
from tasks.table.companions import read_builds
from tasks.table.releases import list_releases
from tasks.table.transaction import base_tags

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def meanwhile(monkeypatch):
    """Let something happen, once, just before a build calls one of its steps."""

    def plant(step: str, happens) -> None:
        real = getattr(flows.compose, step)

        def late(*arguments, **options):
            monkeypatch.setattr(flows.compose, step, real)
            happens()
            return real(*arguments, **options)

        monkeypatch.setattr(flows.compose, step, late)

    return plant


@pytest.mark.parametrize("step", ["gather", "plan_rows", "embed_rows", "audit_candidate"])
def test_the_same_input_is_published_once(notes, texts, meanwhile, step):
    notes.build()
    notes.write({**texts, "n3": sentence(300), "fresh": sentence(301)})
    others = []
    meanwhile(step, lambda: others.append(notes.build()))
    outcome = notes.build()
    assert others[0].manifest.release == "v0002"
    assert (outcome.exit_code, outcome.manifest.published) == (0, False)
    assert (outcome.manifest.release, outcome.manifest.base_release) == ("v0002", "v0002")
    assert outcome.manifest.counts.problems() == []
    assert [r.name for r in list_releases(notes.ref)] == ["v0001", "v0002"]
    assert len(read_builds(notes.ref)) == 2
    assert base_tags(notes.ref) == {}
    assert len(notes.content()) == 31


@pytest.mark.parametrize("step", ["gather", "plan_rows", "embed_rows", "audit_candidate"])
def test_the_same_first_input_is_published_once(notes, meanwhile, step):
    others = []
    meanwhile(step, lambda: others.append(notes.build()))
    outcome = notes.build()
    assert others[0].manifest.release == "v0001"
    assert (outcome.manifest.release, outcome.manifest.published) == ("v0001", False)
    assert len(notes.content()) == 30


@pytest.fixture
def other(notes):
    """The same space with its records in another file: what a second person would build."""
    other = replace(notes, changes={})
    other.source(path="other.jsonl")
    return other


def write(space, texts: dict[str, str]) -> dict[str, str]:
    """Make the space's own file hold these texts; what the table then holds."""
    lines = [json.dumps({"key": key, "text": text}) for key, text in texts.items()]
    (space.folder / space.data["sources"][0]["path"]).write_text("\n".join(lines))
    return {f"docs:{key}": text for key, text in texts.items()}


@pytest.mark.parametrize("step", ["gather", "plan_rows", "embed_rows", "audit_candidate"])
def test_another_input_is_planned_again_and_keeps_its_vectors(notes, other, texts, meanwhile, step):
    notes.build()
    rows = write(notes, {**texts, "n3": sentence(300), "mine": sentence(301)})
    write(other, {**texts, "n4": sentence(303), "yours": sentence(302)})
    others = []
    meanwhile(step, lambda: others.append(other.build()))
    manifest = notes.build().manifest
    assert others[0].manifest.release == "v0002"
    assert (manifest.release, manifest.base_release) == ("v0003", "v0002")
    assert notes.content() == rows
    counts = manifest.counts
    # all the others come from another file now
    assert (counts.new, counts.changed, counts.removed, counts.metadata_only) == (1, 2, 1, 28)
    # n3 and mine, once, whichever attempt it was; n4's old content had its vector
    assert (counts.embedded, counts.reused) == (2, 29)
    assert [b.manifest.release for b in read_builds(notes.ref)] == ["v0001", "v0002", "v0003"]
    assert base_tags(notes.ref) == {}


BUILDER = """
import json, sys
import made_embedder
from flows.compose import build_space
from flows.progress import StageBars
from flows.runner import PlainRunner
from schemas.load import load_spec
from schemas.spec import BuildOverrides

made_embedder.use()
print("ready", flush=True)
for path in sys.stdin:
    runner = PlainRunner(StageBars("quiet"))
    outcome = build_space(load_spec(path.strip()), BuildOverrides(yes=True), runner)
    said = outcome.manifest.model_dump(mode="json", include={"release", "published", "build_id"})
    assert not {"prefect", "fastapi", "torch"} & set(sys.modules)  # a plain build needs no Prefect
    print(json.dumps({"code": outcome.exit_code, **said}), flush=True)
"""


@contextmanager
def builders(count: int) -> Iterator[list[subprocess.Popen]]:
    """Processes of their own that each build the spec whose path they are sent."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", BUILDER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}"},
        )
        for _ in range(count)
    ]
    try:
        for builder in running:
            assert builder.stdout.readline() == "ready\n"
        yield running
        for builder in running:
            builder.stdin.close()
            assert builder.wait(timeout=60) == 0
    finally:
        for builder in running:
            builder.kill()


def build_together(running, specs) -> list[dict]:
    for builder, spec in zip(running, specs, strict=True):
        builder.stdin.write(f"{spec}\n")
        builder.stdin.flush()
    return [json.loads(builder.stdout.readline()) for builder in running]


def test_two_processes_at_once(notes, other, texts):
    """First the same input, then different ones, several times over."""
    mine, yours = notes.spec_file(), notes.folder / "other.yaml"
    yours.write_text(other.spec_file().read_text())
    mine = notes.spec_file()
    releases = 0
    with builders(2) as running:
        for turn in range(3):
            rows = write(notes, {**texts, "n0": sentence(turn, 310), f"a{turn}": sentence(turn)})
            said = build_together(running, [mine, mine])
            releases += 1
            assert [each["code"] for each in said] == [0, 0]
            assert sorted(each["published"] for each in said) == [False, True]
            assert {each["release"] for each in said} == {f"v{releases:04}"}
            assert notes.content() == rows
        for turn in range(3):
            rows = {
                str(spec): write(space, {**texts, name: sentence(turn, place)})
                for spec, space, name, place in ((mine, notes, "m", 320), (yours, other, "y", 330))
            }
            said = build_together(running, list(rows))
            releases += 2
            assert [each["published"] for each in said] == [True, True]
            last = max(said, key=lambda each: each["release"])
            assert last["release"] == f"v{releases:04}"
            assert notes.content() == list(rows.values())[said.index(last)]
    found = list_releases(notes.ref)
    assert [release.number for release in found] == list(range(1, releases + 1))
    recorded = [b.manifest.build_id for b in read_builds(notes.ref)]
    assert sorted(recorded) == sorted(release.manifest.build_id for release in found)
    assert base_tags(notes.ref) == {}
    assert list(Path(notes.ref.path).glob("_versions/d*")) == []
