"""Words for clusters: what its texts have and the others' have not, in any language."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.cluster.labels import known_words, picture_words, terms_of, text_terms, word_terms

CATS = ["The cat sleeps on the sofa all day.", "A cat and her kittens sleep.", "Cats purr, a cat!"]
SHIPS = ["The ship leaves the harbour today.", "A harbour for every ship.", "Ships in the harbour."]


def labelled(*groups: list[str]) -> list[tuple[str, ...]]:
    texts = [text for group in groups for text in group]
    clusters = np.repeat(np.arange(len(groups), dtype=np.int32), [len(g) for g in groups])
    found = text_terms(texts, clusters)
    return [found[number] for number in range(len(groups))]


def test_a_cluster_is_named_by_what_the_others_do_not_say():
    cats, ships = labelled(CATS, SHIPS)
    assert cats[0] == "cat"
    assert ships[0] == "harbour"
    assert not {"the", "a", "in"} & {*cats, *ships}
    assert "today" not in ships, "a word of one text says nothing of the cluster"


def test_a_term_is_said_once():
    [cats, _] = labelled(CATS, SHIPS)
    assert "cats" not in cats
    assert [term for term in cats if "cat" in term.split()] == ["cat"]


def test_the_order_of_the_texts_does_not_matter():
    texts, clusters = [*CATS, *SHIPS], np.array([0, 0, 0, 1, 1, 1], np.int32)
    mixed = np.random.default_rng(3).permutation(6)
    assert text_terms([texts[at] for at in mixed], clusters[mixed]) == text_terms(texts, clusters)


def test_a_word_that_is_as_common_everywhere_is_no_label_in_any_language():
    hunde = ["Der Hund bellt und der Hund läuft.", "Der Hund ist und bleibt der Hund."]
    schiffe = ["Der Hafen und das Schiff.", "Das Schiff und der Hafen am Meer."]
    for terms in labelled(hunde, schiffe):
        assert not {"der", "und"} & set(terms)
    assert labelled(hunde, schiffe)[0][0] == "hund"


def test_scripts_without_spaces_have_terms_too():
    [sea, _] = labelled(["船在港口里", "港口有船"], ["猫睡觉", "猫在睡觉"])
    assert "港口" in sea


@pytest.mark.parametrize("texts", [["123 456", "!!!"], ["", ""]], ids=["numbers", "nothing"])
def test_texts_without_words_have_no_terms(texts):
    assert text_terms(texts, np.array([0, 1], np.int32)) == {0: (), 1: ()}


def test_one_cluster_alone_has_terms():
    [terms] = labelled(CATS)
    assert terms[0] == "cat"


def test_long_words_markup_and_the_end_of_a_book_are_left_out():
    terms = terms_of(f"&lt;b&gt; {'x' * 60} c++ numpy.linalg " + "word " * 400 + "end")
    assert {"lt", "gt", "x" * 60, "end"}.isdisjoint(terms)
    assert {"c++", "numpy.linalg", "word"} <= set(terms)
    assert "word word" not in terms


def test_words_that_the_embedder_cannot_tell_apart_are_left_out():
    vectors = np.eye(4, dtype=np.float32)
    vectors[3] = vectors[1]
    assert known_words(["a", "b", "c", "d"], vectors).tolist() == [True, False, True, False]


def test_a_word_near_to_every_picture_names_none():
    words = ("picture", "red", "blue", "red ring")
    vectors = np.array([[0.9, 0.3, 0.3], [0, 1, 0], [0, 0, 1], [0.1, 0.95, 0]], np.float32)
    centroids = np.array([[0.8, 0.6, 0.0], [0.8, 0.0, 0.6]], np.float32)
    red, blue = word_terms(words, vectors, centroids)
    assert (red[0], blue[0]) == ("red", "blue")
    assert "red ring" not in red, "it says red again"


def test_the_list_of_words_has_no_notes_and_no_doubles():
    words = picture_words()
    assert len(words) == len(set(words)) > 400
    assert not any("/" in word or word != word.strip() for word in words)
