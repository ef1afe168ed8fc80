"""Forgetting: nothing of a record is left on disk, and nothing brings it back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import lance
import pyarrow.parquet as pq
import pytest
from lance.file import LanceFileReader

import flows.compose
import flows.forget
import tasks.erase.rows
from flows.forget import Forgetting, forget_records
from schemas.errors import UsageError
from tasks.erase.asked import Request
from tasks.erase.companions import BLANK
from tasks.erase.staged import FOLDERS
from tasks.store.leases import BusyError, hold_lease
from tasks.table.companions import (
    current_hold,
    read_builds,
    read_events,
    release_hold,
    set_hold,
)
from tasks.table.releases import list_releases, tagged_release
from tasks.table.transaction import base_tags, release_base, take_base

REPOSITORY = Path(__file__).parents[2]
KEY = "patient-0815"
LONG = [f"w{i} w{i + 1} w{i + 2} w{i + 3} w{i + 4} w{i + 5} w{i + 6}" for i in range(390)]
"""Texts long enough to be found as bytes."""

SECRET = "\n\n".join(LONG[200:240])
"""The text of the record that is to be forgotten: several chunks."""


@pytest.fixture
def space(notes):
    """Thirty notes of several chunks each, and one more: releases v0001 to v0003, all hold it."""
    notes.changes["chunk"] = {"max_tokens": 64, "overlap": 0}
    notes.changes["expectations"] = {"max_reject_share": 0.0}
    texts = {f"n{i}": "\n\n".join(LONG[i : i + 20]) for i in range(30)}
    for release in range(3):
        notes.write({**texts, KEY: SECRET, f"only{release}": LONG[300 + release]})
        assert notes.build(yes=True).manifest.release == f"v000{release + 1}"
    return notes


def forget(notes, *keys: str, yes: bool = True, **asked) -> Forgetting:
    request = Request(keys=keys, **asked)
    return forget_records(notes.spec, request, yes=yes, who="ann")


def remains(folder: Path, *needles: str | bytes) -> list[tuple[str, bytes]]:
    """Every file with one of the needles: in its bytes, or in any column that can be read of it.

    Sources and specs are the user's; everything else is vecmill's.
    """
    wanted = [n.encode() if isinstance(n, str) else n for n in needles]
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in (".jsonl", ".yaml") and "files" not in path.parts:
            data = path.read_bytes()
            if path.suffix == ".parquet":
                data += _spelled(pq.read_table(path))
            elif path.suffix == ".lance":
                data += _spelled(LanceFileReader(str(path)).read_all().to_table())
            found += [(str(path.relative_to(folder)), n) for n in wanted if n in data]
    return found


def _spelled(table) -> bytes:
    out = []
    for column in table.columns:
        for value in column.to_pylist():
            out.append(value if isinstance(value, bytes) else str(value).encode())
    return b"\n".join(out)


def content_hashes(notes, key: str) -> list[bytes]:
    """The content hashes of a published record."""
    dataset = lance.dataset(notes.ref.path, version="prod")
    table = dataset.to_table(columns=["content_hash"], filter=f"key = '{key}'")
    return table.column("content_hash").to_pylist()


PIECES = (KEY, LONG[200], LONG[215], LONG[239])
"""What only the record says."""


def keys(notes, tag: str = "prod") -> set[str]:
    return {name.split(":")[1].split("#")[0] for name in notes.content(tag)}


def test_without_yes_nothing_is_written(space):
    before = space.files()
    outcome = forget(space, KEY, yes=False)
    assert outcome.exit_code == 3
    assert "nothing was written; if that is meant, run again with --yes" in outcome.message
    found = outcome.document["found"]
    assert found["records"] == [f"docs:{KEY}"]
    assert found["rows"] == len(content_hashes(space, KEY)) > 2
    assert [each["name"] for each in found["releases"]] == ["v0001", "v0002", "v0003"]
    assert {Path(path).parent.name for path in found["files"]} >= {"records", "items", "notes"}
    assert (outcome.document["done"], outcome.document["proof"]) == (False, None)
    assert space.files() == before


def test_nothing_is_left_on_disk_and_others_are_whole(space):
    hashes = content_hashes(space, KEY)
    others = {name: text for name, text in space.content().items() if KEY not in name}
    assert remains(space.folder, *PIECES, *hashes)  # the test can see them
    outcome = forget(space, KEY, reason="ticket 88")
    assert outcome.exit_code == 0, outcome.message
    assert remains(space.folder, *PIECES, *hashes) == []
    assert space.content() == others
    assert [release.name for release in list_releases(space.ref)] == ["v0004"]
    assert sorted(space.tags()) == ["", "data-v0004", "prod", "v0004"]
    assert outcome.document["erased"] | {"seconds": 0, "files_removed": 0} == {
        "records": 1,
        "rows_removed": len(hashes),
        "tombstones": 1,
        "release": "v0004",
        "retired": ["v0001", "v0002", "v0003"],
        "rejects_removed": 0,
        "verdicts_blanked": 0,
        "files_removed": 0,
        "vectors_removed": len(hashes),
        "anchors_removed": 0,
        "seconds": 0,
    }
    proof = outcome.document["proof"]
    assert (proof["findings"], proof["holds"], proof["shared"]) == ([], True, 0)
    assert min(proof[n] for n in ("versions", "data_files", "rows", "bytes", "needles")) > 0


def test_the_new_release_counts_what_is_left(space):
    was = tagged_release(space.ref, "prod").manifest.counts
    gone = len(content_hashes(space, KEY))
    forget(space, KEY)
    release = tagged_release(space.ref, "prod")
    counts = release.manifest.counts
    assert counts.problems() == []
    assert (counts.records, counts.records_used) == (was.records - 1, was.records_used - 1)
    assert (counts.rows, counts.removed) == (was.rows - gone, gone)
    assert (counts.unchanged, counts.embedded, counts.new) == (counts.rows, 0, 0)
    assert release.manifest.base_release == "v0003"
    assert [source.records for source in release.manifest.sources] == [31]
    dataset = lance.dataset(space.ref.path, version="prod")
    assert dataset.count_rows() == counts.rows
    assert [index.name for index in dataset.describe_indices()] == ["text_idx"]


def test_the_log_tells_of_it_without_the_key(space):
    outcome = forget(space, KEY, reason="ticket 88")
    [event] = read_events(space.ref, "forget")
    assert (event["who"], event["reason"], event["release"]) == ("ann", "ticket 88", "v0004")
    after = json.loads(event["after"])
    assert (after["records"], after["rows_removed"]) == (1, outcome.found.holding.rows)
    assert KEY not in json.dumps(event, default=str)
    assert [b.manifest.release for b in read_builds(space.ref)] == [
        *("v0001", "v0002", "v0003", "v0004")
    ]


def test_a_source_that_still_holds_it_does_not_bring_it_back(space):
    forget(space, KEY)
    outcome = space.build()
    assert (outcome.exit_code, outcome.manifest.release) == (0, "v0004")
    counts = outcome.manifest.counts
    assert counts.problems() == []
    assert (counts.records, counts.records_rejected, counts.embedded) == (32, 1, 0)
    share = {a.name: a for a in outcome.manifest.audits}["max_reject_share:docs"]
    assert (share.value, share.passed, share.threshold) == (0.0, True, 0.0)
    answer = json.loads(space.command("rejects", "--json").out)
    [reason] = answer["reasons"]
    assert (reason["reason"], reason["count"], reason["stage"]) == ("forgotten", 1, "ingest")
    [example] = reason["examples"]
    assert (example["key"], example["position"]) == (None, 31)
    assert example["uri"].endswith("notes.jsonl")
    assert remains(space.folder, *PIECES) == []
    files = space.tables()
    assert space.build().message.endswith("nothing was written")
    assert space.tables() == files


def test_the_next_release_has_the_rest_of_the_source(space, texts):
    forget(space, KEY)
    space.write({KEY: SECRET, "n0": "w1 w2", "new": "w3 w4"})
    space.source(max_shrink=1.0)
    counts = space.build(yes=True).manifest.counts
    assert counts.problems() == []
    assert (counts.records, counts.records_used, counts.records_rejected) == (3, 2, 1)
    assert keys(space) == {"n0", "new"}
    assert remains(space.folder, *PIECES) == []


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({"ids": (f"docs:{KEY}#2",)}, id="an item's id"),
        pytest.param({"ids": (f"docs:{KEY}",)}, id="a record's id"),
        pytest.param({"where": f"key = '{KEY}' AND chunk = 1"}, id="condition"),
        pytest.param({"keys": (KEY,), "sources": ("docs",)}, id="key of a source"),
    ],
)
def test_the_whole_record_goes_however_it_is_named(space, asked):
    hashes = content_hashes(space, KEY)
    outcome = forget_records(space.spec, Request(**asked), yes=True, who="ann")
    assert outcome.exit_code == 0
    assert outcome.document["found"]["records"] == [f"docs:{KEY}"]
    assert remains(space.folder, *PIECES, *hashes) == []


def test_a_condition_is_asked_of_every_release(space):
    outcome = forget_records(space.spec, Request(where="key LIKE 'only%'"), yes=True, who="ann")
    assert outcome.document["found"]["records"] == [f"docs:only{i}" for i in range(3)]
    assert outcome.exit_code == 0
    assert remains(space.folder, "only0", "only1", "only2", LONG[300], LONG[302]) == []
    assert KEY in keys(space)


def test_releases_from_before_the_record_stay(notes, texts):
    notes.build()
    notes.write({**texts, KEY: SECRET})
    notes.build()
    notes.write(texts)
    notes.build()
    outcome = forget(notes, KEY)
    assert outcome.exit_code == 0
    assert outcome.document["erased"]["retired"] == ["v0002", "v0003"]
    why = {each.name: each.why for each in outcome.found.holding.releases}
    assert why == {"v0002": "rows", "v0003": "index"}
    assert [release.name for release in list_releases(notes.ref)] == ["v0001", "v0004"]
    assert notes.content("v0001") == notes.content("prod")
    assert remains(notes.folder, *PIECES) == []


def test_a_release_whose_files_keep_rows_that_left_it_is_retired(notes, texts):
    notes.write({**texts, KEY: SECRET})
    notes.build()
    notes.write(texts)
    notes.build()
    outcome = forget(notes, KEY)
    why = {each.name: (each.why, each.rows) for each in outcome.found.holding.releases}
    assert why == {"v0001": ("rows", 1), "v0002": ("deleted rows", 0)}
    assert (outcome.exit_code, outcome.document["erased"]["rows_removed"]) == (0, 0)
    assert remains(notes.folder, *PIECES) == []
    assert len(notes.content()) == 30


def test_a_record_in_no_table_is_kept_out_beforehand(notes, texts):
    notes.build()
    before = notes.tags()
    outcome = forget(notes, KEY)
    assert (outcome.exit_code, outcome.found.nowhere) == (0, True)
    assert notes.tags() == before
    notes.write({**texts, KEY: SECRET})
    counts = notes.build().manifest.counts
    assert (counts.records, counts.records_rejected, counts.rows) == (31, 1, 30)
    assert remains(notes.folder, *PIECES) == []


def test_before_any_release_it_is_two_without_yes(notes):
    outcome = forget(notes, KEY, yes=False)
    assert (outcome.exit_code, notes.tables()) == (2, {})
    assert forget(notes, KEY).exit_code == 0
    notes.write({KEY: SECRET, "a": "w1"})
    assert notes.build().manifest.counts.rows == 1


def test_forgetting_every_row_leaves_an_empty_release_and_a_space_that_goes_on(notes, texts):
    notes.build()
    outcome = forget_records(notes.spec, Request(where="true"), yes=True, who="ann")
    assert outcome.exit_code == 0, outcome.message
    release = tagged_release(notes.ref, "prod")
    assert (release.name, release.manifest.counts.rows) == ("v0002", 0)
    assert release.manifest.counts.problems() == []
    assert remains(notes.folder, *texts.values()) == []
    notes.write({**texts, "fresh": "w7 w8"})
    outcome = notes.build(yes=True)
    assert outcome.exit_code == 0, outcome.message
    assert notes.content() == {"docs:fresh": "w7 w8"}


def test_another_copy_of_a_forgotten_text_is_kept(notes):
    notes.write({"a-first": SECRET, "b-second": SECRET, "c-third": SECRET, "d": LONG[5]})
    notes.build()
    table = lance.dataset(notes.ref.path, version="prod").to_table()
    marks = dict(zip(table["key"].to_pylist(), table["duplicate_of"].to_pylist(), strict=True))
    assert marks["b-second"] == marks["c-third"] == "docs:a-first"
    outcome = forget(notes, "a-first")
    assert outcome.exit_code == 0, outcome.message
    table = lance.dataset(notes.ref.path, version="prod").to_table()
    rows = {row["key"]: row for row in table.to_pylist()}
    assert rows.keys() == {"b-second", "c-third", "d"}
    told = ["duplicate_of", "duplicate_kind", "duplicate_score"]
    assert [rows["b-second"][n] for n in told] == [None, None, None]
    assert [rows["c-third"][n] for n in told] == ["docs:b-second", "exact", 1.0]
    counts = tagged_release(notes.ref, "prod").manifest.counts
    assert (counts.rejudged, counts.unchanged, counts.duplicates.exact) == (2, 1, 1)
    assert counts.problems() == []
    assert outcome.document["erased"]["vectors_removed"] == 0
    assert remains(notes.folder, "a-first") == []
    again = notes.build()
    assert (again.manifest.published, again.manifest.counts.embedded) == (False, 0)


def test_rejects_and_verdicts_that_name_it_go(notes, texts):
    suite = notes.folder / "suite.json"
    suite.write_text(
        json.dumps(
            {
                "name": "s",
                "expectations": [
                    {
                        "type": "expect_column_value_lengths_to_be_between",
                        "kwargs": {"column": "text", "max_value": 40},
                    },
                    {
                        "type": "expect_column_unique_value_count_to_be_between",
                        "kwargs": {"column": "key", "max_value": 3},
                        "severity": "info",
                    },
                ],
            }
        )
    )
    notes.changes["expectations"] = {"suite": "suite.json", "max_reject_share": 0.9}
    notes.write({**texts, KEY: SECRET, "other-one": SECRET})
    outcome = notes.build()
    assert outcome.manifest.counts.records_rejected == 2, outcome.message
    assert remains(notes.folder, KEY)
    found = forget(notes, KEY)
    assert found.exit_code == 0, found.message
    assert found.document["erased"]["rejects_removed"] == 1
    assert found.document["erased"]["verdicts_blanked"] == 1
    [record, _] = read_builds(notes.ref)
    assert BLANK in {audit.detail for audit in record.manifest.audits}
    assert remains(notes.folder, KEY) == []
    counts = tagged_release(notes.ref, "prod").manifest.counts
    assert counts.problems() == []
    answer = json.loads(notes.command("rejects", "--json").out)
    assert answer["records_rejected"] == sum(r["count"] for r in answer["reasons"])


def test_a_users_tag_on_a_release_that_held_it_blocks(space):
    lance.dataset(space.ref.path).tags.create("stable", space.tags()["v0002"])
    before = space.tables()
    outcome = forget(space, KEY)
    assert outcome.exit_code == 3
    assert "tags of your own keep what is to be forgotten" in outcome.message
    assert "'stable' (version " in outcome.message
    assert space.tables() == before


def test_a_held_space_forgets_too_and_stays_held(space):
    set_hold(space.ref, "no releases today", "bob")
    assert forget(space, KEY).exit_code == 0
    assert keys(space) == {*(f"n{i}" for i in range(30)), "only2"}
    hold = current_hold(space.ref)
    assert hold is not None
    assert hold.reason == "no releases today"
    assert remains(space.folder, *PIECES) == []
    release_hold(space.ref, "done", "bob")
    assert space.build().exit_code == 0


def test_a_held_space_with_an_unfinished_build_keeps_what_readers_get(space, fails_at):
    prod = space.content()
    space.write({KEY: SECRET, "unseen": LONG[77]})
    space.source(max_shrink=1.0)
    fails_at(space, "tasks.publish.publish.finish")  # committed on main, no tag yet
    set_hold(space.ref, "look at it first", "bob")
    assert forget(space, KEY).exit_code == 0
    assert space.content() == {n: text for n, text in prod.items() if KEY not in n}
    assert remains(space.folder, *PIECES) == []


def test_nobody_may_be_at_work(space):
    with (
        hold_lease(space.spec.workdir, "other", "notes", "build"),
        pytest.raises(BusyError, match=r"build other .* is at work"),
    ):
        forget(space, KEY)
    with (
        hold_lease(space.spec.workdir, "other", "photos", "build"),
        pytest.raises(BusyError, match="for space 'photos', whose staged files may have to go"),
    ):
        forget(space, KEY)
    assert KEY in keys(space)


def test_a_builder_in_another_workdir_keeps_what_it_staged(space):
    """Its lease is not here, its base tag is: what it staged would be taken from under it."""
    elsewhere = replace(space, changes={**space.changes, "workdir": "./elsewhere"})
    words = [sys.executable, "-c", STOPPED, str(elsewhere.spec_file())]
    space.write({f"n{i}": LONG[i] for i in range(31)})
    with subprocess.Popen(words, cwd=REPOSITORY, stdin=subprocess.PIPE, text=True) as builder:
        assert builder.stdin is not None
        while not list((space.folder / "db" / "notes.lance" / "_versions").glob("d*.manifest")):
            time.sleep(0.05)
            assert builder.poll() is None
        [build] = base_tags(space.ref)
        with pytest.raises(BusyError, match=rf"the tags base-{build} .* in another workdir"):
            forget(space, "only0")
        builder.communicate("\n")
    assert builder.returncode == 0
    assert keys(space) == {f"n{i}" for i in range(31)}
    assert forget(space, "only0").exit_code == 0


STOPPED = """
import sys
from flows import compose
from schemas.load import load_spec
from schemas.spec import BuildOverrides
audit = compose._audit
def wait(*words):
    verdicts = audit(*words)
    sys.stdin.readline()
    return verdicts
