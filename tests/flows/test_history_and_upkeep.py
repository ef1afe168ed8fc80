"""Rollbacks, forgetting and upkeep on one space: what the commands on its history then say."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

import flows.compose
from flows.reporting import report_of
from flows.upkeep import UpkeepReport, maintain_space
from made_words import sentence
from tasks.table import compaction
from tasks.table import maintain as upkeep
from tasks.table.companions import current_hold, read_builds
from tasks.table.releases import list_releases


@pytest.fixture
def days(notes, monkeypatch) -> list[dict[str, str]]:
    """Four releases of three hundred notes, each with thirty changed; what each holds."""
    monkeypatch.setattr(compaction, "HELD_SHARE", 10)
    texts, states = {f"m{i}": sentence(i, i + 7, i // 3) for i in range(300)}, []
    for turn in range(4):
        if turn:
            texts = texts | {f"m{i}": sentence(i, i + 11 + turn) for i in range(turn, 300, 10)}
        notes.write(texts)
        notes.build(yes=True)
        states.append({f"docs:{key}": text for key, text in texts.items()})
    return states


def maintain(notes, keep: int) -> UpkeepReport:
    return maintain_space(notes.spec, keep=keep, grace=timedelta(0))


def names(notes) -> list[str]:
    return [release.name for release in list_releases(notes.ref)]


def test_back_over_a_compaction_and_forth_again(notes, days):
    assert maintain(notes, keep=3).tables.compacted is not None
    assert notes.command("rollback", "--to", "v0002").code == 0
    assert notes.content() == days[1]
    maintain(notes, keep=3)
    assert names(notes) == ["v0003", "v0004", "v0005"]  # the target is retired, its rows stay
    assert notes.content() == days[1]
    assert notes.command("rollback", "--to", "v0004").code == 0
    assert notes.content() == days[3]
    assert notes.command("release-hold").code == 0
    assert notes.build().message == "'notes' is up to date: v0006 stands, nothing was written"
    word = days[3]["docs:m7"].split()[0]
    said = notes.command("search", word, "--mode", "text", "-k", "300", "--json")
    hits = {hit["id"] for hit in json.loads(said.out)["hits"]}
    assert hits == {name for name, text in days[3].items() if word in text.split()}
    for name in (*names(notes), "prod"):
        assert notes.command("audit", "--release", name).code == 0
        assert notes.command("report", "--release", name).code == 0
    found = json.loads(notes.command("diff", "v0004", "v0006", "--json").out)
    assert found["counts"]["unchanged"] == 300
    found = json.loads(notes.command("diff", "--json").out)
    assert (found["before"]["release"], found["counts"]["changed"] > 0) == ("v0005", True)
    shown = json.loads(notes.command("versions", "--json").out)["releases"]
    assert [each["rollback_to"] for each in shown] == [None, None, "v0002", "v0004"]


def test_going_back_twice_where_the_content_that_stands_is_retired(notes, days):
    assert notes.command("rollback", "--to", "v0003").code == 0
    maintain(notes, keep=2)
    assert names(notes) == ["v0004", "v0005"]
    answer = notes.command("rollback")  # never forth to v0004, which was left
    assert (answer.code, "no release before v0003, whose content stands" in answer.err) == (2, True)


def test_the_report_of_a_build_whose_version_upkeep_moved_or_took(notes, days):
    first, *_, last = [build.manifest for build in read_builds(notes.ref)]
    old = last.version
    maintain(notes, keep=1)
    assert list_releases(notes.ref)[-1].version != old
    assert "The rows of this build are gone" not in report_of(
        notes.spec, build=last.build_id
    ).read_text("utf-8")
    path = report_of(notes.spec, build=first.build_id)  # the one that the build wrote
    assert "The rows of this build are gone" not in path.read_text("utf-8")
    path.unlink()
    again = report_of(notes.spec, build=first.build_id).read_text("utf-8")
    assert "its release was retired" in again


def test_rejects_that_are_not_kept_are_named_so(notes, texts, monkeypatch):
    monkeypatch.setattr(upkeep, "REJECTS_OF_BUILDS", 1)
    notes.write({**texts, "blank": " "})
    first = notes.build().manifest.build_id
    notes.write({**texts, "blank": " ", "more": sentence(350)})
    notes.build()
    maintain(notes, keep=1)
    answer = notes.command("rejects", "--build", first)
    assert (answer.code, answer.out) == (0, "")
    assert f"the 1 rejects of build {first} are not kept any more" in answer.err
    answer = notes.command("rejects", "--build", first, "--json")
    assert (json.loads(answer.out)["records_rejected"], answer.err.count("not kept")) == (1, 1)
    answer = notes.command("rejects")
    assert "1 rejected" in answer.out + answer.err
    assert "not kept" not in answer.err


def test_the_rejects_that_attempts_come_from_outlive_many_refusals(notes, texts, monkeypatch):
    monkeypatch.setattr(upkeep, "REJECTS_OF_BUILDS", 2)
    notes.write(texts)
    notes.build()
    notes.write({**texts, "blank": " "})
    stood = notes.build().manifest  # no row changed: a record alone
    assert not stood.published
    notes.changes["expectations"] = {"min_rows": 1000}
    for turn in range(3):
        notes.write({**texts, "blank": " ", "more": sentence(turn)})
        assert notes.build().exit_code == 3
    maintain(notes, keep=1)
    answer = notes.command("rejects", "--build", stood.build_id, "--json")
    assert [reason["count"] for reason in json.loads(answer.out)["reasons"]] == [1]


def test_a_hold_that_ends_while_a_build_is_under_way(notes, days, monkeypatch):
    """It looks again, and publishes; what it says of the release that stood is right."""
    assert notes.command("rollback", "--to", "v0001").code == 0
    real = flows.compose.audit_candidate

    def late(*arguments, **options):
        monkeypatch.setattr(flows.compose, "audit_candidate", real)
        assert notes.command("release-hold").code == 0
        return real(*arguments, **options)

    monkeypatch.setattr(flows.compose, "audit_candidate", late)
    manifest = notes.build(yes=True).manifest
    assert (manifest.release, manifest.base_release) == ("v0006", "v0005")
    assert current_hold(notes.ref) is None
    assert notes.content() == days[3]
    assert list(Path(notes.ref.path).glob("_versions/d*")) == []


def test_forgetting_after_a_rollback(notes, days):
    assert notes.command("rollback", "--to", "v0002").code == 0
    assert notes.command("forget", "--key", "m5", "--yes").code == 0
    gone = {name: text for name, text in days[1].items() if name != "docs:m5"}
    assert notes.content() == gone
    assert notes.command("audit").code == 0
    assert notes.command("versions").code == 0
    assert notes.command("report").code == 0
    assert names(notes) == ["v0006"]
    answer = notes.command("rollback")
    assert (answer.code, "no release before v0006" in answer.err) == (2, True)
    answer = notes.command("diff")
    assert (answer.code, "no release before v0006 to compare it with" in answer.err) == (2, True)
    maintain(notes, keep=1)
    assert notes.content() == gone
    assert notes.build(yes=True).exit_code == 3  # the hold of the rollback is in force
    assert notes.command("release-hold").code == 0
    assert notes.build(yes=True).manifest.release == "v0007"
    assert notes.content() == {n: text for n, text in days[3].items() if n != "docs:m5"}
