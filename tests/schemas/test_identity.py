"""The fine print: canonical text, ids, content hashes and row hashes, a rule a test."""

from __future__ import annotations

import datetime
import hashlib
import itertools
import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.identity import (
    RULES_VERSION,
    canonical_text,
    content_hashes,
    digest_json,
    encode_key,
    item_id,
    item_ids,
    row_hashes,
)

# Canonical text


def test_canonical_text_is_nfc() -> None:
    assert canonical_text(["Cafe\u0301"]) == "Café"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_are_lf(end: str) -> None:
    assert canonical_text([f"one{end}two"]) == "one\ntwo"


def test_parts_are_joined_by_one_blank_line() -> None:
    assert canonical_text(["Title", "Body"]) == "Title\n\nBody"


@pytest.mark.parametrize("blank", [None, "", " ", "\t\n", "\u00a0", "\u2003"])
def test_null_and_blank_parts_are_dropped(blank: str | None) -> None:
    assert canonical_text(["Title", blank, "Body"]) == "Title\n\nBody"
    assert canonical_text([blank]) == ""


def test_blanks_inside_a_part_stay() -> None:
    assert canonical_text(["  a \n\n\n b "]) == "  a \n\n\n b "


def test_offsets_count_code_points_of_the_canonical_text() -> None:
    text = canonical_text(["e\u0301🙂\r\nb"])
    assert (len(text), text.index("b")) == (4, 3)


def test_its_rules_carry_a_version_number() -> None:
    assert RULES_VERSION == 1


TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)


@given(st.lists(st.none() | TEXTS, max_size=4))
def test_canonical_text_of_canonical_text_is_itself(parts: list[str | None]) -> None:
    once = canonical_text(parts)
    assert canonical_text([once]) == once
    assert unicodedata.is_normalized("NFC", once)
    assert "\r" not in once
    assert not once.isspace()


@given(TEXTS, TEXTS)
def test_how_a_text_was_encoded_does_not_matter(a: str, b: str) -> None:
    windows = [part.replace("\n", "\r\n") for part in (a, b) if "\r" not in part]
    unix = [part for part in (a, b) if "\r" not in part]
    assert canonical_text(windows) == canonical_text(unix)
    assert canonical_text([unicodedata.normalize("NFD", a)]) == canonical_text([a])


# Ids


def test_an_unchunked_record_or_image_is_source_and_key() -> None:
    assert item_id("docs", "guide.md", None) == "docs:guide.md"


def test_a_chunked_source_always_writes_the_chunk_from_0() -> None:
    assert item_id("docs", "guide.md", 0) == "docs:guide.md#0"
    assert item_id("docs", "guide.md", 7) == "docs:guide.md#7"


def test_percent_hash_and_colon_in_keys_are_encoded() -> None:
    assert item_id("docs", "a:b#7 50%", None) == "docs:a%3Ab%237 50%25"


def test_a_tar_member_keeps_its_slashes() -> None:
    assert item_id("pictures", "train/0.tar/cat.jpg", None) == "pictures:train/0.tar/cat.jpg"


def test_a_key_that_looks_encoded_is_another_key() -> None:
    assert encode_key("a%3Ab") != encode_key("a:b")


NAMES = st.from_regex(r"[a-z][a-z0-9]{0,3}", fullmatch=True)
KEYS = st.text(alphabet="a:#%0123", max_size=6)
CHUNKS = st.none() | st.integers(0, 30)
PLACES = st.tuples(NAMES, KEYS, CHUNKS)


@given(PLACES, PLACES)
def test_two_places_have_two_ids(a: tuple, b: tuple) -> None:
    assert (item_id(*a) == item_id(*b)) == (a == b)


def test_every_short_key_has_an_id_of_its_own() -> None:
    keys = ["".join(k) for n in range(4) for k in itertools.product("a:#%3A", repeat=n)]
    ids = {item_id("s", key, chunk) for key in keys for chunk in (None, 0, 1)}
    assert len(ids) == 3 * len(set(keys))


@given(st.lists(st.tuples(NAMES, KEYS, st.integers(0, 30)), max_size=8), st.booleans())
def test_ids_by_the_column_are_ids_by_the_row(places: list[tuple], cut: bool) -> None:
    sources, keys, chunks = ([place[n] for place in places] for n in range(3))
    numbers = pa.chunked_array([pa.array(chunks, pa.int32())])
    columns = [pa.chunked_array([pa.array(c, pa.string())]) for c in (sources, keys)]
    assert item_ids(*columns, numbers if cut else None).to_pylist() == [
        item_id(source, key, chunk if cut else None) for source, key, chunk in places
    ]


# Content hashes


def test_a_content_hash_is_blake2b_128_of_what_the_embedder_receives() -> None:
    text, image = "Grüße", b"\x89PNG"
    assert content_hashes([text, image]).to_pylist() == [
        hashlib.blake2b(text.encode(), digest_size=16).digest(),
        hashlib.blake2b(image, digest_size=16).digest(),
    ]
    assert content_hashes([]).type == pa.binary(16)


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest_json({"a": 1, "b": [2]}) == digest_json({"b": [2], "a": 1})
    assert digest_json({"a": 1}) != digest_json({"a": "1"})
    assert len(digest_json({})) == 32


