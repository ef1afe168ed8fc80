"""A part whose rejects are read again: what it is called then, and that nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from made_images import made_image, made_tar
from schemas.arrow import REJECTS
from schemas.reasons import RETRIABLE
from tasks.ingest import documents, webdataset
from tasks.ingest.read_part import read_part
from tasks.ingest.readings import standing_reading
from tasks.ingest.retry_part import retry_part
from tasks.ingest.survey import survey
from tasks.store.opening import open_uri
from tasks.store.workdir import Store

NAMES = [f"d{i}.txt" for i in range(6)]


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "work"), owner="me")


@pytest.fixture
def locked(monkeypatch) -> set[str]:
    """Names of documents that cannot be opened."""
    names: set[str] = set()

    def opened(uri, options=None):
        if Path(uri).name in names:
            raise PermissionError(13, "Permission denied")
        return open_uri(uri, options)

    monkeypatch.setattr(documents, "open_uri", opened)
    return names


@pytest.fixture
def part(tmp_path, spec_of):
    """Six documents in one part."""
    (tmp_path / "docs").mkdir()
    for name in NAMES:
        (tmp_path / "docs" / name).write_text(f"this is {name}")
    [listing] = survey(spec_of(tmp_path / "docs")).listings
    [part] = listing.parts
    return part


def keys(part) -> list[str]:
    table = pq.read_table(part.path)
    assert table["row"].to_pylist() == sorted(table["row"].to_pylist())
    assert table.num_rows == part.records
    return table["key"].to_pylist()


def rejected(part) -> dict[str | None, str]:
    table = pq.read_table(part.rejects.path)
    assert table.schema == REJECTS
    assert table.num_rows == part.rejects.records
    return dict(zip(table["key"].to_pylist(), table["reason"].to_pylist(), strict=True))


def test_healed_records_stand_between_the_others(part, store, locked):
    locked |= {"d0.txt", "d2.txt", "d5.txt"}
    first = read_part(part, store)
    locked -= {"d0.txt", "d2.txt"}
    healed = retry_part(part, RETRIABLE, store)
    assert keys(healed) == NAMES[:5]
    assert rejected(healed) == {"d5.txt": "unreadable-file"}
    assert healed.digest != first.digest == part.digest
    assert read_part(part, store) == healed  # an ordinary build finds it
    locked.clear()
    whole = retry_part(part, RETRIABLE, store)
    assert keys(whole) == NAMES
    assert whole.digest != healed.digest
    assert read_part(part, store) == retry_part(part, RETRIABLE, store) == whole


def test_the_healed_file_is_what_a_first_reading_would_have_written(part, store, locked, tmp_path):
    locked |= {"d0.txt", "d5.txt"}
    read_part(part, store)
    locked.clear()
    healed = retry_part(part, RETRIABLE, store)
    fresh = read_part(part, Store(str(tmp_path / "other")))
    assert pq.read_table(healed.path).equals(pq.read_table(fresh.path))


def test_a_part_that_was_never_read_is_read_once(part, store, locked):
    assert retry_part(part, RETRIABLE, store) == read_part(part, store)
    assert keys(read_part(part, store)) == NAMES


def test_nothing_healed_keeps_every_name(part, store, locked):
    locked |= {"d1.txt"}
    first = read_part(part, store)
    files = {path.name for path in Path(store.root).rglob("*")}
    assert retry_part(part, RETRIABLE, store) == first
    assert {path.name for path in Path(store.root).rglob("*")} == files


def test_two_that_heal_the_same_write_the_same_files(part, store, locked, tmp_path):
    other = Store(str(tmp_path / "other"), owner="you")
    locked |= {"d1.txt"}
    read_part(part, store)
    read_part(part, other)
    locked.clear()
    mine, yours = (retry_part(part, RETRIABLE, each) for each in (store, other))
    assert mine.digest == yours.digest
    assert Path(mine.path).read_bytes() == Path(yours.path).read_bytes()
    assert Path(mine.rejects.path).name == Path(yours.rejects.path).name


def test_of_two_at_once_the_one_that_healed_more_counts(part, store, locked, monkeypatch):
    """The slower one, whose disk gave less, does not take back what the other healed."""
    import tasks.ingest.retry_part as retrying

    locked |= {"d1.txt", "d4.txt"}
    read_part(part, store)
    locked -= {"d1.txt"}
    real = retrying.settle

    def slow(*arguments):
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(retrying, "settle", real)
            locked.clear()
            retry_part(part, RETRIABLE, store)
        return real(*arguments)

    monkeypatch.setattr(retrying, "settle", slow)
    less = retry_part(part, RETRIABLE, store)
    assert keys(less) == [name for name in NAMES if name != "d4.txt"]  # it goes on with its own
    assert keys(read_part(part, store)) == NAMES


def test_a_healed_file_that_is_gone_is_made_anew_under_a_name_of_its_own(part, store, locked):
    """Stages behind know the first name with its rejects: it must not come to mean all records."""
    locked |= {"d1.txt"}
    first = read_part(part, store)
    locked.clear()
    healed = retry_part(part, RETRIABLE, store)
    Path(healed.path).unlink()
    again = read_part(part, store)
    assert keys(again) == NAMES
    assert again.digest not in (first.digest, "")
    assert keys(first) == [name for name in NAMES if name != "d1.txt"]
    assert read_part(part, store) == again


def test_a_dry_run_leaves_the_workdir_alone(part, store, locked, tmp_path):
    locked |= {"d1.txt"}
    first = read_part(part, store)
    locked.clear()
    dry = Store(store.root, str(tmp_path / "scratch"))
    files = {path.name for path in Path(store.root).rglob("*")}
    assert keys(retry_part(part, RETRIABLE, dry)) == NAMES
    assert {path.name for path in Path(store.root).rglob("*")} == files
    assert read_part(part, store) == first


def test_killed_before_it_counts_nothing_is_half_healed(part, store, locked, monkeypatch):
    import tasks.ingest.read_part as reading

    locked |= {"d1.txt"}
    first = read_part(part, store)
    locked.clear()
    with monkeypatch.context() as killed:
        killed.setattr(reading, "keep_reading", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            retry_part(part, RETRIABLE, store)
    assert read_part(part, store) == first
    assert [p.name for p in Path(store.root).rglob(".tmp-*")] == []
    assert keys(retry_part(part, RETRIABLE, store)) == NAMES


def test_what_says_something_of_the_record_is_not_read_again(tmp_path, spec_of, store, locked):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "blank.txt").write_text(" ")
    (tmp_path / "docs" / "good.txt").write_text("good")
    [listing] = survey(spec_of(tmp_path / "docs")).listings
    [part] = listing.parts
    first = read_part(part, store)
    locked |= {"blank.txt"}  # opening it would change the reason
    assert retry_part(part, RETRIABLE, store) == first
    assert rejected(first) == {"blank.txt": "empty-text"}


def test_an_archive_is_taken_only_where_it_is_better(tmp_path, spec_of, store, monkeypatch):
    pictures = {f"{c}.png": made_image(c) for c in ("red", "green", "blue")}
    path = made_tar(tmp_path / "photos.tar", pictures)
    [listing] = survey(spec_of(path, kind="image")).listings
    [part] = listing.parts
    whole = path.read_bytes()

    def cut(length: int) -> None:
        def opened(uri, options=None):
            from io import BytesIO

            return BytesIO(whole[:length])

        monkeypatch.setattr(webdataset, "open_uri", opened)

    cut(1_500)
    first = read_part(part, store)
    some = keys(first)
    assert 0 < len(some) < 3
    assert set(rejected(first).values()) <= RETRIABLE
    cut(100)
    assert keys(retry_part(part, RETRIABLE, store)) == some
    assert standing_reading(store, part.digest).records == first.digest
    cut(len(whole))
    assert len(keys(retry_part(part, RETRIABLE, store))) == 3
