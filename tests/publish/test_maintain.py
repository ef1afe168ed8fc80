"""Upkeep of the tables: what goes, what stays, and what a kill in the middle leaves."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import lance
import pytest

from schemas.errors import VecmillError
from tasks.publish.publish import manifest_properties, publish
from tasks.table import compaction, transaction
from tasks.table import maintain as upkeep
from tasks.table.companions import append_build, set_hold
from tasks.table.dataset import open_main, open_version
from tasks.table.history import StrangerError, main_versions
from tasks.table.maintain import Rules, maintain_tables
from tasks.table.reconcile import reconcile
from tasks.table.releases import list_releases, manifest_of, tagged_release
from tasks.table.transaction import base_tags, release_base, take_base

MANY = {f"n{i}": f"text number{i}" for i in range(600)}


def run(space, keep: int | None = 2, **more) -> upkeep.Upkeep:
    rules = Rules(tag="prod", keep=keep, **{"grace": timedelta(0), **more})
    return maintain_tables(space.ref, "upkeep", rules, lambda: None)


def names(space) -> list[str]:
    return [release.name for release in list_releases(space.ref)]


@pytest.fixture
def history(space, monkeypatch) -> list[dict[str, str]]:
    """Eight releases of 600 rows, of which each changes 30; what each holds."""
    monkeypatch.setattr(compaction, "HELD_SHARE", 10)  # three fragments: rewrite what is due
    content, states = MANY, []
    for turn in range(8):
        keys = list(MANY)[turn * 60 : turn * 60 + 30] if turn else []
        content = content | {key: f"text turn{turn} of {key}" for key in keys}
        space.publish(content)
        states.append(content)
    return states


def test_old_releases_go_and_the_others_read_the_same(space, history):
    done = run(space)
    assert done.retired == ["v0001", "v0002", "v0003", "v0004", "v0005", "v0006"]
    assert (done.releases, done.left) == (2, [])
    assert done.compacted is not None
    assert names(space) == ["v0007", "v0008"]
    assert space.content("v0007") == history[6]
    assert space.content("v0008") == space.content("prod") == history[7]
    assert space.content(open_main(space.ref).version) == history[7]
    assert set(main_versions(open_main(space.ref))) == set(space.tags().values())
    assert not [tag for tag in space.tags() if tag.startswith("data-") and tag[5:] < "v0007"]


def test_files_of_retired_releases_are_gone_and_nothing_is_missing(space, history):
    data = Path(space.ref.path) / "data"
    run(space, keep=1)
    run(space, keep=1)  # what the compaction left behind
    needed = set()
    for version in main_versions(open_main(space.ref)):
        dataset = open_version(space.ref, version)
        assert dataset.to_table().num_rows == len(dataset)
        for fragment in dataset.get_fragments():
            needed |= {file.path for file in fragment.metadata.files}
    assert {path.name for path in data.iterdir()} == needed


def test_the_numbers_of_releases_go_on(space, history):
    run(space, keep=1)
    release = space.publish(history[-1] | {"another": "one"})
    assert release.name == "v0009"
    run(space, keep=1)
    assert names(space) == ["v0009"]
    assert space.publish({"only": "this"}).name == "v0010"
    assert reconcile(space.ref, "prod").name == "v0010"


def test_releases_that_tags_name_stay(space, history):
    main = open_main(space.ref)
    main.tags.create("best", space.tags()["v0003"])
    main.tags.create("first-try", space.tags()["data-v0005"])
    run(space, keep=1)
    assert names(space) == ["v0003", "v0005", "v0008"]
    assert space.content("best") == history[2]
    assert tagged_release(space.ref, "first-try").name == "v0005"
    assert tagged_release(space.ref, "best").tags == ("best", "data-v0003", "v0003")


def test_keep_null_keeps_all(space, history):
    assert run(space, keep=None).retired == []
    assert len(names(space)) == 8


def test_the_newest_release_moves_to_the_compacted_version(space, history):
    old = space.tags()["v0008"]
    run(space)
    tags = space.tags()
    assert tags["prod"] == tags["v0008"] == open_main(space.ref).version > old
    release = tagged_release(space.ref, "prod")
    assert (release.name, release.version, release.data_version) == (
        "v0008",
        tags["prod"],
        tags["data-v0008"],
    )
    assert manifest_of(space.ref, tags["prod"]).build_id == release.manifest.build_id
    assert manifest_of(space.ref, tags["data-v0008"]).build_id == release.manifest.build_id


def test_a_second_upkeep_has_nothing_to_do(space, history):
    run(space)
    files = space.files()
    done = run(space)
    assert (done.retired, done.indexes, done.compacted, done.left) == ([], [], None, [])
    assert space.files() <= files


def test_readers_keep_what_a_tag_has_just_left(space, history):
    more = {key: f"text late{key}" for key in list(MANY)[500:560]}
    space.publish(history[7] | more)  # more than a twentieth: it has an index commit of its own
    version = space.tags()["prod"]
    assert version > space.tags()["data-v0009"]
    reader = lance.dataset(space.ref.path, version=version)
    done = run(space, grace=timedelta(minutes=10))
    assert space.tags()["prod"] != version
    assert done.retired == []  # all were replaced a moment ago
    assert reader.to_table().num_rows == 600
    assert version in main_versions(open_main(space.ref))
    run(space)
    assert version not in main_versions(open_main(space.ref))


@pytest.mark.parametrize(
    "place", ["advance", "retire", "compact", "tidy_indexes", "clean_table", "trim_rejects"]
)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_a_step(space, history, monkeypatch, place, after):
    real = getattr(upkeep, place)

    def killed(*arguments, **options):
        if after:
            real(*arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(upkeep, place, killed)
        with pytest.raises(KeyboardInterrupt):
            run(space)
    assert names(space)[-2:] == ["v0007", "v0008"]
    assert tagged_release(space.ref, "prod").name == "v0008"
    assert space.content("prod") == history[7]
    assert run(space).left == []
    assert names(space) == ["v0007", "v0008"]
    assert space.publish(history[7] | {"more": "rows"}).name == "v0009"
    assert space.content("prod") == history[7] | {"more": "rows"}


def test_killed_between_the_two_tags_of_a_release(space, history, monkeypatch):
    dataset = type(open_main(space.ref).tags)
    real = dataset.delete

    def once(self, name: str) -> None:
        real(self, name)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(dataset, "delete", once)
        with pytest.raises(KeyboardInterrupt):
            run(space)
    assert names(space)[0] == "v0002"
    assert "data-v0001" in space.tags()
    run(space)
    assert "data-v0001" not in space.tags()


def test_killed_between_the_release_tag_and_prod(space, history, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(upkeep, "move_tag", lambda *_: None)
        run(space, grace=timedelta(minutes=10))
    tags = space.tags()
    assert tags["prod"] < tags["v0008"]
    assert tagged_release(space.ref, "prod").name == "v0008"
    assert space.content("prod") == history[7]
    assert reconcile(space.ref, "prod").version == space.tags()["prod"] == tags["v0008"]


def test_a_build_under_way_plans_again_and_loses_nothing(space, history):
    wanted = history[7] | {"late": "row"}
    candidate, manifest = space.stage(wanted)
    done = run(space, keep=1)
    assert done.compacted is not None
    assert space.content(candidate.version) == wanted
    with pytest.raises(transaction.ConflictError):
        publish(candidate, manifest)
    assert space.publish(wanted).name == "v0009"


def test_what_a_build_under_way_may_need_stays(space, history):
    base = take_base(space.ref, "slow")
    for turn in range(3):
        space.publish(history[7] | {"more": f"text {turn}"})
    run(space, keep=1)
    assert names(space) == ["v0008", "v0009", "v0010", "v0011"]
    assert space.content(base.version) == history[7]
    release_base(space.ref, "slow")
    run(space, keep=1)
    assert names(space) == ["v0011"]


def test_versions_younger_than_the_oldest_build_stay(space, history):
    begun = open_main(space.ref).versions()[3]["timestamp"].astimezone()
    run(space, keep=1, since=begun)
    left = main_versions(open_main(space.ref))
    assert 1 not in left
    assert set(range(4, space.tags()["data-v0008"])) <= set(left)


def test_a_commit_that_nobody_finished_is_finished_first(space, history):
    candidate, manifest = space.stage(history[7] | {"more": "rows"})
    transaction.commit(candidate.staged, manifest_properties(manifest, candidate.release))
    run(space, keep=1)
    assert tagged_release(space.ref, "prod").name == "v0009"


def test_under_a_hold_what_is_not_finished_is_left_alone(space, history):
    candidate, manifest = space.stage(history[7] | {"more": "rows"})
    version = transaction.commit(candidate.staged, manifest_properties(manifest, candidate.release))
    release_base(space.ref, candidate.base.build_id)
    set_hold(space.ref, "looking into it", "me")
    done = run(space, keep=1)
    assert done.left == [
        "indexes and compaction: main holds a build that is not finished yet, and the space is held"
    ]
    assert space.content("prod") == history[7]
    assert version in main_versions(open_main(space.ref))
    assert reconcile(space.ref, "prod").name == "v0009"


def test_a_strangers_rows_stop_it(space, history):
    table = open_version(space.ref, "prod").to_table(limit=1)
    lance.write_dataset(table, space.ref.path, mode="append")
    tags = space.tags()
    with pytest.raises(StrangerError):
        run(space)
    assert space.tags() == tags


def test_a_lost_lease_stops_it(space, history):
    def lost() -> None:
        raise VecmillError("the lease is gone")

    with pytest.raises(VecmillError, match="lease is gone"):
        maintain_tables(space.ref, "upkeep", Rules("prod", 1, grace=timedelta(0)), lost)
    assert len(names(space)) == 8


def test_who_works_in_another_workdir_sees_it_by_a_base_tag(space, history, monkeypatch):
    """Nothing else shows there that files are being written: neither sweep nor forget go on."""
    real, seen = upkeep.compact, []

    def compact(ref):
        seen.append(base_tags(ref))
        return real(ref)

    monkeypatch.setattr(upkeep, "compact", compact)
    before = open_main(space.ref).version
    assert run(space).compacted is not None
    assert seen == [{"upkeep": before}]
    assert base_tags(space.ref) == {}


def test_a_build_that_is_faster_each_time_is_said(space, history, monkeypatch):
    def conflict(_ref) -> None:
        raise OSError("Retryable commit conflict for version 9")

    monkeypatch.setattr(upkeep, "compact", conflict)
    assert run(space).left == ["compaction: 3 times a build committed in between; run again"]


def test_an_empty_space(space):
    done = run(space)
    assert (done.retired, done.versions_removed, done.left) == ([], 0, [])
    space.base("b1")
    assert run(space).retired == []


def test_rejects_of_old_builds_go_and_their_records_stay(space, history, monkeypatch):
    from datetime import UTC, datetime

    import pyarrow as pa

    from tasks.table.companions import TABLE_REJECTS, append_rows, read_builds, read_rejects

    monkeypatch.setattr(upkeep, "REJECTS_OF_BUILDS", 2)
    rejects = space.ref.companion("rejects")
    for release in list_releases(space.ref):
        append_build(space.ref, release.manifest)
    ids = [release.manifest.build_id for release in list_releases(space.ref)]
    refused = list_releases(space.ref)[0].manifest.model_copy(update={"build_id": "refused"})
    append_build(space.ref, refused.model_copy(update={"published": False}))
    long_ago = datetime(2026, 1, 1, tzinfo=UTC)
    for build_id, at in [
        *((build_id, long_ago) for build_id in [*ids, "refused", "killed"]),
        ("under way", datetime.now(UTC)),
    ]:
        row = {"build_id": build_id, "at": at, "level": "record", "reason": "empty_text"}
        row["attempts"] = 1
        for field in TABLE_REJECTS:
            if not field.nullable:
                row.setdefault(field.name, "x")
        append_rows(rejects, TABLE_REJECTS, [pa.RecordBatch.from_pylist([row], TABLE_REJECTS)])
    done = run(space, keep=3)
    assert done.rejects_removed == len(ids) - 3 + 1
    stay = [
        each
        for each in [*ids, "refused", "killed", "under way"]
        if list(read_rejects(space.ref, each))
    ]
    assert stay == [*ids[-3:], "refused", "under way"]
    assert len(read_builds(space.ref)) == 9


def test_companions_become_one_file(space, history):
    for turn in range(40):
        set_hold(space.ref, f"reason {turn}", "me")
    path = Path(space.ref.companion("builds").path)
    before = lance.dataset(path).to_table().to_pylist()
    space.publish(history[7])
    run(space)
    dataset = lance.dataset(path)
    assert len(dataset.get_fragments()) == 1
    assert len(list((path / "data").iterdir())) == 1
    assert dataset.to_table(scan_in_order=True).to_pylist() == before