compose._audit = wait
sys.exit(compose.build_space(load_spec(sys.argv[1]), BuildOverrides(yes=True)).exit_code)
"""
"""A build that waits with its candidate staged."""


def dead_lease(space, name: str) -> None:
    """The lease that a killed process leaves."""
    path = Path(space.spec.workdir) / "leases" / f"{name}.json"
    with hold_lease(space.spec.workdir, name, "notes", "build", space.ref.path):
        said = json.loads(path.read_text())
    path.write_text(json.dumps({**said, "started": said["started"] - 3600}))


def test_what_a_dead_build_left_does_not_keep_it(space, fails_at):
    take_base(space.ref, "dead")
    dead_lease(space, "dead")
    work = Path(space.spec.workdir)
    (work / "items" / ".tmp-dead-1-x.parquet").write_bytes(KEY.encode())
    (work / "records" / "broken.parquet").write_bytes(b"PAR1" + KEY.encode())
    detached = space.folder / "db" / "notes.lance" / "data" / "loose.lance"
    detached.write_bytes(KEY.encode())
    assert forget(space, KEY).exit_code == 0
    assert base_tags(space.ref) == {}
    assert remains(space.folder, *PIECES) == []


def test_a_builder_in_another_workdir_keeps_what_it_has_staged(space, monkeypatch):
    """It has no lease here. A record of old releases alone is forgotten without any commit."""
    elsewhere = replace(space, changes={**space.changes, "workdir": "./elsewhere"})
    space.write({"n0": LONG[0], "fresh": LONG[350]})
    elsewhere.source(max_shrink=1.0)
    real, refused = flows.compose.audit_candidate, []

    def audited(*arguments):
        with pytest.raises(BusyError, match=r"base-\w+.*may be at work in another workdir") as told:
            forget(space, "only0")
        refused.append(told)
        return real(*arguments)

    monkeypatch.setattr(flows.compose, "audit_candidate", audited)
    assert elsewhere.build(yes=True).exit_code == 0
    assert len(refused) == 1
    assert keys(space) == {"n0", "fresh"}
    assert lance.dataset(space.ref.path, version="prod").to_table().num_rows
    assert forget(space, "only0").exit_code == 0


def test_a_builder_in_another_workdir_that_comes_meanwhile(space, monkeypatch):
    real = flows.forget.retire

    def retired(ref, names):
        take_base(ref, "elsewhere")
        real(ref, names)

    with monkeypatch.context() as patched:
        patched.setattr(flows.forget, "retire", retired)
        with pytest.raises(BusyError, match="base-elsewhere"):
            forget(space, "only0")
    release_base(space.ref, "elsewhere")
    assert forget(space, "only0").exit_code == 0
    assert remains(space.folder, LONG[300]) == []


def test_every_folder_of_the_workdir_is_looked_at(space):
    assert {path.name for path in Path(space.spec.workdir).iterdir()} <= {*FOLDERS, "leases"}


def test_two_spaces_that_share_a_workdir(space):
    other = replace(space, changes={**space.changes, "space": "twin"})
    other.build(yes=True)
    assert forget(space, KEY).exit_code == 0
    work = Path(space.spec.workdir)
    staged = [path for name in ("items", "records", "vectors") for path in [work / name]]
    assert [hit for folder in staged for hit in remains(folder, *PIECES)] == []
    assert other.build().message.endswith("nothing was written")  # it has not forgotten
    assert space.build().exit_code == 0
    assert KEY not in keys(space)
    assert remains(space.folder / "db" / "notes.lance", *PIECES) == []
    twin = lance.dataset(space.ref.path.replace("notes.lance", "twin.lance"), version="prod")
    assert twin.count_rows(f"key = '{KEY}'") > 2


def test_a_file_is_read_again_alone_and_its_path_is_not_told(notes, texts):
    folder = notes.folder / "files"
    for name, text in {f"{n}.txt": t for n, t in texts.items()}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / f"{KEY}.txt").write_text(SECRET)
    notes.changes["sources"] = [{"name": "docs", "kind": "text", "path": "files/*.txt"}]
    notes.build()
    assert forget(notes, f"{KEY}.txt").exit_code == 0
    assert remains(notes.folder, *PIECES) == []
    outcome = notes.build()
    assert (outcome.manifest.counts.records_rejected, outcome.manifest.counts.rows) == (1, 30)
    answer = json.loads(notes.command("rejects", "--json").out)
    [example] = answer["reasons"][0]["examples"]
    assert (example["key"], Path(example["uri"]).name) == (None, "*.txt")
    assert remains(notes.folder, *PIECES) == []


FAULTS = [
    *("append_tombstones", "drop_held_rejects", "blank_builds", "sweep_staged", "copy_rejects"),
    *("erase_rows", "append_build", "retire", "clean", "clean_companions", "prove"),
    "append_event",
]
INSIDE = ["stage_update", "commit", "finish", "release_base", "_delete_tag"]
"""Steps at which an erasure is broken off: of the composition, and of the table's part."""


