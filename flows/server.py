"""Whether a Prefect server is configured, found out without importing Prefect.

Importing Prefect takes longer than a small build, and calling it without a server would start one.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path


def configured_server() -> str | None:
    """The API URL from `PREFECT_API_URL` or the active profile; None when there is none.

    The profile is the one that Prefect would use: `PREFECT_PROFILE`, else the file's `active`,
    in `PREFECT_PROFILES_PATH` or `profiles.toml` of `PREFECT_HOME` (default `~/.prefect`).
    """
    if url := os.environ.get("PREFECT_API_URL"):
        return url
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    path = Path(os.environ.get("PREFECT_PROFILES_PATH", home / "profiles.toml")).expanduser()
    if not path.is_file():
        return None
    profiles = tomllib.loads(path.read_text(encoding="utf-8"))
    active = os.environ.get("PREFECT_PROFILE", profiles.get("active"))
    return profiles.get("profiles", {}).get(active, {}).get("PREFECT_API_URL") or None
