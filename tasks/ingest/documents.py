"""Text sources of documents: txt, md and html. A file is a record, its relative path the key.

- **txt** is taken as it is.
- **md** too, but for YAML front matter (a first block between `---` lines that is a mapping): that
  is settings for a site generator, not text.
- **html**: the visible text (`page_text`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from schemas.reasons import Reason
from schemas.refs import FileRef, PartSpec
from tasks.ingest.byte_chunks import UTF8_BOM, foreign_encoding
from tasks.ingest.page_text import html_text
from tasks.ingest.reader import RawBatch, Rejected
from tasks.ingest.record_checks import MAX_TEXT, encoding_problem, shown
from tasks.ingest.tabular import no_records
from tasks.store.opening import open_uri

MAX_FILE_BYTES = 4 * MAX_TEXT
"""A longer file holds more than `MAX_TEXT` code points, whatever they are."""

MAX_FRONT_MATTER = 64 * 1024
"""Characters of front matter; more between two rules is text (and would take long to parse)."""

FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?\r?\n)(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.DOTALL)


class DocumentReader:
    """Files that are one document each."""

    kind = "text"
    many = False
    has_columns = False
    needs = ()

    def __init__(self, suffixes: tuple[str, ...], text_of: Callable[[str], str]) -> None:
        self.suffixes = suffixes
        self._text_of = text_of

    def columns(self, file: FileRef, options: dict[str, Any]) -> pa.Schema | None:
        """None: a document has no columns."""
        return None

    def read(self, file: FileRef, part: PartSpec, options: dict[str, Any]) -> Iterator[RawBatch]:
        """The one record of the file."""
        if part.source.key or part.source.text or part.source.columns or part.source.time:
            detail = "a document has no columns, and the source names some"
            yield _reject(file, Reason.MISSING_COLUMN, detail)
            return
        with open_uri(file.uri, options) as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            yield _reject(file, Reason.TEXT_TOO_LONG, f"longer than {MAX_FILE_BYTES} bytes")
            return
        encoding = foreign_encoding(data)
        reason = Reason.NOT_UTF8 if encoding else encoding_problem(data)
        if reason is not None:
            yield _reject(file, reason, _where(data, encoding))
            return
        text = self._text_of(data.removeprefix(UTF8_BOM).decode())
        yield RawBatch(1, pa.RecordBatch.from_pydict({"key": [file.key], "text": [text]}))


def _reject(file: FileRef, reason: Reason, detail: str) -> RawBatch:
    return RawBatch(1, no_records(), (Rejected(0, reason, detail, file.key),))


def _where(data: bytes, encoding: str | None) -> str:
    """Which bytes are no UTF-8."""
    if encoding is not None:
        return f"the file is {encoding}; expected UTF-8: convert it"
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return f"line {line}: {shown(data[max(0, error.start - 20) : error.start + 20])}"
    raise AssertionError("bytes that are UTF-8 have no faulty place")


def markdown_text(source: str) -> str:
    """The file without YAML front matter."""
    import yaml

    match = FRONT_MATTER.match(source)
    if match is None or len(match.group(1)) > MAX_FRONT_MATTER:
        return source
    try:
        # Composed, not loaded: a date that is none or an unknown tag is no matter of ours.
        settings = yaml.compose(match.group(1), yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return source  # two horizontal rules with text between them, or brackets without end
    return source[match.end() :] if isinstance(settings, yaml.MappingNode) else source


PLAIN = DocumentReader((".txt", ".text"), str)
MARKDOWN = DocumentReader((".md", ".markdown"), markdown_text)
HTML = DocumentReader((".html", ".htm", ".xhtml"), html_text)
