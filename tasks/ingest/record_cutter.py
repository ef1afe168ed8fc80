"""Cuts a stream of bytes into blocks of whole records, and sets faulty lines apart.

A record is a line, or with a delimiter a record of RFC 4180: fields in double quotes may hold
delimiters, line ends and doubled quotes, and a closing quote ends its field. A record that breaks
the grammar costs exactly the line on which it starts; cutting goes on with the next line, so that
a forgotten quote does not swallow the rest of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from schemas.reasons import Reason
from tasks.ingest.reader import UnreadableError

BLOCK_BYTES = 4 * 1024 * 1024
"""Bytes of whole records that are parsed at once."""

MAX_RECORD_BYTES = 32 * 1024 * 1024
"""The longest record that is held in memory: `MAX_TEXT` code points of four bytes."""


@dataclass(frozen=True)
class Block:
    """Whole records; or, with a `fault`, the beginning of one line that cannot be read."""

    data: bytes
    line: int  # number of its first line, from 1
    fault: Reason | None = None


@dataclass(frozen=True)
class Grammar:
    """RFC 4180 for one delimiter, as patterns that never backtrack (possessive quantifiers)."""

    record: re.Pattern[bytes]  # one record with its line end
    records: re.Pattern[bytes]  # as many as there are
    unfinished: re.Pattern[bytes]  # the beginning of a record, up to the end of what is held

    @classmethod
    def of(cls, delimiter: bytes) -> Grammar:
        """The grammar of files with that delimiter."""
        d = re.escape(delimiter)
        opened = rb'"(?:[^"]++|"")*+'
        bare = rb'[^"\r\n' + d + rb"][^\r\n" + d + rb"]*+"
        field = rb"(?:" + opened + rb'"|' + bare + rb"|)"
        record = field + rb"(?:" + d + field + rb")*+\r?\n"
        begun = rb"(?:" + field + d + rb")*+(?:" + bare + rb"|" + opened + rb'"?|)\r?\Z'
        return cls(re.compile(record), re.compile(rb"(?:" + record + rb")*+"), re.compile(begun))


class RecordCutter:
    """The records of a stream of chunks; `grammar` None: a record is a line."""

    def __init__(self, chunks: Iterator[bytes], grammar: Grammar | None = None) -> None:
        self._chunks = chunks
        self._grammar = grammar
        self._held = b""
        self._at = 0
        self._line = 1
        self._ended = False
        self._broken: UnreadableError | None = None

    def blocks(self) -> Iterator[Block]:
        """Blocks in order; raises `UnreadableError` at the end where the stream breaks off."""
        while self._fill(BLOCK_BYTES):
            if end := self._whole_records():
                yield self._take(end)
            elif self._unfinished() and not self._ended and self._left < MAX_RECORD_BYTES:
                self._fill(min(2 * self._left, MAX_RECORD_BYTES))
            elif (newline := self._held.find(b"\n", self._at)) >= 0:
                yield self._take(newline + 1, Reason.MALFORMED_LINE)
            elif self._broken is not None:
                break  # an unfinished last line is part of the break
            else:
                yield self._skip_line()
        if self._broken is not None:
            raise self._broken

    def first(self) -> Block | None:
        """The first record alone, as a header; None where the file has none or a faulty one."""
        assert self._grammar is not None
        size = BLOCK_BYTES
        while self._fill(size):
            match = self._grammar.record.match(self._held, self._at)
            if match is not None:
                return self._take(match.end())
            if self._ended or size >= MAX_RECORD_BYTES:
                break
            size *= 2
        if self._broken is not None:
            raise self._broken
        return None

    @property
    def _left(self) -> int:
        return len(self._held) - self._at

    def _fill(self, size: int) -> bool:
        """Hold at least `size` bytes unless the file ends; False when nothing is left.

        A missing line end after the last record is supplied.
        """
        if self._left < size and not self._ended:
            pieces = [self._held[self._at :]]
            held = len(pieces[0])
            while held < size and not self._ended:
                chunk = self._next_chunk()
                pieces.append(chunk)
                held += len(chunk)
            self._held, self._at = b"".join(pieces), 0
            whole = not self._held or self._held.endswith(b"\n") or self._broken is not None
            if self._ended and not whole:
                self._held += b"\n"
        return self._left > 0

    def _next_chunk(self) -> bytes:
        try:
            chunk = next(self._chunks, None)
        except UnreadableError as error:
            self._broken, chunk = error, None
        self._ended = chunk is None
        return chunk or b""

    def _take(self, end: int, fault: Reason | None = None) -> Block:
        block = Block(self._held[self._at : end], self._line, fault)
        self._at = end
        self._line += block.data.count(b"\n")
        return block

    def _whole_records(self) -> int:
        """Where the whole records end that the held bytes begin with; 0 when there are none."""
        if self._grammar is None or self._held.find(b'"', self._at) < 0:
            return self._held.rfind(b"\n", self._at) + 1
        match = self._grammar.records.match(self._held, self._at)
        return match.end() if match is not None and match.end() > self._at else 0

    def _unfinished(self) -> bool:
        """Whether more bytes could make a record of what is held."""
        if self._grammar is None:
            return True
        return self._grammar.unfinished.match(self._held, self._at) is not None

    def _skip_line(self) -> Block:
        """A line too long to hold: its rest is read and let go."""
        block = Block(self._held[self._at : self._at + 256], self._line, Reason.TEXT_TOO_LONG)
        while (newline := self._held.find(b"\n", self._at)) < 0 and not self._ended:
            self._held, self._at = self._next_chunk(), 0
        self._at = newline + 1 if newline >= 0 else len(self._held)
        self._line += 1
        return block