# Row hashes

FIXED = ["source", "key", "kind", "chunk", "start", "end", "uri"]
NAMED = [*FIXED, "lang", "year"]


def row(**values: object) -> dict[str, object]:
    base: dict[str, object] = {"source": "docs", "key": "k", "kind": "text", "chunk": 0}
    return {**base, "start": 0, "end": 9, "uri": "/d/k", "lang": "de", "year": 1999, **values}


def hash_of(**values: object) -> bytes:
    return row_hashes(pa.Table.from_pylist([row(**values)]), NAMED).to_pylist()[0]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *[("source", "docs2"), ("key", "l"), ("kind", "image"), ("chunk", 1), ("start", 1)],
        *[("end", 10), ("uri", "/d/l"), ("lang", "en"), ("year", 2000)],
    ],
)
def test_a_row_hash_changes_with_each_column(column: str, value: object) -> None:
    assert hash_of(**{column: value}) != hash_of()


def test_null_is_not_empty_and_not_the_mark_of_null() -> None:
    assert len({hash_of(lang=None), hash_of(lang=""), hash_of(lang="~"), hash_of(lang=" ")}) == 4


def test_a_boundary_moved_between_columns_changes_the_hash() -> None:
    split = [("ab", "c"), ("a", "bc"), ("abc", ""), ("", "abc"), ("a\x1f1:b", "c"), ("abc", None)]
    hashes = {hash_of(key=key, lang=lang) for key, lang in split}
    assert len(hashes) == len(split)


def test_a_columns_name_is_part_of_the_hash() -> None:
    table = pa.Table.from_pylist([row()])
    renamed = table.rename_columns([*FIXED, "language", "year"])
    assert row_hashes(table, NAMED) != row_hashes(renamed, [*FIXED, "language", "year"])


def test_columns_that_are_not_named_do_not_count() -> None:
    table = pa.Table.from_pylist([row(text="anything", other=1)])
    assert row_hashes(table, NAMED).to_pylist() == [hash_of()]


def test_each_row_is_hashed_by_itself() -> None:
    rows = [row(key=key) for key in "abc"]
    together = row_hashes(pa.Table.from_pylist(rows), NAMED).to_pylist()
    assert together == [hash_of(key=key) for key in "abc"]


@given(st.lists(st.integers(0, 12), max_size=5))
def test_a_row_hash_does_not_depend_on_how_arrow_cuts_the_table(cuts: list[int]) -> None:
    rows = [row(key=str(i), lang=None if i % 3 else "de", tags=["a"] * i) for i in range(12)]
    table = pa.Table.from_pylist(rows)
    bounds = [0, *sorted(cuts), 12]
    pieces = [table.slice(a, b - a) for a, b in itertools.pairwise(bounds)]
    columns = [*NAMED, "tags"]
    assert row_hashes(pa.concat_tables(pieces), columns) == row_hashes(table, columns)


VALUES = [
    pa.array([1.5, None], pa.float16()),
    pa.array([0.1, float("nan")], pa.float64()),
    pa.array([True, None]),
    pa.array([datetime.date(2026, 1, 2), None]),
    pa.array([datetime.datetime(2026, 1, 2), None], pa.timestamp("us", "UTC")),
    pa.array([["a", None], None], pa.list_(pa.string())),
    pa.array([{"a": 1}, None]),
    pa.array([b"\xff", None], pa.binary()),
    pa.array([b"\xff\xfe", None], pa.binary(2)),
    pa.array([b"\xff", None], pa.binary_view()),
    pa.array(["a", None]).dictionary_encode(),
    pa.array([(1, 2, 3), None], pa.month_day_nano_interval()),
]


@pytest.mark.parametrize("values", VALUES, ids=[str(each.type) for each in VALUES])
def test_a_column_of_any_type_can_be_hashed(values: pa.Array) -> None:
    one, two = row_hashes(pa.table({"value": values}), ["value"]).to_pylist()
    assert one != two


@pytest.mark.parametrize(
    ("one", "other"),
    [(["a"], ["b"]), (["a", "b"], ["ab"]), ([None], []), ([""], [None])],
    ids=["value", "boundary", "null-or-nothing", "empty-or-null"],
)
def test_lists_that_differ_hash_differently(one: list, other: list) -> None:
    values = pa.array([one, other, one, None], pa.list_(pa.string()))
    first, second, again, null = row_hashes(pa.table({"a": values}), ["a"]).to_pylist()
    assert first == again
    assert len({first, second, null}) == 3


def test_text_of_another_string_type_hashes_the_same() -> None:
    types = [pa.string(), pa.large_string(), pa.string_view()]
    hashes = [row_hashes(pa.table({"a": pa.array(["ü"], t)}), ["a"]).to_pylist() for t in types]
    assert hashes[0] == hashes[1] == hashes[2]


def test_no_rows_have_no_hashes() -> None:
    table = pa.table({"a": pa.array([], pa.string())})
    assert row_hashes(table, ["a"]) == pa.array([], pa.binary(16))


def test_row_hashes_are_stable_across_releases_of_vecmill() -> None:
    """Were this to change, every published row would be written again: raise RULES_VERSION."""
    assert hash_of().hex() == "aa4557783c1ce19d57e42cbff65b9890"
