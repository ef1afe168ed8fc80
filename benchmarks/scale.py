"""Does a build keep up at a million rows, and does its memory stay where it is?

    seed + the model's own vocabulary ─ rows of 8 to 16 words in parquet ─┬─ vecmill's build
                                                                          └─ encode + write_dataset

Run `uv run python benchmarks/scale.py [--rows 1000000]`. The embedder is the static model
`$VECMILL_SHARED/models/potion-4m-fp16` (or `../shared`), so that nearly all of the time is not the
model's. Each run is a process of its own and they take turns; the start-up (imports, the model) is
measured apart. Prints tables, then one line of JSON; exit code 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SHARED = Path(os.environ.get("VECMILL_SHARED", Path(__file__).parents[1].parent / "shared"))
MODEL = SHARED / "models" / "potion-4m-fp16"

ROWS_PER_FILE = 100_000
SHORTEST, LONGEST = 8, 16
"""Words of a row."""

SMALLER = 10
"""How many times fewer rows the smaller build has, whose memory is compared."""

TIME_RATIO, MEMORY_RATIO, MEMORY_BYTES = 3.0, 1.25, 2.5e9
"""Targets: build over bare loop; peak over that of a tenth of the rows; peak in bytes."""

QUICK_ROWS = 100_000

BUILD, BARE = "build", "encode + write_dataset"


@dataclass(frozen=True)
class Run:
    """One process: seconds by the clock and of the CPU, with and without start-up; peak memory."""

    name: str
    rows: int
    wall: float
    cpu: float
    start_wall: float  # imports and the model, part of `wall`
    start_cpu: float
    peak: int  # bytes
    steps: dict[str, dict[str, float]]

    @property
    def bare_wall(self) -> float:
        """Seconds by the clock without start-up."""
        return self.wall - self.start_wall

    @property
    def bare_cpu(self) -> float:
        """CPU-seconds without start-up."""
        return self.cpu - self.start_cpu


def vocabulary() -> list[str]:
    """The whole words of the model's vocabulary, the frequent ones first."""
    numbered = json.loads((MODEL / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    words = sorted(numbered, key=numbered.__getitem__)
    return [word for word in words if len(word) > 1 and word.isascii() and word.isalpha()]


def write_rows(folder: Path, rows: int) -> None:
    """Distinct rows in parquet files, the same every time; words are as frequent as in a text."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    words = np.array(vocabulary())
    weights = 1 / (np.arange(len(words)) + 10.0)  # Zipf's law, as Mandelbrot corrected it
    edges = np.cumsum(weights / weights.sum())
    folder.mkdir(parents=True)
    met: set[str] = set()
    for number, start in enumerate(range(0, rows, ROWS_PER_FILE)):
        draw = np.random.default_rng(number)
        texts: list[str] = []
        while len(texts) < min(ROWS_PER_FILE, rows - start):
            size = draw.integers(SHORTEST, LONGEST + 1)
            text = " ".join(words[np.searchsorted(edges, draw.random(size))])
            if text not in met:
                met.add(text)
                texts.append(text)
        table = pa.table({"key": np.arange(start, start + len(texts)), "body": texts})
        pq.write_table(table, folder / f"rows-{number:04}.parquet")


def peak_bytes() -> int:
    """The most memory that this process has held. (`ru_maxrss` begins at that of its parent.)"""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@dataclass
class Steps:
    """What each step of a run took: calls, seconds, CPU-seconds, and the peak up to its end."""

    taken: dict[str, dict[str, float]] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure what is inside as a step of that name."""
        before, clock = sum(os.times()[:2]), time.perf_counter()
        yield
        step = self.taken.setdefault(name, {"calls": 0, "wall": 0.0, "cpu": 0.0})
        step["calls"] += 1
        step["wall"] += time.perf_counter() - clock
        step["cpu"] += sum(os.times()[:2]) - before
        step["peak"] = peak_bytes()


def run_build(folder: Path, rows: Path) -> dict[str, Any]:
    """Build and publish a space of the rows (in a process of its own)."""
    import lance  # noqa: F401
    import polars  # noqa: F401

    import flows.cli  # noqa: F401
    import tasks.chunk.chunk_part
    import tasks.ingest.survey
    import tasks.report.collect
    import tasks.validate.state  # noqa: F401
    from flows.compose import build_space
    from flows.progress import StageBars
    from flows.runner import PlainRunner
    from schemas.load import parse_spec
    from tasks.embedders.load import load
    from tasks.embedders.resolve import resolve

    steps = Steps()

    class MeasuringRunner(PlainRunner):
        """The plain runner, which measures each function that it is given."""

        def run(self, stage: str, function: Any, *args: Any, **options: Any) -> Any:
            with steps.step(f"{stage}: {function.__name__}"):
                return super().run(stage, function, *args, **options)

        def map(self, stage: str, function: Any, calls: Any, **options: Any) -> Any:
            with steps.step(f"{stage}: {function.__name__}"):
                return super().map(stage, function, calls, **options)

    data = {
        "space": "rows",
        "uri": "./lancedb",
        "sources": [{"name": "r", "kind": "text", "path": str(rows), "key": "key", "text": "body"}],
        "chunk": None,
        "dedupe": {"exact": True, "near": None, "semantic": None},
        "cluster": None,
        "embedder": {
            "kind": "sentence-transformers",
            "model": str(MODEL),
            "engine": "torch",
            "precision": "fp32",
        },
    }
    spec = parse_spec(data, folder, "scale (benchmark)")
    load(resolve(spec.embedder, spec.kinds)).embed_texts(["warm"])
    begun = started()
    outcome = build_space(spec, runner=MeasuringRunner(StageBars("quiet")))
    if outcome.exit_code:
        raise SystemExit(f"exit code {outcome.exit_code}: {outcome.message}")
    return {**begun, "steps": steps.taken, "rows": outcome.manifest.counts.rows}


def run_bare(folder: Path, rows: Path) -> dict[str, Any]:
    """The loop that anybody writes: read, `encode` the list, `lance.write_dataset`."""
    import lance
    import pyarrow as pa
    import pyarrow.parquet as pq
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(MODEL), device="cpu")
    model.encode(["warm"])
    begun, steps = started(), Steps()
    with steps.step("read"):
        table = pq.read_table(rows)
        texts = table["body"].to_pylist()
    with steps.step("encode"):
        vectors = model.encode(texts)
    with steps.step("write_dataset"):
        flat = pa.array(vectors.reshape(-1))
        column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        written = lance.write_dataset(
            table.append_column("vector", column), str(folder / "bare.lance"), mode="overwrite"
        )
    return {**begun, "steps": steps.taken, "rows": written.count_rows()}


def started() -> dict[str, float]:
    """What the process has used by now."""
    return {"start_at": time.time(), "start_cpu": sum(os.times()[:2])}


def child(what: str, folder: Path, rows: Path) -> int:
    """One run in this process; a line of JSON tells what it took."""
    answer = (run_build if what == BUILD else run_bare)(folder, rows)
    used = {"cpu": sum(os.times()[:2]), "end_at": time.time(), "peak": peak_bytes()}
    print(json.dumps({**answer, **used}))
    return 0


def measure(what: str, folder: Path, rows: Path, count: int) -> Run:
    """One run in a process of its own; what it writes is removed again."""
    print(f"{what}, {count:,} rows …", file=sys.stderr, flush=True)
    place = Path(tempfile.mkdtemp(dir=folder))
    words = [sys.executable, __file__, "--child", what, str(place), str(rows)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    began = time.time()
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{what}, {count:,} rows: {done.stderr}{done.stdout}")
    shutil.rmtree(place)
    said = json.loads(done.stdout.splitlines()[-1])
    if said["rows"] != count:
        raise SystemExit(f"{what}: {said['rows']:,} rows were written, expected {count:,}")
    run = Run(
        what,
        count,
        said["end_at"] - began,
        said["cpu"],
        said["start_at"] - began,
        said["start_cpu"],
        said["peak"],
        said["steps"],
    )
    print(
        f"  {run.wall:.1f} s, {run.cpu:.1f} CPU-s, {run.peak / 1e6:,.0f} MB",
        file=sys.stderr,
        flush=True,
    )
    return run


def main() -> int:
    """Generate the rows, take turns, compare with the targets."""
    if sys.argv[1:2] == ["--child"]:
        return child(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--rows", type=int, default=1_000_000)
    asked.add_argument("--rounds", type=int, default=1, help="turns of each; the fastest counts")
    asked.add_argument("--quick", action="store_true", help=f"{QUICK_ROWS:,} rows")
    asked.add_argument("--keep", metavar="DIR", type=Path, help="leave the rows there")
    asked.add_argument("--only", choices=[BUILD, "bare"], help="one of the two, once, no verdict")
    options = asked.parse_args()
    if not MODEL.is_dir():
        raise SystemExit(f"{MODEL} is not there: set VECMILL_SHARED to the folder with models/")
    rows = QUICK_ROWS if options.quick else options.rows
    folder = (options.keep or Path(tempfile.mkdtemp(prefix="vecmill-scale-"))).resolve()
    try:
        return compare(folder, rows, options.rounds, options.only)
    finally:
        if options.keep is None:
            shutil.rmtree(folder)


def compare(folder: Path, rows: int, rounds: int, only: str | None) -> int:
    """The runs, the tables, and 1 when a target is missed."""
    sources = {count: folder / f"rows-{count}" for count in (rows, rows // SMALLER)}
    for count, place in sources.items():
        if not place.exists():
            write_rows(place, count)
    if only:
        run = measure(BUILD if only == BUILD else BARE, folder, sources[rows], rows)
        show_steps(run)
        return 0
    small = measure(BUILD, folder, sources[rows // SMALLER], rows // SMALLER)
    turns = [
        (measure(BARE, folder, sources[rows], rows), measure(BUILD, folder, sources[rows], rows))
        for _ in range(rounds)
    ]
    bare = min((pair[0] for pair in turns), key=lambda run: run.wall)
    build = min((pair[1] for pair in turns), key=lambda run: run.wall)
    return verdict(bare, build, small)


def verdict(bare: Run, build: Run, small: Run) -> int:
    """Print what was measured; 1 when a target is missed."""
    from flows.terminal import print_table

    show_steps(bare)
    show_steps(build)
    heads = ["run", "rows", "seconds", "CPU-s", "start-up s", "start-up CPU-s", "peak MB"]
    print_table(
        heads,
        [
            [
                *(each.name, f"{each.rows:,}", f"{each.wall:.1f}", f"{each.cpu:.1f}"),
                *(f"{each.start_wall:.1f}", f"{each.start_cpu:.1f}", f"{each.peak / 1e6:,.0f}"),
            ]
            for each in (bare, build, small)
        ],
        right=heads[1:],
    )
    checks = [
        ("seconds over the bare loop's", build.wall / bare.wall, TIME_RATIO),
        ("the same without start-up", build.bare_wall / bare.bare_wall, TIME_RATIO),
        ("CPU-seconds over the bare loop's", build.cpu / bare.cpu, TIME_RATIO),
        ("the same without start-up", build.bare_cpu / bare.bare_cpu, TIME_RATIO),
        (f"peak memory over that of {small.rows:,} rows", build.peak / small.peak, MEMORY_RATIO),
        ("peak memory, bytes", float(build.peak), MEMORY_BYTES),
    ]
    print_table(
        ["figure", "value", "at most", ""],
        [
            [name, f"{value:.3g}", f"{most:g}", "ok" if value <= most else "MISSED"]
            for name, value, most in checks
        ],
    )
    keys = ("wall", "wall_without_start", "cpu", "cpu_without_start", "peak_ratio", "peak_bytes")
    figures = {key: value for key, (_, value, _) in zip(keys, checks, strict=True)}
    print(json.dumps({"rows": build.rows, **figures, "steps": build.steps}))
    return int(any(value > most for _, value, most in checks))


def show_steps(run: Run) -> None:
    """What each step of a run took."""
    from flows.terminal import print_table

    print_table(
        [run.name, "calls", "seconds", "CPU-s", "peak MB so far"],
        [
            [
                *(name, f"{step['calls']:.0f}", f"{step['wall']:.2f}"),
                *(f"{step['cpu']:.2f}", f"{step['peak'] / 1e6:,.0f}"),
            ]
            for name, step in run.steps.items()
        ],
        right=["calls", "seconds", "CPU-s", "peak MB so far"],
    )


if __name__ == "__main__":
    sys.exit(main())
