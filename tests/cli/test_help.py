"""Every command explains itself, stands in the README, and its options are what they were."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from flows.cli import app

README = Path(__file__).parents[2] / "README.md"

OPTIONS = {
    "demo": ["--dir"],
    "init": ["--embedder", "--force", "--model", "--out", "--space"],
    "build": ["--dry-run", "--json", "--max-workers", "--quiet", "--yes"],
    "search": ["--image", "--json", "--kept", "--mode", "--release", "--where", "-k"],
    "report": ["--build", "--open", "--release"],
    "explore": ["--kept", "--kind", "--port", "--release"],
    "rejects": [
        *("--build", "--examples", "--json", "--quiet", "--reason", "--release", "--retry"),
        *("--source", "--yes"),
    ],
    "versions": ["--json"],
    "diff": ["--examples", "--json"],
    "audit": ["--json", "--release"],
    "rollback": ["--json", "--reason", "--to", "--who"],
    "hold": ["--json", "--reason", "--who"],
    "release-hold": ["--json", "--reason", "--who"],
    "accept": ["--json", "--reason", "--who"],
    "maintain": ["--grace", "--json", "--keep", "--refit", "--workdir-days"],
    "forget": ["--id", "--json", "--key", "--reason", "--source", "--where", "--yes"],
}
"""What scripts rely on: an option that goes, or a new one, is written down here."""

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def test_the_commands_are_these():
    assert list(COMMANDS) == list(OPTIONS)


@pytest.mark.parametrize("name", OPTIONS)
def test_help_teaches(name, vecmill):
    answer = vecmill(name, "--help")
    assert answer.code == 0
    assert "Example" in answer.out
    assert f"vecmill {name} " in answer.out
    assert "Exit codes: 0" in answer.out
    missing = [option for option in OPTIONS[name] if option not in answer.out]
    assert missing == []


@pytest.mark.parametrize("name", OPTIONS)
def test_options_are_these_and_each_is_described(name):
    options = [p for p in COMMANDS[name].params if p.param_type_name == "option"]
    assert sorted(p.opts[0] for p in options) == sorted(OPTIONS[name])
    assert [p.name for p in COMMANDS[name].params if not p.help] == []


@pytest.mark.parametrize("name", OPTIONS)
def test_the_readme_shows_it(name):
    assert f"vecmill {name}" in README.read_text(encoding="utf-8")


def test_without_a_command_the_help_is_shown(vecmill):
    answer = vecmill()
    assert "Commands:" in answer.out + answer.err


def test_version(vecmill):
    answer = vecmill("--version")
    assert answer.code == 0
    assert answer.out.startswith("vecmill 0.")


@pytest.mark.parametrize(
    ("typed", "meant"), [("biuld", "build"), ("serach", "search"), ("version", "versions")]
)
def test_an_unknown_command_suggests_the_nearest(vecmill, typed, meant):
    answer = vecmill(typed)
    assert answer.code == 2
    assert f"did you mean '{meant}'?" in answer.err
    assert answer.out == ""


def test_commands_that_are_not_built_do_not_exist(vecmill):
    for name in ["backfill", "evaluate", "deploy", "serve"]:
        assert vecmill(name, "x").code == 2
