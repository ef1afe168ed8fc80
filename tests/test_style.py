"""The style that machines can judge: lint, format and types, as everybody runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]

COMMANDS = {
    "lint": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "types": ["pyrefly", "check"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_repository_passes(name: str) -> None:
    program, *arguments = COMMANDS[name]
    command = [str(Path(sys.executable).with_name(program)), *arguments]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"{' '.join(COMMANDS[name])}:\n{run.stdout}{run.stderr}"
