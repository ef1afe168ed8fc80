"""Dated files of new and updated records, beside the notes of the build tests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pyarrow.parquet as pq

from made_words import sentence
from tasks.table.companions import read_rejects

APPEND = {
    "name": "docs",
    "kind": "text",
    "path": "deltas/*.parquet",
    "key": "id",
    "text": ["body"],
    "columns": ["updated"],
    "time": "updated",
    "mode": "append",
    "on_repeat": "latest",
}
LAX = {"min_rows": 1, "max_reject_share": 1.0}
"""Expectations that let rejects pass."""

FIRST_DAY = datetime(2026, 11, 1, tzinfo=UTC)


def day(number: int, hour: int = 0) -> datetime:
    """Day `number` of the month, from 1."""
    return FIRST_DAY + timedelta(days=number - 1, hours=hour)


@dataclass
class Deltas:
    """The space `notes` over dated files, and what happens to them."""

    notes: Any

    @property
    def folder(self) -> Path:
        return self.notes.folder / "deltas"

    def path(self, number: int) -> Path:
        return self.folder / f"2026-11-{number:02}.parquet"

    def put(self, number: int, records: dict[str, str], when: int | None = None, **columns) -> None:
        """The file of a day: key → text, with the time of that day or of day `when`."""
        self.folder.mkdir(exist_ok=True)
        rows = {
            "id": list(records),
            "body": list(records.values()),
            "updated": [day(when or number)] * len(records),
            **columns,
        }
        pq.write_table(pa.table(rows), self.path(number))

    def drop(self, *numbers: int) -> None:
        for number in numbers:
            self.path(number).unlink()

    def build(self, **overrides):
        outcome = self.notes.build(**{"yes": True, **overrides})
        assert outcome.exit_code == 0, outcome.message
        assert outcome.manifest.counts.problems() == []
        return outcome

    def again(self) -> None:
        """A build without a change: it publishes and embeds nothing and writes to no table."""
        before = self.notes.tables()
        manifest = self.build().manifest
        assert (manifest.published, manifest.counts.embedded) == (False, 0)
        assert self.notes.tables() == before

    def texts(self) -> dict[str, str]:
        return {key.partition(":")[2]: text for key, text in self.notes.content().items()}

    def rejected(self, outcome) -> list[tuple[str, str, str]]:
        """key, reason and file of each reject of a build."""
        return sorted(
            (r["key"], r["reason"], Path(r["uri"]).stem)
            for batch in read_rejects(self.notes.ref, outcome.manifest.build_id)
            for r in batch.to_pylist()
        )

    def rows(self) -> dict[str, dict]:
        table = lance.dataset(self.notes.ref.path, version="prod").to_table()
        return {row["id"]: row for row in table.to_pylist()}


def first_three_days(deltas: Deltas) -> None:
    deltas.put(1, {"a": sentence(1), "b": sentence(2), "c": sentence(3)})
    deltas.put(2, {"b": sentence(20), "d": sentence(4)})
    deltas.put(3, {"c": sentence(30), "e": sentence(5)})


NOW = {"a": "w1", "b": "w20", "c": "w30", "d": "w4", "e": "w5"}
"""What the first three days come to."""
