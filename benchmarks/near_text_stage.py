"""vecmill's search for near-duplicate texts as its builds run it, from records files to marks.

    made documents ─ records files (with their truth beside) ─ the stage ─> near/<digest>.parquet

`near_text.py` runs the stage in a process of its own; imports and compiling are not counted.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.refs import RecordsPart, RejectsRef
from schemas.spec import DedupeSpec, NearSpec
from tasks.store.workdir import ROWS_PER_GROUP, Store

SOURCE = "docs"

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
"""When the first document came; each comes a second after the one before."""


@dataclass(frozen=True)
class Corpus:
    """Documents in their order of arrival, in records files; both truths as labels (see
    `planted_text`)."""

    files: tuple[Path, ...]
    truth: np.ndarray
    original: np.ndarray

    def __len__(self) -> int:
        return len(self.truth)


class Laps:
    """CPU-seconds of this process, by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def lap(self, name: str) -> Iterator[None]:
        begun = time.process_time()
        yield
        self.seconds[name] = self.seconds.get(name, 0) + time.process_time() - begun


def peak_bytes() -> int:
    """The most memory that this process has had (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def write_records(path: Path, texts: Sequence[str], first: int, **more: np.ndarray) -> None:
    """Texts as a records file, the first of them the corpus's document number `first`."""
    numbers = range(first, first + len(texts))
    columns = {
        "row": pa.array(range(len(texts)), pa.int64()),
        "source": pa.repeat(SOURCE, len(texts)),
        "key": [f"{number:08}" for number in numbers],
        "kind": pa.repeat("text", len(texts)),
        "text": texts,
        "size": pa.array(map(len, texts), pa.int64()),
        "time": pa.array(
            (BEGIN + timedelta(seconds=number) for number in numbers), pa.timestamp("us", "UTC")
        ),
        **more,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, compression="zstd", row_group_size=ROWS_PER_GROUP)


def as_part(path: Path) -> RecordsPart:
    """A records file as ingest hands it on."""
    rows = pq.read_metadata(path).num_rows
    return RecordsPart(path.stem, SOURCE, "text", str(path), rows, RejectsRef(""))


def find_marks(files: Sequence[Path], workdir: Path, threshold: float) -> pl.DataFrame:
    """The stage over records files: the marks."""
    from tasks.dedupe.near import find_near

    spec = DedupeSpec(near=NearSpec(threshold=threshold), keep=("earliest",))
    parts = [as_part(path) for path in files]
    return pl.read_parquet(find_near(parts, [()] * len(parts), [], spec, Store(str(workdir))))


def labels_of(marks: pl.DataFrame, documents: int) -> np.ndarray:
    """Who is kept in the place of each document."""
    labels = np.arange(documents)
    labels[marks["key"].cast(pl.Int64).to_numpy()] = marks["kept_key"].cast(pl.Int64).to_numpy()
    return labels


def shingle_seconds(files: Sequence[Path]) -> float:
    """CPU-seconds of what the peers are given: texts normalised, their shingles hashed."""
    import numba

    from tasks.dedupe.texts.minhash import longest, shingles_of
    from tasks.dedupe.texts.text_arrays import compared

    @numba.njit(nogil=True)
    def walk(data, offsets):  # type: ignore[no-untyped-def]  # compiled
        out, total = np.empty(longest(offsets) + 1, np.uint64), 0
        for text in range(len(offsets) - 1):
            total += shingles_of(data, offsets[text], offsets[text + 1], out)
        return total

    few = compared(pa.array(["a few words"]))
    walk(few.data, few.offsets)
    seconds = 0.0
    for path in files:
        texts = pq.read_table(path, columns=["text"]).column(0)
        begun = time.process_time()
        folded = compared(texts)
        walk(folded.data, folded.offsets)
        seconds += time.process_time() - begun
    return seconds


def warm_up(threshold: float) -> None:
    """Import and compile what the stage needs: a few texts, and then one more."""
    few = ["a few words to begin with", "a few words to begin with.", "ünlike either of them"]
    few += [f"{number} {number * number} {number + 5}" for number in range(40)]
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / "few.parquet", Path(folder) / "more.parquet"]
        write_records(files[0], few, 0)
        write_records(files[1], [few[0], "a few words to begin with, and more"], len(few))
        find_marks(files[:1], Path(folder) / "work", threshold)
        find_marks(files, Path(folder) / "work", threshold)


def main() -> int:
    """Run the stage: the records files, the workdir, where the labels go, the threshold."""
    files, workdir, out, threshold = sys.argv[1:]
    paths = [Path(path) for path in json.loads(files)]
    warm_up(float(threshold))
    laps = Laps()
    with laps.lap("all"):
        marks = find_marks(paths, Path(workdir), float(threshold))
    peak = peak_bytes()
    np.save(out, labels_of(marks, sum(as_part(path).records for path in paths)))
    print(json.dumps({"seconds": laps.seconds, "peak": peak}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
