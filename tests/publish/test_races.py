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

from made_s3 import STORAGE_OPTIONS
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
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}"},
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


BUILDER = """
    import importlib.util, json, sys
    from pathlib import Path
    import pyarrow as pa
    conftest, root, uri, options, name, rounds, widens = sys.argv[1:]
    found = importlib.util.spec_from_file_location("publish_conftest", conftest)
    module = importlib.util.module_from_spec(found)
    sys.modules["publish_conftest"] = module
    found.loader.exec_module(module)
    from tasks.publish.publish import publish
    from tasks.publish.stage import stage
    from tasks.table.dataset import open_version
    from tasks.table.transaction import ConflictError

    root = Path(root) / name  # its own items, plans and vectors; the common table
    root.mkdir()
    space = module.Space(root, uri=uri, storage_options=tuple(map(tuple, json.loads(options))))
    wide = pa.field("wide", pa.string())
    lost = rewritten = 0
    for turn in range(int(rounds)):
        while True:
            base = space.base(f"{name}-{space.builds}")
            schema = open_version(base.ref, base.version).schema
            has = "wide" in schema.names
            space.columns = [module.LANG, *([wide] if has or (int(widens) and turn > 0) else [])]
            content = space.content(base.version)
            content[f"{name}-{turn}"] = f"row {turn} of {name}"  # adds one,
            if turn > 0:
                content[f"{name}-{turn - 1}"] = f"edited by {name} in turn {turn}"  # edits one,
            content.pop(f"{name}-{turn - 3}", None)  # and deletes one
            plan = space.plan(base, content, overwrite=not schema.equals(space.schema))
            candidate = stage(base, plan, module.MINI, space.store, space.schema)
            try:
                publish(candidate, space.manifest(candidate, plan))
                rewritten += plan.overwrite
                break
            except ConflictError:
                lost += 1
    print(json.dumps({"lost": lost, "rewritten": rewritten}))
"""


def race(space, builders: int, rounds: int, widens: int = 0) -> list[dict]:
    """Let builders race, the first `widens` of them adding a column; what each says of itself.

    Whatever the race was like, no change of anybody is lost, no id is there twice, the releases
    have every number once, prod is on the newest, and nothing but them is left over.
    """
    space.publish({"start": "row"})
    options = json.dumps(space.ref.storage_options)
    running = [
        start(
            BUILDER,
            CONFTEST,
            str(space.root),
            space.ref.uri,
            options,
            f"b{i}",
            str(rounds),
            str(int(i < widens)),
        )
        for i in range(builders)
    ]
    said = [builder.communicate(timeout=550)[0] for builder in running]
    assert [builder.returncode for builder in running] == [0] * builders
    expected = {"start": "row"}
    for name in (f"b{i}" for i in range(builders)):
        first, last = max(rounds - 3, 0), rounds - 1
        for turn in range(first, last):
            expected[f"{name}-{turn}"] = f"edited by {name} in turn {turn + 1}"
        expected[f"{name}-{last}"] = f"row {last} of {name}"
    assert space.content("prod") == expected
    releases = list_releases(space.ref)
    assert [r.number for r in releases] == list(range(1, builders * rounds + 2))
    assert "prod" in releases[-1].tags
    assert base_tags(space.ref) == {}
    dataset = open_main(space.ref)
    assert [name for name in dataset.new_file_session().list("_versions") if "/d" in name] == []
    found = [json.loads(line) for line in said]
    print(f"{builders} builders x {rounds} rounds, {space.ref.uri.partition(':')[0]}: {found}")
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_eight_builders_lose_and_double_nothing(space):
    said = race(space, builders=8, rounds=10)
    assert sum(each["lost"] for each in said) > 0  # else it was no race


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_four_builders_on_an_object_store_lose_and_double_nothing(new_space, bucket):
    space = new_space(uri=bucket.uri, storage_options=tuple(STORAGE_OPTIONS.items()))
    space.root.mkdir()
    said = race(space, builders=4, rounds=5)
    assert sum(each["lost"] for each in said) > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("place", ["folder", "object store"])
def test_a_column_added_in_the_middle_of_a_race(new_space, request, place):
    """One `Overwrite` among updates: it wins or loses like any other, and takes nothing along."""
    options = {}
    if place == "object store":
        bucket = request.getfixturevalue("bucket")
        options = {"uri": bucket.uri, "storage_options": tuple(STORAGE_OPTIONS.items())}
    space = new_space(**options)
    space.root.mkdir()
    said = race(space, builders=4, rounds=5, widens=2)
    assert sum(each["rewritten"] for each in said) == 1  # who comes second finds the column there
    assert "wide" in open_main(space.ref).schema.names


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
