"""What is asked to be forgotten, and whether a text for people names it."""

from __future__ import annotations

import polars as pl
import pytest

from schemas.identity import split_id
from tasks.erase.asked import Asked, names_key
from tasks.table.tombstones import tombstone


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("docs:a", ("docs", "a")),
        ("docs:a#7", ("docs", "a")),
        ("docs:a%3Ab%23c%25#0", ("docs", "a:b#c%")),
        ("docs:%2523", ("docs", "%23")),
    ],
)
def test_an_id_is_taken_apart(name, record):
    assert split_id(name) == record


@pytest.mark.parametrize("name", ["docs", "docs:", ":a", ""])
def test_what_is_no_id(name):
    with pytest.raises(ValueError, match="is no id; expected source:key"):
        split_id(name)


@pytest.mark.parametrize(
    ("key", "text", "named"),
    [
        ("user-17", "for example docs:user-17, docs:b", True),
        ("user-17", "for example user-17: empty-text (no text)", True),
        ("user-17", "found ['user-17', 'b']", True),
        ("user-17", "for example docs:user-171", False),
        ("user-17", "for example docs:superuser-17", False),
        ("17", "17 of 60 records do not meet it", False),
        ("17", "17 of 60 records; for example docs:17", True),
        ("17", "for example 17: empty-text", True),
        ("17", "for example '17': empty-text", True),
        ("17", "found 1.17", False),
        ("n3", "n3 of what", False),
        ("n3", "for example docs:n3, docs:n4", True),
        ("a:b", "for example docs:a:b", True),
        ("a:b", "duplicate of docs:a%3Ab", True),
        ("x" * 90, f"for example {'x' * 78}…: bad-key", True),
        ("what's new", "for example docs:what's new", True),
    ],
)
def test_a_key_is_found_as_a_word(key, text, named):
    assert bool(names_key([key, "another-key"]).search(text)) is named


def test_no_keys_name_nothing():
    assert names_key([]).search("anything") is None


def test_rows_are_known_by_place_or_by_tombstone():
    ids = pl.Series("id", ["docs:a#0", "docs:ab", "mail:a", None, "docs:c"])
    by_key = Asked(frozenset({("docs", "a")}))
    assert by_key.named(ids).to_list() == [True, False, False, False, False]
    by_hash = Asked(frozenset(), frozenset({tombstone("docs", "a"), tombstone("mail", "a")}))
    assert by_hash.named(ids).to_list() == [True, False, True, False, False]
    both = Asked(frozenset({("docs", "c")}), frozenset({tombstone("docs", "a")}))
    assert both.named(ids).to_list() == [True, False, False, False, True]
    assert both.hashes == {tombstone("docs", "a"), tombstone("docs", "c")}
