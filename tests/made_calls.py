"""What the child processes of these tests are asked to do."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from schemas.errors import SourceError, UsageError
from schemas.progress import Progress


def where(variable: str) -> tuple[int, str | None]:
    return os.getpid(), os.environ.get(variable)


def add(a: int, b: int) -> int:
    return a + b


def count(rows: int, progress: Progress) -> int:
    for _ in range(rows):
        progress.advance(1)
    return rows


def refuse(word: str) -> None:
    raise UsageError(f"{word!r} is refused")


def refuse_source() -> None:
    """An error that does not survive being copied: it wants two arguments."""
    raise SourceError("docs", "nothing there")


def killed_once(mark: Path, progress: Progress) -> str:
    """Tells of two rows and is killed, the first time."""
    progress.advance(2)
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    progress.advance(1)
    return "done"


def killed(number: int) -> None:
    os.kill(os.getpid(), number)


def touch_after(mark: Path, seconds: float) -> None:
    import time

    mark.with_suffix(".begun").touch()
    time.sleep(seconds)
    mark.touch()