@pytest.mark.parametrize("built", [False, True], ids=["at once", "after a build"])
@pytest.mark.parametrize("step", [*FAULTS, *INSIDE])
def test_broken_off_and_run_again(space, monkeypatch, step, built):
    hashes = content_hashes(space, KEY)
    rest = {name: text for name, text in space.content().items() if KEY not in name}
    where = flows.forget if step in FAULTS else tasks.erase.rows
    asked = Request(where=f"key = '{KEY}'")

    def fail(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(where, step, fail)
        with pytest.raises(KeyboardInterrupt):
            forget_records(space.spec, asked, yes=True, who="ann")
    if built:
        space.build()
    outcome = forget_records(space.spec, asked, yes=True, who="ann")
    assert outcome.exit_code == 0, outcome.message
    assert remains(space.folder, *PIECES, *hashes) == []
    assert space.content() == rest
    assert space.build().exit_code == 0
    assert space.content() == rest
    again = forget(space, KEY)
    assert (again.exit_code, again.found.nowhere) == (0, True)
    assert again.document["found"]["unfinished"] == 0


def test_a_file_that_keeps_it_is_named(space, monkeypatch):
    monkeypatch.setattr(flows.forget, "sweep_staged", lambda *_: 0)
    outcome = forget(space, KEY)
    assert outcome.exit_code == 1
    assert "something of what was to be forgotten is still on disk" in outcome.message
    findings = outcome.document["proof"]["findings"]
    items, vectors = (f"{Path(space.spec.workdir) / name}/" for name in ("items", "vectors"))
    assert any(items in each and "rows of the records" in each for each in findings)
    assert any(vectors in each for each in findings)
    assert read_events(space.ref, "forget") == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "forget wants --key KEY, --id ID or --where SQL"),
        ({"keys": ("a",), "sources": ("dosc",)}, "no source 'dosc'; it has or had docs"),
        ({"sources": ("docs",)}, "narrows --key, which is not given"),
        ({"ids": ("docs",)}, "'docs' is no id; expected source:key"),
        ({"ids": ("dosc:a",)}, "no source 'dosc'"),
        ({"keys": (" ",)}, "is blank"),
        ({"where": " "}, "--where ' ' is empty"),
        ({"where": "nope = 1"}, "--where 'nope = 1' is no condition for this table"),
        ({"where": "key = 'a') OR (true"}, "is no condition for this table"),
        ({"where": "true; key = 'a'"}, "is no condition for this table"),
        ({"keys": (KEY,), "reason": f"asked by {KEY}"}, "--reason names the key"),
    ],
)
def test_a_wrong_request_is_refused(space, asked, message):
    before = space.tables()
    with pytest.raises(UsageError) as error:
        forget_records(space.spec, Request(**asked), yes=True, who="ann")
    assert message in str(error.value)
    assert space.tables() == before


