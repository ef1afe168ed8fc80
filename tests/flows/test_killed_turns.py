"""What a killed Prefect run leaves on a real server: its turn comes back, its run stays Running."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

REPOSITORY = Path(__file__).parents[2]

START_SECONDS = 120
"""A server takes about 20 seconds to start, on a busy machine more."""

DYING = """
import os, sys
from flows import compose, space_limit
from flows.cli import run

space_limit.TURN_SECONDS = 60.0  # the least that the server takes
if sys.argv[2] == "die":
    compose.gather = lambda *_: os.kill(os.getpid(), 9)
sys.exit(run(["build", sys.argv[1]]))
"""


@pytest.fixture
def real_server(tmp_path):
    """A server as people start one, with the service that takes expired turns back."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"},
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    words = ["-m", "prefect", "server", "start", "--port", str(port)]
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen([sys.executable, *words], env=environment, stdout=log, stderr=log)
        try:
            _wait(f"http://127.0.0.1:{port}/api/health")
            yield {**environment, "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
        finally:
            children = psutil.Process(server.pid).children(recursive=True)
            server.send_signal(signal.SIGINT)
            psutil.wait_procs([psutil.Process(server.pid), *children], timeout=20)
            for process in [*children, psutil.Process(server.pid)]:
                if process.is_running():
                    process.kill()


def _wait(url: str) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            if httpx.get(url).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    raise TimeoutError(f"{url} does not answer")


@pytest.mark.slow
def test_a_killed_run_gives_its_turn_back(notes, real_server):
    def build(how: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-c", DYING, str(notes.spec_file()), how],
            env={**real_server, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=280,
        )

    assert build("die").returncode == -signal.SIGKILL
    began = time.monotonic()
    done = build("live")
    assert done.returncode == 0, done.stderr
    assert "another build of 'notes' is running: waiting for its end" in done.stderr
    assert "building beside it" not in done.stderr
    assert time.monotonic() - began < 200
    assert len(notes.content()) == 30
    assert list((notes.folder / "work" / "leases").iterdir()) == []
