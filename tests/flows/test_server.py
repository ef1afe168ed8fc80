"""Whether a Prefect server is configured is found out as Prefect would, without Prefect."""

from __future__ import annotations

import pytest

from flows.server import configured_server

PROFILES = """
active = "lab"

[profiles.lab]
PREFECT_API_URL = "http://lab:4200/api"

[profiles.none]
PREFECT_LOGGING_LEVEL = "INFO"
"""


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A Prefect home without anything in it."""
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    return tmp_path


def test_nothing_is_configured():
    assert configured_server() is None


def test_the_environment_wins(home, monkeypatch):
    (home / "profiles.toml").write_text(PROFILES)
    assert configured_server() == "http://lab:4200/api"
    monkeypatch.setenv("PREFECT_API_URL", "http://here:4200/api")
    assert configured_server() == "http://here:4200/api"


def test_a_profile_is_chosen_by_name(home, monkeypatch):
    (home / "profiles.toml").write_text(PROFILES)
    monkeypatch.setenv("PREFECT_PROFILE", "none")
    assert configured_server() is None


def test_profiles_may_lie_elsewhere(home, tmp_path, monkeypatch):
    (tmp_path / "elsewhere.toml").write_text(PROFILES)
    monkeypatch.setenv("PREFECT_PROFILES_PATH", str(tmp_path / "elsewhere.toml"))
    assert configured_server() == "http://lab:4200/api"
