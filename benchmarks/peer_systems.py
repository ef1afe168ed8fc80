"""The systems that `peers.py` compares, and how a peer gets an environment of its own.

Each is one program in `peer_programs/`. vecmill and the loop run in the environment of the
benchmark; a peer in a virtual environment made for it, which shares vecmill's versions of torch,
sentence-transformers and lancedb, so that the difference is the peer's own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

PROGRAMS = Path(__file__).parent / "peer_programs"

SHARED = ("torch", "transformers", "sentence-transformers", "lancedb", "pyarrow", "numpy")
"""Installed for every peer in the version that vecmill runs with here."""


@dataclass(frozen=True)
class System:
    """One way to keep a table in step with a folder of documents."""

    name: str
    program: str
    packages: tuple[str, ...] = ()
    """What a peer needs, pinned; empty: it runs where vecmill does."""
    key: str = "key"
    """The table's column with the file's name."""
    tag: str | None = None
    """The version that its readers check out; null: the latest."""
    stateless: bool = False
    """It has no table and embeds everything in each run."""


LOOP = System("encode loop", "encode_loop.py", stateless=True)
VECMILL = System("vecmill", "vecmill_build.py", tag="prod")
COCOINDEX = System("CocoIndex", "cocoindex_update.py", ("cocoindex[lancedb]==1.0.26",))
LLAMAINDEX = System(
    "LlamaIndex",
    "llamaindex_run.py",
    (
        "llama-index-core==0.14.25",
        "llama-index-embeddings-huggingface==0.8.0",
        "llama-index-vector-stores-lancedb==0.6.0",
        "pandas==3.1.1",  # its LanceDB store imports it and does not ask for it
    ),
    key="doc_id",
)

SYSTEMS = {
    "loop": LOOP,
    "vecmill": VECMILL,
    "cocoindex": COCOINDEX,
    "llamaindex": LLAMAINDEX,
}


class DoesNotInstallError(Exception):
    """A peer could not be installed; the message says why."""


@dataclass(frozen=True)
class Installed:
    """A system ready to run."""

    system: System
    python: Path
    versions: dict[str, str]
    """Package → version, of what the system consists of."""


def install(system: System, folder: Path) -> Installed:
    """The system's environment: made in `folder` for a peer, found for the others.

    Raises `DoesNotInstallError` with what the installer said.
    """
    if not system.packages:
        names = ("vecmill", *SHARED) if system is VECMILL else SHARED
        return Installed(system, Path(sys.executable), {name: version(name) for name in names})
    uv = shutil.which("uv")
    if uv is None:
        raise DoesNotInstallError("`uv` was not found, which makes the peers' environments")
    home = folder / system.program.removesuffix(".py")
    _call([uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(home)])
    python = home / "bin" / "python"
    pinned = [f"{name}=={version(name).partition('+')[0]}" for name in SHARED]
    _call([uv, "pip", "install", "--quiet", "--python", str(python), *system.packages, *pinned])
    listed = _call([uv, "pip", "freeze", "--quiet", "--python", str(python)])
    found = dict(line.split("==", 1) for line in listed.splitlines() if "==" in line)
    own = (package.partition("==")[0].partition("[")[0] for package in system.packages)
    return Installed(system, python, {name: found[name] for name in (*own, *SHARED)})


def _call(command: list[str]) -> str:
    """What the installer printed; its complaint as `DoesNotInstallError` where it failed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DoesNotInstallError(" ".join(done.stderr.split()) or f"exit code {done.returncode}")
    return done.stdout


def environment() -> dict[str, str]:
    """For every program alike: no accelerator, no network, nothing sent to anyone."""
    return {
        **{name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"},
        "PYTHONUNBUFFERED": "1",  # so that the last line of a log is the last thing said
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "DO_NOT_TRACK": "1",
        "COCOINDEX_DISABLE_USAGE_TRACKING": "1",
    }
