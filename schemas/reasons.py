"""Why a record or an item could not be used: one name for each cause, with what it means.

A reason is a contract: people filter `<space>__rejects` by it. A failing expectation is the one
reason that is not listed here: it is named `expectation:<expectation type>`.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """The reasons of stage ingest, chunk and embed; the value is what stands in the table."""

    EMPTY_TEXT = "empty-text"
    NOT_UTF8 = "not-utf8"
    NUL_BYTE = "nul-byte"
    LONE_SURROGATE = "lone-surrogate"
    TEXT_TOO_LONG = "text-too-long"
    MISSING_KEY = "missing-key"
    BAD_KEY = "bad-key"
    REPEATED_KEY = "repeated-key"
    SUPERSEDED = "superseded"
    MISSING_COLUMN = "missing-column"
    BAD_VALUE = "bad-value"
    MALFORMED_LINE = "malformed-line"
    UNREADABLE_FILE = "unreadable-file"
    UNSUPPORTED_FORMAT = "unsupported-format"
    OUTSIDE_ROOT = "outside-root"
    EMPTY_IMAGE = "empty-image"
    CORRUPT_IMAGE = "corrupt-image"
    TRUNCATED_IMAGE = "truncated-image"
    DECOMPRESSION_BOMB = "decompression-bomb"
    IMAGE_TOO_SMALL = "image-too-small"
    SOURCE_CHANGED = "source-changed"
    EMBED_FAILED = "embed-failed"
    FORGOTTEN = "forgotten"


MEANING: dict[Reason, str] = {
    Reason.EMPTY_TEXT: "the text is null, empty or blank",
    Reason.NOT_UTF8: "the bytes are not UTF-8",
    Reason.NUL_BYTE: "the text holds a NUL character",
    Reason.LONE_SURROGATE: "the text holds half of a surrogate pair, which UTF-8 cannot carry",
    Reason.TEXT_TOO_LONG: "the text is longer than vecmill takes as one record",
    Reason.MISSING_KEY: "the record's key is null or blank",
    Reason.BAD_KEY: "the key is neither a string nor an integer",
    Reason.REPEATED_KEY: "an earlier record of the source has the same key",
    Reason.SUPERSEDED: "a later record of the source has the same key",
    Reason.MISSING_COLUMN: "the file has no column of that name",
    Reason.BAD_VALUE: "a value cannot be read as its column's type",
    Reason.MALFORMED_LINE: "the line cannot be parsed",
    Reason.UNREADABLE_FILE: "the file or archive cannot be opened or ends too early",
    Reason.UNSUPPORTED_FORMAT: "no reader knows this kind of file",
    Reason.OUTSIDE_ROOT: "a link or an archive member leads out of the source's root",
    Reason.EMPTY_IMAGE: "the image file has no bytes",
    Reason.CORRUPT_IMAGE: "the image cannot be decoded",
    Reason.TRUNCATED_IMAGE: "the image file ends before the picture does",
    Reason.DECOMPRESSION_BOMB: "the picture would be far larger in memory than is sane",
    Reason.IMAGE_TOO_SMALL: "the picture's shorter side is below the minimum",
    Reason.SOURCE_CHANGED: "the source changed between reading and embedding",
    Reason.EMBED_FAILED: "the embedder could not embed it",
    Reason.FORGOTTEN: "the record was forgotten on request, and the source still holds it",
}

OUTSIDE_SHARE = ("superseded", "forgotten")
"""Reasons that are nobody's mistake: they do not count against `max_reject_share`."""


RETRIABLE: frozenset[str] = frozenset(
    (
        Reason.UNREADABLE_FILE,  # a right that was missing, a store that stuttered
        Reason.UNSUPPORTED_FORMAT,  # a reader installed since
        Reason.MALFORMED_LINE,  # another version of the parser; a read that broke off
        Reason.EMPTY_IMAGE,  # a store that handed out nothing
        Reason.CORRUPT_IMAGE,  # another version of the decoder
        Reason.TRUNCATED_IMAGE,
        Reason.SOURCE_CHANGED,  # the file may be back
        Reason.EMBED_FAILED,  # an engine upgraded or repaired
    )
)
"""What may heal although neither the record nor the spec changes: the cause lies in the reading,
the decoding or the embedder. The other reasons say what the record *is*, once it was read whole:
they change only with it, with the spec or with the suite, and those are judged anew by every build.
"""


def expectation_reason(expectation: str) -> str:
    """The reason of a record that fails the Great Expectations expectation `expectation`."""
    return f"expectation:{expectation}"
