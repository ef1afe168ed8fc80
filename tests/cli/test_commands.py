"""The commands on a real space: what they print, where they print it, and their exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from schemas.manifest import Manifest


def document(answer) -> dict:
    """The one JSON document that stdout is."""
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def test_build_without_a_change_prints_the_manifest(built, vecmill):
    answer = vecmill("build", built, "--json")
    manifest = Manifest.from_json(json.dumps(document(answer)))
    assert (manifest.release, manifest.published) == ("v0001", False)
    assert "up to date" in answer.err


def test_stdout_is_one_document_whatever_a_library_prints(built, vecmill, monkeypatch):
    from tasks.query import search

    def chatty(*arguments):
        print("Loading the model, please wait")
        return found(*arguments)

    found = search.find_release
    monkeypatch.setattr(search, "find_release", chatty)
    answer = vecmill("search", built, "cat", "--mode", "text", "--json")
    assert document(answer)["mode"] == "text"
    assert "please wait" in answer.err


def test_a_dry_run_publishes_nothing(built, vecmill):
    answer = vecmill("build", built, "--dry-run")
    assert answer.code == 0
    assert "Nothing was written" in answer.out
    assert len(document(vecmill("versions", built, "--json"))["releases"]) == 1


def test_versions(built, vecmill):
    (release,) = document(vecmill("versions", built, "--json"))["releases"]
    assert release["release"] == "v0001"
    assert release["tags"] == ["data-v0001", "prod", "v0001"]
    counts = release["manifest"]["counts"]
    assert (counts["rows"], counts["records_rejected"]) == (5, 1)
    assert counts["duplicates"]["exact"] == 1
    assert "v0001    prod" in vecmill("versions", built).out


def test_rejects(built, vecmill):
    found = document(vecmill("rejects", built, "--json"))
    (reason,) = found["reasons"]
    assert (reason["reason"], reason["count"], reason["stage"]) == ("empty-text", 1, "ingest")
    assert reason["examples"][0]["key"] == "blank"
    assert found["records_rejected"] == 1
    shown = vecmill("rejects", built, "--release", "v0001", "--reason", "empty-text")
    assert "notes:blank" in shown.out
    assert vecmill("rejects", built, "--reason", "corrupt-image").out == ""


def test_search_by_meaning(built, vecmill):
    found = document(vecmill("search", built, "a pet that makes noise", "-k", "2", "--json"))
    assert (found["release"], found["mode"], len(found["hits"])) == ("v0001", "vector", 2)
    best = found["hits"][0]
    assert best["id"] == "notes:dog#0"
    assert best["columns"] == {"words": 48}
    assert found["hits"][0]["score"] >= found["hits"][1]["score"]


@pytest.mark.parametrize("mode", ["text", "hybrid"])
def test_search_by_words(built, vecmill, mode):
    answer = vecmill(
        "search", built, "bread dough", "--mode", mode, "--where", "words > 10", "--kept"
    )
    assert answer.code == 0
    assert answer.out.splitlines()[1].split()[1] == "notes:bread#0"


def test_report(built, vecmill):
    answer = vecmill("report", built)
    path = Path(answer.out.strip())
    assert answer.code == 0
    assert "Published v0001" in path.read_text(encoding="utf-8")
    assert "empty-text" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["search"], "SPEC", id="no spec"),
        pytest.param(["search", "{spec}"], "one of the two", id="no query"),
        pytest.param(["search", "{spec}", "x", "--mode", "magic"], "magic", id="mode"),
        pytest.param(["search", "{spec}", "x", "-k", "0"], "-k", id="k"),
        pytest.param(
            ["search", "{spec}", "x", "--mode", "text", "--where", "nope = 1"], "nope", id="where"
        ),
        pytest.param(
            ["search", "{spec}", "x", "--mode", "text", "--release", "v9999"], "v0001", id="release"
        ),
        pytest.param(["rejects", "{spec}", "--build", "zz"], "no build 'zz'", id="build"),
        pytest.param(["versions", "nowhere.yaml"], "no such file", id="no file"),
        pytest.param(["build", "{spec}", "--frobnicate"], "--frobnicate", id="option"),
        pytest.param(["init", "nowhere.csv"], "does not exist", id="nothing to look at"),
        pytest.param(["init", "{spec}", "--out", "{spec}"], "--force", id="exists already"),
    ],
)
def test_a_wrong_command_line_exits_2_with_one_message(built, vecmill, arguments, message):
    answer = vecmill(*(argument.replace("{spec}", str(built)) for argument in arguments))
    assert answer.code == 2
    assert message in answer.err
    assert "Traceback" not in answer.err
    assert answer.out == ""


def test_a_spec_may_be_a_uri(built, vecmill):
    assert vecmill("versions", f"file://{built}").out == vecmill("versions", built).out
    assert (
        "memory://nothing/x.yaml cannot be read" in vecmill("build", "memory://nothing/x.yaml").err
    )


def test_a_wrong_spec_exits_2_and_names_every_mistake(built, vecmill, tmp_path):
    spec = tmp_path / "space.yaml"
    spec.write_text("space: Bad Name\nuri: ./db\nsourcs: []\n")
    answer = vecmill("build", spec)
    assert answer.code == 2
    for word in ["Bad Name", "sourcs", "embedder"]:
        assert word in answer.err


def test_a_refused_build_exits_3_and_leaves_a_report(built, vecmill, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(built.parent, folder)
    spec = folder / "space.yaml"
    spec.write_text(spec.read_text().replace("max_reject_share: 0.5", "max_reject_share: 0.1"))
    answer = vecmill("build", spec, "--json")
    assert answer.code == 3
    manifest = Manifest.from_json(answer.out)
    assert manifest.refused_by == ("max_reject_share:notes",)
    assert "refused by max_reject_share:notes" in answer.err
    assert document(vecmill("versions", spec, "--json"))["releases"][-1]["release"] == "v0001"

    page = Path(vecmill("report", spec, "--build", manifest.build_id[:6]).out.strip())
    assert "Refused by max_reject_share:notes" in page.read_text(encoding="utf-8")
    latest = document(vecmill("rejects", spec, "--json"))
    assert (latest["build_id"], latest["published"]) == (manifest.build_id, False)


def test_an_unexpected_error_exits_1_and_says_what_to_do(built, vecmill, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr("tasks.table.releases.list_releases", fail)
    answer = vecmill("versions", built)
    assert answer.code == 1
    assert "ZeroDivisionError: of all things" in answer.err
    assert "--debug" in answer.err
    assert "Traceback" not in answer.err

    monkeypatch.setenv("VECMILL_DEBUG", "1")
    assert "Traceback" in vecmill("versions", built).err


def test_an_interruption_exits_1_and_says_that_work_is_kept(built, vecmill, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("tasks.table.releases.list_releases", interrupt)
    answer = vecmill("versions", built)
    assert answer.code == 1
    assert "Finished work is kept" in answer.err


def test_init_of_a_folder_of_pictures(vecmill, tmp_path):
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics/a.jpg").write_bytes(b"x")
    answer = vecmill("init", tmp_path / "pics", "--out", tmp_path / "s.yaml")
    assert answer.code == 0
    assert answer.out.strip() == str(tmp_path / "s.yaml")
    assert "kind: open-clip" in (tmp_path / "s.yaml").read_text()
