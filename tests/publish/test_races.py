"""Builders and readers at the same time, some in processes of their own, some killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.publish.publish import publish
from tasks.publish.stage import discard
from tasks.table.dataset import open_main
from tasks.table.releases import list_releases
from tasks.table.transaction import ConflictError, base_tags

REPOSITORY = Path(__file__).parents[2]
TEXTS = {f"note{i}": f"the number {i} in words" for i in range(20)}

READER = """
    import sys, time, lancedb
    uri, stop = sys.argv[1:]
    from pathlib import Path
    seen = set()
    while True:
        last = Path(stop).exists()
        table = lancedb.connect(uri).open_table("notes")
        try:
            tags = tuple(sorted((k, v["version"]) for k, v in table.tags.list().items()
                                if not k.startswith("base-")))
        except (ValueError, OSError, RuntimeError):  # a base tag was deleted while it was read
            continue
        table.checkout("prod")
        rows = tuple(sorted(table.to_arrow()["text"].to_pylist()))
        table.checkout_latest()
        seen.add((tags, rows, table.version, table.count_rows()))
        if not Path(stop + ".ready").exists():
            Path(stop + ".ready").touch()
        time.sleep(0.005)
        if last:
            break
    print(len(seen))
    for state in seen:
        print(len(state[1]), state[3])
"""


def start(code: str, *arguments: str) -> subprocess.Popen:
    """A Python process that runs `code` with the repository importable."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )


def test_a_polling_reader_sees_nothing_of_a_refused_build(space, tmp_path):
    space.publish(TEXTS)
    stop = tmp_path / "stop"
    reader = start(READER, space.ref.uri, str(stop))
    while not (tmp_path / "stop.ready").exists():
        assert reader.poll() is None
        time.sleep(0.01)
    for turn in range(5):
        candidate, _ = space.stage({**TEXTS, f"bad{turn}": "never published", "note1": "bad"})
        discard(candidate)
    stop.touch()
    out, _ = reader.communicate(timeout=60)
    assert out.split() == ["1", "20", "20"], "the reader saw more than one state"


def test_a_plain_script_with_lancedb_alone_reads_the_release(space):
    space.publish(TEXTS)
    space.publish({**TEXTS, "later": "row"})
    script = """
        import sys, lancedb
        table = lancedb.connect(sys.argv[1]).open_table("notes")
        table.checkout("prod")
        vector = table.to_arrow()["vector"][3].as_py()
        hits = table.search(vector).distance_type("cosine").where("duplicate_of IS NULL")
        print(table.count_rows(), hits.limit(1).to_arrow()["id"][0])
        assert not {m for m in sys.modules if m.split(".")[0] in ("tasks", "schemas", "torch")}
    """
    out, _ = start(script, space.ref.uri).communicate(timeout=60)
    assert out.split() == ["21", "docs:note3"]


def test_of_two_builders_from_one_base_one_wins(space, run_together):
    space.publish(TEXTS)
    staged = [space.stage({**TEXTS, f"from{i}": "same base"}, build_id=f"b{i}") for i in range(4)]
    waiting = list(staged)

    def one() -> str | None:
        try:
            return publish(*waiting.pop()).manifest.build_id
        except ConflictError:
            return None

    won = [build for build in run_together(one, times=4) if build is not None]
    assert len(won) == 1
    assert space.content() == {**TEXTS, f"from{won[0][1:]}": "same base"}
    assert base_tags(space.ref) == {}
    assert [r.name for r in list_releases(space.ref)] == ["v0001", "v0002"]


SPACE = """
    import importlib.util, json, os, sys
    from pathlib import Path
    conftest, root = sys.argv[1:3]
    found = importlib.util.spec_from_file_location("publish_conftest", conftest)
    module = importlib.util.module_from_spec(found)
    sys.modules["publish_conftest"] = module
    found.loader.exec_module(module)
    space = module.Space(Path(root), builds=10)
"""
CONFTEST = str(Path(__file__).with_name("conftest.py"))

DYING = (
    SPACE
    + """
    place, content = sys.argv[3:]
    owner, name = place.rsplit(".", 1)
    setattr(sys.modules[owner], name, lambda *a, **k: os.kill(os.getpid(), 9))
    space.publish(json.loads(content))
"""
)


@pytest.mark.parametrize(
    ("place", "committed"),
    [
        ("tasks.table.transaction._committed", False),
        ("tasks.table.reconcile._create_tag", True),
        ("tasks.table.reconcile.build_indexes", True),
        ("tasks.table.reconcile._turn", True),
    ],
    ids=["before the commit", "before the data tag", "before the index", "before prod moves"],
)
def test_a_killed_publisher(space, place, committed):
    space.publish(TEXTS)
    wanted = {**TEXTS, "late": "row"}
    dying = start(DYING, CONFTEST, str(space.root), place, json.dumps(wanted))
    assert dying.wait(timeout=60) == -9
    assert space.content("prod") == TEXTS
    space.publish(wanted | {"next": "build"})
    assert space.content("prod") == wanted | {"next": "build"}
    names = ["v0001", "v0002", "v0003"] if committed else ["v0001", "v0002"]
    assert [r.name for r in list_releases(space.ref)] == names
    assert open_main(space.ref).count_rows() == 22


BUILDER = (
    SPACE
    + """
    from tasks.publish.publish import publish
    from tasks.publish.stage import stage
    from tasks.table.transaction import ConflictError
    name, rounds = sys.argv[3], int(sys.argv[4])
    space.root = space.root / name  # its own items and plans, the common table
    space.root.mkdir()
    for turn in range(rounds):
        while True:
            base = space.base(f"{name}-{space.builds}")
            content = space.content(base.version) | {f"{name}{turn}": f"row {turn} of {name}"}
            plan = space.plan(base, content)
            candidate = stage(base, plan, module.MINI, space.store, space.schema)
            try:
                publish(candidate, space.manifest(candidate, plan))
                break
            except ConflictError:
                continue
"""
)


@pytest.mark.slow
def test_many_builders_lose_and_double_nothing(space):
    space.publish({"start": "row"})
    builders = [start(BUILDER, CONFTEST, str(space.root), f"b{i}", "10") for i in range(4)]
    assert [builder.wait(timeout=280) for builder in builders] == [0] * 4
    rows = {f"b{i}{turn}": f"row {turn} of b{i}" for i in range(4) for turn in range(10)}
    assert space.content("prod") == {"start": "row"} | rows
    releases = list_releases(space.ref)
    assert [r.number for r in releases] == list(range(1, 42))
    assert [r.manifest.counts.rows for r in releases] == list(range(1, 42))
    assert base_tags(space.ref) == {}


contents = st.dictionaries(
    st.sampled_from([f"k{i}" for i in range(12)]),
    st.sampled_from(["red", "green", "blue", "it's", "ünï", "red\n\nred"]),
    max_size=12,
)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(states=st.lists(contents, min_size=1, max_size=5))
def test_any_history_ends_in_the_content_of_a_fresh_table(new_space, tmp_path_factory, states):
    def fresh():
        return new_space(tmp_path_factory.mktemp("space"))

    grown, once = fresh(), fresh()
    for state in states:
        grown.publish(state)
    once.publish(states[-1])
    assert rows(grown) == rows(once)


def rows(space) -> list[dict]:
    """All content columns, whole, in id order."""
    table = open_main(space.ref).to_table().drop_columns(["uri"])
    found = sorted(table.to_pylist(), key=lambda row: row["id"])
    assert len({row["id"] for row in found}) == len(found)
    return found
