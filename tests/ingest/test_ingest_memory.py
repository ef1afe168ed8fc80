"""A file far larger than what may enter memory: read in a process of its own, and measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROWS = 100_000
LINE = "the mill grinds grain with water and stone; " * 70
"""3 KB: 300 MB in all, which compress to little."""

MAX_GROWTH = 200
"""MB: two row groups of what is read, as Arrow and as parquet, and the allocator's slack."""

READ = """
import re, sys
from pathlib import Path
from schemas.spec import SpaceSpec
from tasks.ingest.read_part import read_part
from tasks.ingest.survey import survey
from tasks.store.workdir import Store

def peak():
    # Not `ru_maxrss`: a child starts with its parent's.
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1))

before = peak()
source = {"name": "s", "kind": "text", "path": sys.argv[1], "key": "id", "text": "body"}
embedder = {"kind": "timm", "model": "m"}
spec = SpaceSpec(space="s", uri="db", sources=[source], embedder=embedder)
(part,) = survey(spec).listings[0].parts
result = read_part(part, Store(sys.argv[2]))
print(result.records, result.rejects.records, (peak() - before) // 1024)
"""


def write_parquet(path: Path) -> None:
    """One row group, which a careless reader would hold whole."""
    bodies = pa.chunked_array([pa.array([LINE] * (ROWS // 10))] * 10)
    table = pa.table({"id": pa.array(range(ROWS)), "body": bodies})
    pq.write_table(table, path, row_group_size=ROWS, use_dictionary=False, compression="zstd")
    assert pq.read_metadata(path).num_row_groups == 1


def write_lines(path: Path) -> None:
    """JSON Lines, packed."""
    with pa.CompressedOutputStream(str(path), "zstd") as out:
        for start in range(0, ROWS, 1000):
            lines = (f'{{"id": {i}, "body": "{LINE}"}}\n' for i in range(start, start + 1000))
            out.write("".join(lines).encode())


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize(
    ("name", "write"), [("big.parquet", write_parquet), ("big.jsonl.zst", write_lines)]
)
def test_a_large_file_does_not_enter_memory(tmp_path, name, write):
    write(tmp_path / name)
    run = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path / name), str(tmp_path / "work")],
        capture_output=True,
        text=True,
        check=True,
    )
    records, rejects, growth = map(int, run.stdout.split())
    assert (records, rejects) == (ROWS, 0)
    assert growth < MAX_GROWTH, f"{growth} MB"
