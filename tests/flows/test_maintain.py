"""`vecmill maintain` on a whole space: the report, builds and readers beside it, the long run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from flows.upkeep import maintain_space
from made_words import sentence
from tasks.store.leases import BusyError, hold_lease, read_leases
from tasks.table import compaction
from tasks.table.releases import list_releases
from tasks.table.transaction import base_tags

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def built(notes, texts):
    """Four releases of thirty notes; what the last one holds."""
    notes.changes["publish"] = {"keep": 2}
    for turn in range(4):
        texts = {**texts, f"n{turn}": sentence(turn, 300 + turn)}
        notes.write(texts)
        notes.build()
    return {f"docs:{key}": text for key, text in texts.items()}


def names(notes) -> list[str]:
    return [release.name for release in list_releases(notes.ref)]


def test_the_command_says_what_it_did(notes, built):
    before = sum(notes.tables().values())
    answer = notes.command("maintain", "--grace", "0", "--json")
    assert answer.code == 0, answer.err
    said = json.loads(answer.out)
    assert said["retired"] == ["v0001", "v0002"]
    assert (said["space"], said["releases"], said["left"]) == ("notes", 2, [])
    assert said["versions_removed"] > 0
    assert said["workdir"]["vector_files_merged"] == 4
    size = said["bytes"]
    assert size["before"]["table"] + size["before"]["companions"] == before
    assert size["after"]["table"] < size["before"]["table"]
    assert size["after"]["table"] + size["after"]["companions"] == sum(notes.tables().values())
    assert notes.content() == built
    assert notes.build().message == "'notes' is up to date: v0004 stands, nothing was written"


def test_for_people(notes, built):
    answer = notes.command("maintain", "--grace", "0", "--keep", "1")
    assert answer.code == 0
    assert "3: v0001 to v0003 (1 stay)" in answer.out
    assert "nothing was due" in answer.out
    assert [line.split()[0] for line in answer.out.splitlines()[-3:]] == [
        "table",
        "companions",
        "workdir",
    ]
    assert answer.err == ""


def test_an_empty_workdir_costs_time_alone(notes, built, texts):
    report = maintain_space(notes.spec, workdir_days=0, grace=timedelta(0))
    assert report.expired.files > 0
    left = [name for name in notes.files() if name.startswith("work/")]
    assert left == []
    manifest = notes.build().manifest
    assert (manifest.published, manifest.counts.embedded) == (False, 0)
    notes.write({**texts, "more": sentence(350)})
    manifest = notes.build().manifest
    # n0 … n3 go back to their first texts, whose vectors no release holds any more
    assert (manifest.release, manifest.counts.embedded) == ("v0005", 5)


def test_a_space_that_was_never_built(notes):
    answer = notes.command("maintain", "--json")
    assert answer.code == 0
    assert json.loads(answer.out)["retired"] == []
    assert [name for name in notes.files() if name.startswith(("db/", "work/"))] == []


@pytest.mark.parametrize("work", ["maintain", "forget", "rollback"])
def test_one_at_a_time(notes, built, work):
    with hold_lease(notes.spec.workdir, "other", "notes", work):
        with pytest.raises(BusyError, match=f"maintain: {work} other of space 'notes'"):
            maintain_space(notes.spec)
        assert notes.command("maintain").code == 1
    assert names(notes) == ["v0001", "v0002", "v0003", "v0004"]
    assert read_leases(notes.spec.workdir) == []


@pytest.mark.parametrize(
    ("name", "value"), [("keep", 0), ("keep", -1), ("workdir_days", -1.0), ("grace_minutes", -1.0)]
)
def test_the_flow_refuses_numbers_that_mean_nothing(name, value):
    from prefect.exceptions import ParameterTypeError

    from flows.maintain import maintain

    with pytest.raises(ParameterTypeError, match=f"{name}(.|\n)*greater than or equal"):
        maintain.validate_parameters({"spec": "space.yaml", name: value})


def test_beside_a_build_in_the_same_workdir(notes, built):
    with hold_lease(notes.spec.workdir, "b1", "another", "build"):
        report = maintain_space(notes.spec, workdir_days=0, grace=timedelta(0))
    assert names(notes) == ["v0003", "v0004"]
    assert (report.expired.files, report.vector_files_merged) == (0, 0)
    assert len(report.left) == 1
    assert "build b1" in report.left[0]


def test_a_build_in_the_middle_of_which_the_table_is_compacted(notes, texts, monkeypatch):
    """It loses against the compaction, plans again and publishes."""
    import flows.compose

    monkeypatch.setattr(compaction, "HELD_SHARE", 10)
    many = {f"m{i}": sentence(i, i + 7, i // 3) for i in range(300)}
    notes.write(many)
    notes.build()
    for turn in range(3):
        many |= {f"m{i}": sentence(i, i + 11 + turn) for i in range(turn, 300, 10)}
        notes.write(many)
        notes.build(yes=True)
    many["late"] = sentence(399)
    notes.write(many)
    reports, real = [], flows.compose.audit_candidate

    def late(*arguments, **options):
        if not reports:
            reports.append(maintain_space(notes.spec, keep=1, grace=timedelta(0)))
        return real(*arguments, **options)

    monkeypatch.setattr(flows.compose, "audit_candidate", late)
    manifest = notes.build().manifest
    assert reports[0].tables.compacted is not None
    assert (manifest.release, manifest.counts.new, manifest.counts.embedded) == ("v0005", 1, 1)
    assert notes.content() == {f"docs:{key}": text for key, text in many.items()}
    assert base_tags(notes.ref) == {}


READER = """
import sys
from pathlib import Path
import lancedb

