"""What was measured of an embedder's engines, kept in the `workdir` as JSON for people to read.

    <exports>/<fingerprint>/choice-<engine>-<precision>-<kinds>.json   what `auto` came to
                            check-<engine>-<precision>-<digest>.json   one engine that passed

A choice is written once: of two builders that choose at the same time the first to name its file
decides for both. A check is of one machine and the versions of its libraries, which `<digest>`
names: where they change it is made again.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from schemas.engines import pairs
from schemas.errors import VecmillError
from schemas.identity import digest_json
from schemas.refs import EmbedderRef
from tasks.embedders.engine_trial import THRESHOLD, Choice, Trial
from tasks.store.workdir import TEMPORARY, mark_used

FOLDER = "engines"
"""Where in a `workdir` everything lies that belongs to an engine and not to a space."""

LIBRARIES = {
    "sentence-transformers": ("sentence-transformers", "transformers"),
    "open-clip": ("open-clip-torch", "timm"),
    "timm": ("timm",),
    "torch": ("torch",),
    "openvino": ("openvino",),
    "onnx": ("onnxruntime", "onnx"),
}
"""Kind or engine → the packages whose version may change its vectors."""


def exports_folder(workdir: str | Path) -> str:
    """`EmbedderRef.exports` of a space with that `workdir`."""
    return str(Path(workdir) / FOLDER)


def decide(ref: EmbedderRef, kinds: Collection[str], mark: bool = True) -> EmbedderRef:
    """`ref` in the engine and precision that need no measuring: the only ones, or the recorded.

    It is still not `decided` where nothing is recorded for a space of `kinds`. `mark`: whether the
    record counts as used, which writes its time.
    """
    allowed = pairs(ref.engine, ref.precision)
    known = allowed[0] if len(allowed) == 1 else read_choice(ref, kinds, mark)
    return ref if known is None else replace(ref, engine=known[0], precision=known[1])


def choice_path(ref: EmbedderRef, kinds: Collection[str]) -> Path:
    """Where the choice lies for what the spec asks of the engine and the space's kinds."""
    name = f"choice-{ref.engine}-{ref.precision}-{'+'.join(sorted(kinds))}.json"
    return Path(ref.exports) / ref.fingerprint / name


def read_choice(
    ref: EmbedderRef, kinds: Collection[str], mark: bool = True
) -> tuple[str, str] | None:
    """The recorded (engine, precision), or None. `ref` is as the spec asks, `auto` included.

    Raises `VecmillError` for a file that is no such record.
    """
    if not ref.exports:
        return None
    path = choice_path(ref, kinds)
    record = _read(path, mark)
    if record is None:
        return None
    try:
        return str(record["engine"]), str(record["precision"])
    except (KeyError, TypeError) as error:
        raise _broken(path, error) from error


def keep_choice(
    ref: EmbedderRef, kinds: Collection[str], choice: Choice, owner: str
) -> tuple[str, str]:
    """Record `choice`, unless somebody was first; returns the (engine, precision) that holds."""
    if not ref.exports:
        return choice.engine, choice.precision
    record = {
        "engine": choice.engine,
        "precision": choice.precision,
        "why": choice.why,
        "asked": {"engine": ref.engine, "precision": ref.precision, "kinds": sorted(kinds)},
        "model": ref.model,
        "threshold": THRESHOLD,
        "candidates": [trial_record(trial) for trial in choice.trials],
        **_circumstances(ref, sorted({trial.engine for trial in choice.trials})),
    }
    _write_first(choice_path(ref, kinds), record, owner)
    kept = read_choice(ref, kinds)
    return kept or (choice.engine, choice.precision)  # None: the workdir was emptied meanwhile


def trial_record(trial: Trial) -> dict[str, Any]:
    """A trial as JSON has it."""
    return {
        "engine": trial.engine,
        "precision": trial.precision,
        "one_minus_cos": trial.off,
        "seconds_for_64": dict(trial.seconds),
        "left_out": trial.problem,
    }


def read_check(ref: EmbedderRef) -> tuple[Trial, dict[str, float]] | None:
    """The trial of `ref` that passed here, with the reference's seconds by kind; or None."""
    if not ref.exports:
        return None
    path = _check_path(ref)
    record = _read(path)
    if record is None:
        return None
    try:
        trial = Trial(
            record["engine"],
            record["precision"],
            off=float(record["one_minus_cos"]),
            seconds=dict(record["seconds_for_64"]),
        )
        return trial, dict(record["reference_seconds_for_64"])
    except (KeyError, TypeError, ValueError) as error:
        raise _broken(path, error) from error


def keep_check(ref: EmbedderRef, trial: Trial, reference: Trial, owner: str) -> None:
    """Record that `trial`, of `ref`, passed here."""
    if not ref.exports:
        return
    record = {
        **trial_record(trial),
        "threshold": THRESHOLD,
        "reference_seconds_for_64": dict(reference.seconds),
        **_circumstances(ref, [ref.engine]),
    }
    path = _check_path(ref)
    _unfinished(path, owner, record).replace(path)


def _check_path(ref: EmbedderRef) -> Path:
    digest = digest_json([versions(ref.kind, [ref.engine]), _computed_on([ref.engine])])[:12]
    name = f"check-{ref.engine}-{ref.precision}-{digest}.json"
    return Path(ref.exports) / ref.fingerprint / name


def _circumstances(ref: EmbedderRef, engines: Collection[str]) -> dict[str, Any]:
    return {
        "machine": {
            **_computed_on(engines),
            "cores": os.cpu_count(),
            "system": platform.platform(),
        },
        "versions": versions(ref.kind, engines),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _computed_on(engines: Collection[str]) -> dict[str, str]:
    """What computes: the CPU's name, and torch's device where torch is among the engines."""
    where = {"cpu": _cpu()}
    if "torch" in engines:
        import torch

        from tasks.embedders.torch_device import device

        on = device().type  # without the number of cores, which decides no vector
        where["device"] = torch.cuda.get_device_name() if on == "cuda" else on
    return where


def _cpu() -> str:
    """The CPU's name as the system has it; its architecture where it has none."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions(kind: str, engines: Collection[str]) -> dict[str, str]:
    """Package → version, of everything that takes part."""
    packages = {"vecmill", *LIBRARIES["torch"], *LIBRARIES[kind]}
    packages |= {package for engine in engines for package in LIBRARIES[engine]}
    found = {}
    for package in sorted(packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue  # of an engine that is not installed here
    return found


def _read(path: Path, mark: bool = True) -> dict[str, Any] | None:
    """The JSON object in a file, marked as used where asked; None where there is no file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        record = json.loads(text)
    except ValueError as error:
        raise _broken(path, error) from error
    if not isinstance(record, dict):
        raise _broken(path, TypeError(f"it holds a {type(record).__name__}"))
    if mark:
        mark_used(path)
    return record


def _broken(path: Path, error: Exception) -> VecmillError:
    return VecmillError(
        f"{path} is not what was measured of an engine ({type(error).__name__}: {error}): "
        f"delete it, and the next build measures again"
    )


def _write_first(path: Path, record: dict[str, Any], owner: str) -> None:
    """Write `path` whole unless it exists, by a hard link: it never replaces a file."""
    part = _unfinished(path, owner, record)
    try:
        os.link(part, path)
    except FileExistsError:
        pass  # somebody else was first
    except OSError:  # a file system without hard links: nearly as good
        if not path.exists():
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _unfinished(path: Path, owner: str, record: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{TEMPORARY}{owner}-{secrets.token_hex(4)}-{path.name}")
    part.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return part
