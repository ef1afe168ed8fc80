"""What makes two texts, two items or two rows the same: canonical text, ids and hashes.

These rules are part of the table contract and hard to change later, so they carry a version
number (`RULES_VERSION`) that enters the name of every file in the `workdir`.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

RULES_VERSION = 1
"""Raised when any rule in this module changes: then every item is a new item."""

HASH_BYTES = 16
"""blake2b-128: 16 bytes are enough for 1e15 items at a collision chance of 1e-9."""


def canonical_text(parts: Iterable[str | None]) -> str:
    """NFC, line ends LF, null and blank parts dropped, parts joined by one blank line.

    Returns `""` when nothing is left. Offsets in the table count code points of this text.
    """
    kept = [part for part in parts if part is not None and not part.isspace() and part]
    return "\n\n".join(
        unicodedata.normalize("NFC", part.replace("\r\n", "\n").replace("\r", "\n"))
        for part in kept
    )


_ESCAPES = (("%", "%25"), ("#", "%23"), (":", "%3A"))
"""What is percent-encoded in keys; `%` first, since the others bring one in."""


def encode_key(key: str) -> str:
    """Percent-encode `%`, `#` and `:`, so that an id can be taken apart again."""
    for sign, code in _ESCAPES:
        key = key.replace(sign, code)
    return key


def item_id(source: str, key: str, chunk: int | None) -> str:
    """`source:key`, or `source:key#7` for the eighth chunk of a chunked source."""
    place = f"{source}:{encode_key(key)}"
    return place if chunk is None else f"{place}#{chunk}"


def split_id(name: str) -> tuple[str, str]:
    """Source and key of an item's id, or of a record's `source:key`.

    Raises `ValueError` for what is neither.
    """
    source, sign, place = name.partition(":")
    if not (source and sign and place):
        raise ValueError(f"{name!r} is no id; expected source:key, or source:key#chunk")
    key = place.partition("#")[0]
    for sign, code in reversed(_ESCAPES):
        key = key.replace(code, sign)
    return source, key


def item_ids(
    sources: pa.ChunkedArray, keys: pa.ChunkedArray, chunks: pa.ChunkedArray | None
) -> pa.ChunkedArray:
    """`item_id` of every row at once; `chunks` (integers) is None for sources that are not cut."""
    for sign, code in _ESCAPES:
        keys = pc.replace_substring(keys, sign, code)
    places = pc.binary_join_element_wise(sources, keys, ":")
    if chunks is None:
        return places
    return pc.binary_join_element_wise(places, chunks.cast(pa.string()), "#")


def digest_bytes(data: bytes) -> bytes:
    """blake2b-128 of `data`: 16 bytes."""
    return hashlib.blake2b(data, digest_size=HASH_BYTES).digest()


def digest_file(path: str | Path) -> str:
    """The digest of a file's bytes: 32 hex digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(
            stream, lambda: hashlib.blake2b(digest_size=HASH_BYTES)
        ).hexdigest()


def digest_json(value: object) -> str:
    """32 hex digits that name a JSON-like value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return digest_bytes(text.encode("utf-8", "surrogatepass")).hex()


def content_hashes(contents: Iterable[str | bytes]) -> pa.FixedSizeBinaryArray:
    """The content hash of each text (as UTF-8) or of each image file's bytes.

    Returns `n` values of fixed binary 16.
    """
    new = hashlib.blake2b  # `digest_bytes` without its call: a build does this for every row, twice
    return pa.array(
        [
            new(c.encode() if isinstance(c, str) else c, digest_size=HASH_BYTES).digest()
            for c in contents
        ],
        pa.binary(HASH_BYTES),
    )


_BY_VALUE = (
    *(pa.types.is_nested, pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view),
    *(pa.types.is_fixed_size_binary, pa.types.is_interval),
)
"""Types that Arrow does not cast to strings, or only where the bytes happen to be UTF-8."""


def has_text_form(kind: pa.DataType) -> bool:
    """Whether Arrow casts every value of the type to a string: nothing nested, no bytes."""
    return not any(is_type(kind) for is_type in _BY_VALUE)


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column as strings; nested and binary values by a stable Python form."""
    if not has_text_form(column.type):
        values = [
            None if v is None else json.dumps(v, sort_keys=True, ensure_ascii=False, default=repr)
            for v in column.to_pylist()
        ]
        return pa.chunked_array([pa.array(values, pa.string())])
    return column.cast(pa.string())


def row_hashes(table: pa.Table, columns: Sequence[str]) -> pa.FixedSizeBinaryArray:
    """The row hash: names and values of `columns`, each value with its length, null apart from "".

    `columns` are taken in the order given; callers pass source, key, kind, chunk, start, end, uri
    and then the user's columns by name. Returns `table.num_rows` values of fixed binary 16.
    """
    header = digest_bytes("\x1f".join(columns).encode())
    texts = []
    for name in columns:
        value = _as_text(table.column(name))
        size = pc.cast(pc.binary_length(value), pa.string())
        joined = pc.binary_join_element_wise(size, value, ":")
        texts.append(pc.fill_null(joined, "~"))
    lines = pc.binary_join_element_wise(*texts, "\x1f")
    new = hashlib.blake2b
    return pa.array(
        [
            new(header + line.encode(), digest_size=HASH_BYTES).digest()
            for line in lines.to_pylist()
        ],
        pa.binary(HASH_BYTES),
    )
