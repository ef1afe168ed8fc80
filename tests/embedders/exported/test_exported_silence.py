"""The engines send nothing: no connection is tried, and no identifier is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]

WATCH = """
import sys, time

tried = []
watched = ("socket.connect", "socket.getaddrinfo", "os.fork")
sys.addaudithook(lambda event, args: tried.append((event, args)) if event in watched else None)
"""
"""OpenVINO's telemetry sends from forked processes."""

LEAVE = """
time.sleep(1)  # telemetry is sent from threads
print("tried", tried)
"""
OURS = """
from tasks.embedders.exported.engines import ENGINES
module = ENGINES[{engine!r}].module()
"""
PLAIN = """
import {package} as module
"""
CONVERT = """
if {engine!r} == "openvino":
    import torch
    module.convert_model(torch.nn.Linear(2, 2), example_input=torch.ones(1, 2))
"""


def run(code: str, home: Path) -> str:
    """The code's output in a fresh home folder, as on a machine that nobody has answered for."""
    quiet = ("CI", "TF_BUILD", "JENKINS_URL", "ORT_DISABLE_TELEMETRY", "DO_NOT_TRACK")
    kept = {name: value for name, value in os.environ.items() if name not in quiet}
    home.mkdir(exist_ok=True)
    environment = {**kept, "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    done = subprocess.run(
        [sys.executable, "-c", WATCH + code + LEAVE],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


def left_behind(home: Path) -> list[str]:
    return sorted(path.relative_to(home).as_posix() for path in home.rglob("*"))


@pytest.mark.parametrize(("engine", "package"), [("openvino", "openvino"), ("onnx", "onnxruntime")])
def test_an_engine_sends_nothing_and_keeps_no_identifier(
    tmp_path: Path, engine: str, package: str
) -> None:
    code = (OURS + CONVERT).format(engine=engine)

    assert "tried []" in run(code, tmp_path / "ours")
    assert left_behind(tmp_path / "ours") == []


def test_openvino_by_itself_would_send(tmp_path: Path) -> None:
    """What the test above looks for is there to be found."""
    tried = run(PLAIN.format(package="openvino"), tmp_path)

    assert "tried []" not in tried
    assert "intel/openvino_ga_cid" in left_behind(tmp_path)
