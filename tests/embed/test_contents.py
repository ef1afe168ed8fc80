"""Reading the items of a shard: any rows, over row groups and files, in the order asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.embed.contents import read_items, read_rows


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None
)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12))
def test_any_rows_come_back_in_the_order_given(tmp_path: Path, rows: list[int]) -> None:
    path = str(tmp_path / "ten.parquet")
    pq.write_table(pa.table({"n": range(10), "other": ["x"] * 10}), path, row_group_size=3)

    table = read_rows(path, np.asarray(rows, np.int64), ["n"])
    assert table.to_pydict() == {"n": rows}


def test_only_the_row_groups_needed_are_read(tmp_path: Path) -> None:
    path = tmp_path / "ten.parquet"
    pq.write_table(pa.table({"n": range(10)}), path, row_group_size=2, compression="none")
    with pq.ParquetFile(path) as file:
        start = file.metadata.row_group(0).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + 16] = b"\xff" * 16  # the first group can no longer be read
    path.write_bytes(content)

    assert read_rows(str(path), np.array([7, 4]), ["n"]).to_pydict() == {"n": [7, 4]}


def test_scattered_rows_do_not_bring_the_whole_file_into_memory(tmp_path: Path) -> None:
    path = str(tmp_path / "large.parquet")
    texts = pa.array([f"{number:06} " + "x" * 2_000 for number in range(20_000)])
    pq.write_table(pa.table({"text": texts}), path, row_group_size=500, compression="zstd")
    rows = np.arange(0, 20_000, 500)[::-1].copy()
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    before = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        found = read_rows(path, rows, ["text"]).column("text").to_pylist()
    finally:
        pa.set_memory_pool(before)

    assert [int(text.split()[0]) for text in found] == rows.tolist()
    assert pool.max_memory() < texts.nbytes / 4


def test_no_rows_are_a_table_all_the_same(tmp_path: Path) -> None:
    path = str(tmp_path / "ten.parquet")
    pq.write_table(pa.table({"n": range(10)}), path)
    assert read_rows(path, np.zeros(0, np.int64), ["n"]).to_pydict() == {"n": []}


def test_items_of_several_files_stand_in_the_order_of_the_contents(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{name}.parquet") for name in "ab"]
    for path, name in zip(paths, "ab", strict=True):
        pq.write_table(pa.table({"text": [f"{name}{i}" for i in range(5)]}), path, row_group_size=2)
    contents = pa.table(
        {
            "part": [paths[1], paths[0], paths[1], paths[0]],
            "row": pa.array([4, 0, 1, 3], pa.int64()),
        }
    )
    assert read_items(contents, ["text"]).to_pydict() == {"text": ["b4", "a0", "b1", "a3"]}
