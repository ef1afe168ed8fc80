"""Looking at a space in Embedding Atlas: its rows in a private folder, and the program on them.

    release → rows.parquet, labels.parquet → embedding-atlas on 127.0.0.1 → Ctrl-C → nothing is left

Embedding Atlas is a program of its own, found on the PATH: its packages are of other versions than
vecmill's, so it is no extra. It computes no projection and no embedding here: places are the map's.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from schemas.errors import MissingProgramError, VecmillError
from schemas.spec import SpaceSpec
from tasks.query.export_map import MapExport, export_map
from tasks.query.releases import find_release
from tasks.table.clusters import clusters_for
from tasks.table.dataset import TableRef, open_version

PROGRAM = "embedding-atlas"

LOOPBACK = "127.0.0.1"
"""Where the program answers: nobody but this machine reaches the rows."""

PORT = 5055
"""The program's own default; where it is taken, it takes the next free one."""

WAIT = 10
"""Seconds for the program to end after Ctrl-C, before it is ended."""


def explore_space(
    spec: SpaceSpec,
    release: str | None,
    kind: str | None,
    *,
    kept: bool,
    port: int,
    say: Callable[[str], None],
) -> None:
    """Open a release (default: the one that the spec's tag names) until the program ends.

    Raises `UsageError` where the program is not installed, for an unknown release, and where no
    row has a place on a map.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise MissingProgramError(
            PROGRAM,
            "vecmill explore",
            "uv tool install embedding-atlas, or pipx install embedding-atlas",
            "it wants an environment of its own: its packages are not of vecmill's versions",
        )
    found = find_release(spec, release)
    ref = TableRef.of(spec)
    records = clusters_for(ref, found.manifest)
    with tempfile.TemporaryDirectory(prefix="vecmill-explore-") as folder:
        dataset = open_version(ref, found.version)
        made = export_map(dataset, records, Path(folder), kind, kept=kept)
        say(f"{found.name} of {spec.space!r}: {made.count:,} rows of kind {made.kind}")
        for name, rows in made.others.items():
            say(f"{rows:,} rows of kind {name} have a map of their own: --kind {name}")
        say("Ctrl-C ends it and removes the copy of the rows")
        _run(command(program, made, port), folder)


def command(program: str, made: MapExport, port: int) -> list[str]:
    """The command line that opens the files."""
    shown = {"--text": made.text, "--image": made.image, "--labels": made.labels}
    given = [str(part) for pair in shown.items() if pair[1] is not None for part in pair]
    places = ["--x", "x", "--y", "y", "--disable-projection"]
    return [program, str(made.rows), *places, *given, "--host", LOOPBACK, "--port", str(port)]


def _run(words: list[str], folder: str) -> None:
    """Run the program until it ends or is interrupted. Its cache goes with the folder."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(Path(folder) / "cache")}
    with _interruptible(), subprocess.Popen(words, env=environment) as program:
        try:
            code = program.wait()
        except KeyboardInterrupt:
            _end(program)
            return
    if code:
        raise VecmillError(
            f"{PROGRAM} ended with exit code {code}, expected 0; what it said stands above. Try "
            f"`{PROGRAM} --help` by itself, or install it again"
        )


def _end(program: subprocess.Popen[Any]) -> None:
    """Ctrl-C reaches both at a terminal; a program that goes on is told, and then ended."""
    program.terminate()
    try:
        program.wait(WAIT)
    except subprocess.TimeoutExpired:
        program.kill()
        program.wait()


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends it as Ctrl-C does, so that the copy of the rows goes then, too.

    Both are set anew: Lance takes SIGINT over in a way that lets a waiting process wait on.
    """

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = {sign: signal.getsignal(sign) for sign in (signal.SIGINT, signal.SIGTERM)}
    for sign, handler in before.items():
        if handler is not signal.SIG_IGN:  # as for a job in the background of a script
            signal.signal(sign, stop)
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
