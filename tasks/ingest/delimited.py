"""Text sources in csv and tsv: blocks of whole records, parsed by Arrow; one by one in a bad block.

    chunks ─ RecordCutter ─> blocks ─ Arrow ─> RawBatch
                               └ on any trouble: record by record, each fault a reject

The grammar is RFC 4180 (`record_cutter`). The first record is the header; blank lines are no
records; every value is a string, and nothing is taken for null.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv

from schemas.reasons import Reason
from schemas.refs import FileRef, PartSpec
from schemas.spec import SourceSpec
from tasks.ingest.byte_chunks import byte_chunks
from tasks.ingest.reader import RawBatch, Rejected, UnreadableError, source_columns
from tasks.ingest.record_checks import encoding_problem, shown
from tasks.ingest.record_cutter import MAX_RECORD_BYTES, Block, Grammar, RecordCutter
from tasks.ingest.tabular import FaultError, Found, column_problem, faulty_line

csv.field_size_limit(MAX_RECORD_BYTES)


@dataclass(frozen=True)
class Layout:
    """What one file's header says."""

    names: list[str]
    wanted: list[int]  # places of the columns that are read
    problem: str | None  # a column that is not there


class DelimitedReader:
    """Records of a csv or tsv file, plain or compressed."""

    kind = "text"
    many = True
    has_columns = True
    needs = ("key", "text")

    def __init__(self, suffix: str, delimiter: str) -> None:
        self.suffixes = (suffix, f"{suffix}.gz", f"{suffix}.zst")
        self._delimiter = delimiter
        self._grammar = Grammar.of(delimiter.encode())

    def columns(self, file: FileRef, options: dict[str, Any]) -> pa.Schema | None:
        """The header's names; every value is a string."""
        cutter = RecordCutter(byte_chunks(file.uri, options), self._grammar)
        return pa.schema([(name, pa.string()) for name in self._header(cutter)])

    def read(self, file: FileRef, part: PartSpec, options: dict[str, Any]) -> Iterator[RawBatch]:
        """Batches of records; `position` is the number of a record's first line."""
        cutter = RecordCutter(byte_chunks(file.uri, options), self._grammar)
        layout = _layout(self._header(cutter), part.source)
        for block in cutter.blocks():
            yield self._parse(block, layout, part.source)

    def _header(self, cutter: RecordCutter) -> list[str]:
        """The names in the first record. Raises `UnreadableError` where there is none."""
        block = cutter.first()
        if block is None or not block.data.strip():
            raise UnreadableError(
                "no header: expected column names in a first line that ends in LF or CRLF"
            )
        reason = encoding_problem(block.data)
        if reason is not None:
            raise UnreadableError("line 1, the header, is not UTF-8", reason)
        return self._fields(block.data.decode())

    def _fields(self, record: str) -> list[str]:
        """The values of one record. Raises `csv.Error`."""
        return next(csv.reader(io.StringIO(record, ""), delimiter=self._delimiter, strict=True))

    def _parse(self, block: Block, layout: Layout, source: SourceSpec) -> RawBatch:
        if block.fault is not None:
            return faulty_line(block)
        found = self._parse_fast(block, layout)
        if found is None:
            return self._parse_each(block, layout, source)
        return found.raw(layout.problem, source, found.batch.num_rows)

    def _parse_fast(self, block: Block, layout: Layout) -> Found | None:
        """The block's wanted columns and the line of each record; None: look at each record."""
        data = block.data
        if encoding_problem(data) or data.count(b"\r") != data.count(b"\r\n"):
            return None
        columns = [str(i) for i in range(len(layout.names))]
        wanted = [str(i) for i in layout.wanted]
        faults: list[object] = []

        def refuse(row: object) -> str:
            faults.append(row)
            return "error"

        try:
            table = arrow_csv.read_csv(
                pa.BufferReader(data),
                arrow_csv.ReadOptions(
                    use_threads=False, block_size=len(data) + 1, column_names=columns
                ),
                arrow_csv.ParseOptions(
                    delimiter=self._delimiter,
                    newlines_in_values=True,
                    invalid_row_handler=refuse,
                ),
                arrow_csv.ConvertOptions(
                    check_utf8=False,
                    include_columns=wanted,
                    column_types=dict.fromkeys(wanted, pa.string()),
                    null_values=[],
                    strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid:
            return None  # a record with another number of fields, or a block of blank lines
        if faults:
            return None
        positions = self._lines(block, table.num_rows)
        if positions is None:
            return None
        names = [layout.names[i] for i in layout.wanted]
        arrays = [column.combine_chunks() for column in table.columns]
        return Found(pa.RecordBatch.from_arrays(arrays, names), positions)

    def _lines(self, block: Block, records: int) -> np.ndarray | None:
        """The line on which each record starts; None when the records are not `records`."""
        lines = block.data.count(b"\n")
        if lines == records:
            return np.arange(block.line, block.line + lines)
        starts = [
            match.start()
            for match in self._grammar.record.finditer(block.data)
            if not match.group().isspace()
        ]
        if len(starts) != records:
            return None
        ends = np.flatnonzero(np.frombuffer(block.data, np.uint8) == ord("\n"))
        return np.searchsorted(ends, np.array(starts, np.int64)) + block.line

    def _parse_each(self, block: Block, layout: Layout, source: SourceSpec) -> RawBatch:
        """The block record by record: where some record in it is at fault."""
        rows: list[list[str]] = []
        places: list[int] = []
        positions: list[int] = []
        rejects: list[Rejected] = []
        line, met = block.line, 0
        for data in self._records(block.data):
            if data.strip(b"\r\n"):
                try:
                    values = self._values(data, layout)
                except FaultError as fault:
                    rejects.append(Rejected(met, fault.reason, fault.detail, position=line))
                else:
                    rows.append(values)
                    places.append(met)
                    positions.append(line)
                met += 1
            line += data.count(b"\n")
        names = [layout.names[i] for i in layout.wanted]
        columns = list(zip(*rows, strict=True)) or [()] * len(names)
        batch = pa.RecordBatch.from_arrays([pa.array(c, pa.string()) for c in columns], names)
        found = Found(batch, np.array(positions, np.int64), np.array(places, np.int64))
        return found.raw(layout.problem, source, met, tuple(rejects))

    def _records(self, data: bytes) -> Iterator[bytes]:
        """Each record of a block with its line end; a line that is none by itself."""
        at = 0
        while at < len(data):
            match = self._grammar.record.match(data, at)
            end = match.end() if match is not None else data.index(b"\n", at) + 1
            yield data[at:end]
            at = end

    def _values(self, data: bytes, layout: Layout) -> list[str]:
        """The wanted values of one record. Raises `FaultError`."""
        reason = encoding_problem(data)
        if reason is not None:
            raise FaultError(reason, shown(data))
        try:
            fields = self._fields(data.decode())
        except csv.Error as error:
            raise FaultError(Reason.MALFORMED_LINE, f"{error}: {shown(data)}") from error
        if len(fields) != len(layout.names):
            expected = f"{len(fields)} fields; expected {len(layout.names)} as in the header"
            raise FaultError(Reason.MALFORMED_LINE, f"{expected}: {shown(data)}")
        return [fields[i] for i in layout.wanted]


def _layout(names: list[str], source: SourceSpec) -> Layout:
    problem = column_problem(names, source)
    read = source_columns(source) if problem is None else (source.key,)
    wanted = [names.index(name) for name in read if name is not None and names.count(name) == 1]
    return Layout(names, wanted or [0], problem)


CSV = DelimitedReader(".csv", ",")
TSV = DelimitedReader(".tsv", "\t")