uri, stop = sys.argv[1], Path(sys.argv[2])
rounds = 0
print("ready", flush=True)
while not stop.exists():
    table = lancedb.connect(uri).open_table("notes")
    table.checkout("prod")
    rows = table.search().select(["id", "text"]).limit(10_000).to_arrow().to_pylist()
    turns = {row["text"].split()[0] for row in rows}
    assert len({row["id"] for row in rows}) == len(rows) == 400, len(rows)
    assert len(turns) == 1, turns  # every note begins with its build's word
    rounds += 1
print(rounds)
"""

BUILDER = """
import json, sys
import made_embedder
from flows.compose import build_space
from flows.progress import StageBars
from flows.runner import PlainRunner
from schemas.load import load_spec
from schemas.spec import BuildOverrides

made_embedder.use()
folder, spec, turns = sys.argv[1], load_spec(sys.argv[2]), int(sys.argv[3])
for turn in range(turns):
    with open(f"{folder}/notes.jsonl", "w") as file:
        for i in range(400):
            file.write(json.dumps({"key": f"n{i}", "text": f"w{turn} w{i}"}) + "\\n")
    outcome = build_space(spec, BuildOverrides(yes=True), PlainRunner(StageBars("quiet")))
    assert outcome.exit_code == 0, outcome.message
    print(outcome.manifest.release, flush=True)
"""


@pytest.mark.slow
def test_builds_readers_and_upkeep_at_once(notes, monkeypatch):
    """Each build rewrites every row; upkeep loops; whoever reads prod sees one build's rows."""
    monkeypatch.setattr(compaction, "HELD_SHARE", 10)
    notes.changes["publish"] = {"keep": 3}
    env = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}"}
    spec, stop = notes.spec_file(), notes.folder / "stop"

    def start(code: str, *words: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, text=True, env=env
        )

    builder = start(BUILDER, str(notes.folder), str(spec), "25")
    reader = None
    try:
        assert builder.stdout.readline() == "v0001\n"
        reader = start(READER, notes.spec.uri, str(stop))
        assert reader.stdout.readline() == "ready\n"
        upkeeps = retired = 0
        while builder.poll() is None:
            report = maintain_space(notes.spec, grace=timedelta(seconds=5))
            upkeeps += 1
            retired += len(report.tables.retired)
        assert builder.wait() == 0
        stop.touch()
        rounds = int(reader.communicate(timeout=60)[0])
        assert reader.returncode == 0
    finally:
        for process in (builder, reader):
            if process is not None:
                process.kill()
    assert (upkeeps > 3, rounds > 10, retired > 3) == (True, True, True)
    maintain_space(notes.spec, grace=timedelta(0))
    assert names(notes) == ["v0023", "v0024", "v0025"]
    assert set(notes.content().values()) == {f"w24 w{i}" for i in range(400)}


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_two_hundred_builds_stay_within_one_and_a_half_times_their_rows():
    done = subprocess.run(
        [sys.executable, "benchmarks/upkeep.py", "--json"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)
    assert figures["builds"] == 201
    assert figures["ratio"] <= 1.5
    assert figures["workdir_after_expiry"] == 0