def test_the_command_says_what_goes_and_then_does_it(space):
    answer = space.command("forget", "--key", KEY)
    assert answer.code == 3
    assert f"docs:{KEY}" in answer.out
    assert "3 releases held them and are retired" in answer.out
    assert "run again with --yes" in answer.err
    answer = space.command("forget", "--key", KEY, "--yes", "--json")
    document = json.loads(answer.out)
    assert (answer.code, document["done"], document["proof"]["holds"]) == (0, True, True)
    assert "nothing of them is there" in answer.err


KILLED = """
import os, sys
import flows.forget, tasks.erase.rows
from flows.forget import forget_records
from schemas.load import load_spec
from tasks.erase.asked import Request
from tasks.erase.companions import BLANK
from tasks.erase.staged import FOLDERS

module, step, spec, where = sys.argv[1:]
setattr(sys.modules[module], step, lambda *a, **k: os._exit(9))
forget_records(load_spec(spec), Request(where=where), yes=True, who="ann")
"""


@pytest.mark.slow
@pytest.mark.parametrize("step", [*FAULTS, *INSIDE])
def test_killed_and_run_again(space, step):
    """As above, but with nothing tidied up: the process is gone at once."""
    hashes = content_hashes(space, KEY)
    module = "flows.forget" if step in FAULTS else "tasks.erase.rows"
    where = f"key = '{KEY}'"
    words = [sys.executable, "-c", KILLED, module, step, str(space.spec_file()), where]
    done = subprocess.run(words, cwd=REPOSITORY, env=os.environ, check=False, timeout=120)
    assert done.returncode == 9
    space.build()
    outcome = forget_records(space.spec, Request(where=where), yes=True, who="ann")
    assert outcome.exit_code == 0, outcome.message
    assert remains(space.folder, *PIECES, *hashes) == []
    assert KEY not in keys(space)
    assert base_tags(space.ref) == {}
