"""What builds, rollbacks and forgetting leave in `<space>__clusters`, and what the report shows."""

from __future__ import annotations

import re

import pytest

from made_words import sentence
from tasks.table.clusters import read_clusters
from tasks.table.releases import tagged_release

GROUPS = {"birds": 10, "ships": 100, "stones": 200}
"""Group → its first word: the model knows the words w0 … w399, each with a vector of its own."""


def about(group: str, number: int) -> str:
    """A text of three words that its whole group has, and one of its own."""
    first = GROUPS[group]
    return sentence(first, first + 1, first + 2, first + 10 + number)


@pytest.fixture
def grouped(notes):
    """Thirty notes about three things, with three clusters."""
    notes.changes["cluster"] = {"k": 3, "map": "pca"}
    notes.write({f"{group}{i}": about(group, i) for group in GROUPS for i in range(10)})
    return notes


def clusters(space, tag: str = "prod"):
    release = tagged_release(space.ref, tag)
    assert release is not None
    return read_clusters(space.ref, release.manifest.build_id)


def test_a_build_says_what_its_clusters_are_about(grouped):
    manifest = grouped.build().manifest
    found = clusters(grouped)
    assert [(each.fit_id, each.kind, each.size) for each in found] == [
        (manifest.fit_id, "text", 10)
    ] * 3
    for each in found:
        [group] = {re.sub(r"\d+$", "", row.partition(":")[2]) for row in each.representatives}
        first = GROUPS[group]
        assert {f"w{first}", f"w{first + 1}", f"w{first + 2}"} & set(each.terms[0].split())
        assert len(each.representatives) == 6
        assert each.label is not None


def test_names_stay_while_the_fit_does_and_sizes_follow(grouped):
    grouped.build()
    before = clusters(grouped)
    texts = {f"{group}{i}": about(group, i) for group in GROUPS for i in range(10)}
    grouped.write({**texts, **{f"birds{i}": about("birds", i) for i in range(10, 15)}})
    grouped.build()
    after = clusters(grouped)
    assert [each.terms for each in after] == [each.terms for each in before]
    assert sorted(each.size for each in after) == [10, 10, 15]


def test_nothing_is_written_without_change_or_where_the_commit_fails(grouped, fails_at):
    grouped.build()
    before = grouped.tables()
    grouped.build()
    assert grouped.tables() == before
    grouped.write({"birds0": about("birds", 0), "birds1": about("birds", 3)})
    grouped.source(max_shrink=1.0)
    fails_at(grouped, "tasks.table.transaction.commit", OSError("no room"))
    import lance

    table = lance.dataset(grouped.ref.companion("clusters").path).to_table()
    assert set(table.column("build_id").to_pylist()) == {
        tagged_release(grouped.ref, "prod").manifest.build_id
    }


def test_a_rollback_has_the_clusters_of_what_it_brings_back(grouped):
    grouped.build()
    first = [(each.cluster, each.terms, each.size) for each in clusters(grouped)]
    texts = {f"{group}{i}": about(group, i) for group in GROUPS for i in range(10)}
    grouped.write({**texts, "birds10": about("birds", 10)})
    grouped.build()
    assert grouped.command("rollback").code == 0
    assert [(each.cluster, each.terms, each.size) for each in clusters(grouped)] == first
    assert tagged_release(grouped.ref, "prod").name == "v0003"


def test_what_is_forgotten_names_no_cluster_and_stands_for_none(grouped):
    secret = sentence(10, 11, 12, 399)
    texts = {f"{group}{i}": about(group, i) for group in GROUPS for i in range(10)}
    grouped.write({**texts, "the-secret": secret, "secret-two": sentence(10, 11, 12, 399, 399)})
    grouped.build()
    grouped.write({**texts, "the-secret": secret, "secret-two": sentence(10, 11, 12, 399, 1)})
    grouped.build()
    answer = grouped.command("forget", "--key", "the-secret", "--key", "secret-two", "--yes")
    assert answer.code == 0, answer.err
    found = clusters(grouped)
    assert sorted(each.size for each in found) == [10, 10, 10]
    said = {word for each in found for term in each.terms for word in term.split()}
    assert "w10" in said
    assert "w399" not in said
    assert not any("secret" in row for each in found for row in each.representatives)
    import lance

    table = lance.dataset(grouped.ref.companion("clusters").path)
    assert len(table.versions()) == 1


def test_the_proof_finds_a_record_that_stands_for_a_cluster(grouped, monkeypatch):
    grouped.build()
    monkeypatch.setattr("flows.forget._describe_again", lambda *_: None)
    typical = clusters(grouped)[0].representatives[0]
    answer = grouped.command("forget", "--id", typical, "--yes")
    assert answer.code == 1
    assert "rows of the records stand for clusters" in answer.err


def test_the_report_has_the_map_with_its_names(grouped):
    outcome = grouped.build()
    assert outcome.report is not None
    page = outcome.report.read_text()
    assert f"on the map of <code>{outcome.manifest.fit_id}</code>" in page
    for each in clusters(grouped):
        assert f"<h3>{each.label}</h3>" in page
    again = grouped.command("report")
    assert again.code == 0
    assert f"<h3>{clusters(grouped)[0].label}</h3>" in outcome.report.read_text()
