"""Programs as processes of their own: measured, counted, killed where asked for.

A process leads a process group, so that a kill leaves nothing of it running; its CPU time is what
the kernel says of it and of the processes that it has waited for.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

POLL_SECONDS = 0.02
"""How often the count is looked at before a kill: a document takes longer to embed than this."""


@dataclass(frozen=True)
class Ended:
    """How a process ended, and what it took."""

    code: int
    """The exit code; negative: the signal that ended it."""
    cpu_seconds: float
    seconds: float
    peak_mb: float
    """The greatest resident memory of one of its processes, in MB of 10^6 bytes."""


def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    count: Path,
    kill_at: int | None = None,
) -> Ended:
    """Run `command` to its end, or until `count` has `kill_at` lines: then `kill -9`.

    What it prints goes to `log`.
    """
    begun = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=dict(environment),
            start_new_session=True,
        )
        try:
            status, usage = _wait(process.pid, count, kill_at)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    seconds = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)  # it has been waited for
    return Ended(
        code=process.returncode,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        seconds=seconds,
        peak_mb=usage.ru_maxrss * 1024 / 1e6,
    )


def _wait(pid: int, count: Path, kill_at: int | None) -> tuple[int, os.struct_rusage]:
    """The process' status and usage, after it has ended or was killed at `kill_at`."""
    while kill_at is not None:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            return status, usage
        if lines(count) >= kill_at:
            os.killpg(pid, signal.SIGKILL)
            break
        time.sleep(POLL_SECONDS)
    _, status, usage = os.wait4(pid, 0)
    return status, usage


def lines(file: Path) -> int:
    """How many lines the file has; 0 where there is none."""
    return file.read_bytes().count(b"\n") if file.exists() else 0


def last_words(log: Path) -> str:
    """The last line that a program printed."""
    printed = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.strip() for line in reversed(printed) if line.strip()), "it printed nothing")
