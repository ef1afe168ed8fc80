"""Sentences of made words, twelve kinds of edit that make near-duplicates, and look-alikes.

The words are made of syllables of four scripts and are as unevenly frequent as words are (Zipf);
nothing depends on files of the machine. Every edit takes a `Hand` (chance, script, strength) and
the sentences of a document, and gives a text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random

import numpy as np

SENTENCES, WORDS = (4, 16), (5, 18)
"""Fewest and most sentences of a document, words of a sentence: 650 characters on average."""

VOCABULARY, OFFSET = 30_000, 2.7
"""Words of each script; a word's frequency goes with 1 / (its rank + the offset), as in English
(Mandelbrot)."""

COMMON, SHORT, TOPICS = 100, 150, 300
"""Words that are frequent in every text, the shortest of so many, and topics: each has other words
beside them that are frequent. Texts that have nothing to do with each other are so as alike as
news are, Jaccard about .03; what shares a band by chance depends on it."""

PAGES = 40
"""Distinct frames (heads and feet of pages) that boilerplate is drawn from."""

SCRIPTS: tuple[tuple[float, str, str], ...] = (
    (
        0.80,
        "b c d f g h k l m n p r s t v w br cl cr dr fl gr pl pr sc sh sp st th tr ch",
        "a e i o u a e i o ai ea é ou ö ar en er in on al or ess ight and",
    ),
    (
        0.10,
        "б в г д ж з к л м н п р с т х ч ш ст пр тр вс бл",
        "а е и о у я ы ю ой ен ать ов ин ость",
    ),
    (0.05, "β γ δ θ κ λ μ ν ξ π ρ σ τ φ χ ψ στ πρ κτ", "α ε η ι ο υ ω ου ει αι ον ης ας εν"),
    (0.05, "", ""),  # Han characters, written without spaces
)
"""Share of the families, consonants and vowels of each script."""

Document = list[str]
"""A text as its sentences."""


# --- words and sentences -------------------------------------------------------------------------


@cache
def vocabulary(script: int) -> tuple[list[str], np.ndarray]:
    """The words of a script, and their cumulated frequencies."""
    draw = Random(script)
    _, consonants, vowels = SCRIPTS[script]
    words: dict[str, None] = {}
    while len(words) < VOCABULARY:
        size = draw.choices((1, 2, 3, 4), (4, 4, 2, 1))[0]
        if consonants:
            begin, middle = consonants.split(), vowels.split()
            parts = (draw.choice(begin) + draw.choice(middle) for _ in range(size))
            word = "".join(parts) + draw.choice(("", "", "n", "s") if script == 0 else ("",))
        else:
            word = "".join(chr(draw.randrange(0x4E00, 0x5E00)) for _ in range(1 + size // 2))
        words[word] = None
    # As in languages, what is frequent is short.
    short = sorted(list(words)[:SHORT], key=len)[:COMMON]
    for word in short:
        del words[word]
    weights = 1 / (np.arange(1, VOCABULARY + 1) + OFFSET)
    return [*short, *words], np.cumsum(weights) / weights.sum()


@cache
def frequencies(script: int) -> list[float]:
    """The cumulated frequencies as `random.choices` wants them."""
    return vocabulary(script)[1].tolist()


def some_words(draw: Random, script: int, number: int, topic: int = 0) -> list[str]:
    """Words as frequent as in a text of that topic; now and then a figure or a name."""
    words, step = vocabulary(script)[0], topic * ((VOCABULARY - COMMON) // TOPICS)
    ranks = draw.choices(range(VOCABULARY), cum_weights=frequencies(script), k=number)
    drawn = [
        words[rank if rank < COMMON else COMMON + (rank + step) % (VOCABULARY - COMMON)]
        for rank in ranks
    ]
    for place in range(number):
        chance = draw.random()
        if chance < 0.03:
            drawn[place] = str(draw.randrange(2, 5_000))
        elif chance < 0.08:
            drawn[place] = drawn[place].capitalize()
    return drawn


def sentence(draw: Random, script: int, topic: int = 0) -> str:
    """A sentence with a capital, commas and a full stop."""
    words = some_words(draw, script, draw.randint(*WORDS), topic)
    if not SCRIPTS[script][1]:
        return "".join(words) + "。"
    words[0] = words[0].capitalize()
    for place in range(3, len(words) - 2, 5):
        if draw.random() < 0.4:
            words[place] += ","
    return " ".join(words) + draw.choices(".?!", (8, 1, 1))[0]


def write(document: Document) -> str:
    """The text of sentences: paragraphs of five."""
    lines = (" ".join(document[at : at + 5]) for at in range(0, len(document), 5))
    return "\n\n".join(lines)


# --- twelve kinds of edit ------------------------------------------------------------------------


@dataclass(frozen=True)
class Hand:
    """Who edits: where chance comes from, the script, the topic, how strongly (1 = as usual)."""

    draw: Random
    script: int
    topic: int = 0
    strength: float = 1.0

    def share(self, least: float, most: float) -> float:
        return self.draw.uniform(least, most) * self.strength

    def sentence(self) -> str:
        return sentence(self.draw, self.script, self.topic)

    def word(self) -> str:
        return some_words(self.draw, self.script, 1, self.topic)[0]


@dataclass(frozen=True)
class Quoting(Hand):
    """A hand that takes new sentences and words from given ones."""

    pool: Sequence[str] = ()

    def sentence(self) -> str:
        return self.draw.choice(self.pool)

    def word(self) -> str:
        return self.draw.choice(self.sentence().split() or [""])


def typos(hand: Hand, document: Document) -> str:
    """A character left out, doubled, replaced, or exchanged with its neighbour: 0.2–3.5 %."""
    text = list(write(document))
    letters = vocabulary(hand.script)[0]
    for _ in range(max(1, round(len(text) * hand.share(0.002, 0.035)))):
        at = hand.draw.randrange(len(text) - 1)
        way = hand.draw.randrange(4)
        if way == 0:
            text[at] = ""
        elif way == 1:
            text[at] += text[at]
        elif way == 2:
            text[at] = hand.draw.choice(hand.draw.choice(letters))
        else:
            text[at], text[at + 1] = text[at + 1], text[at]
    return "".join(text)


def case(hand: Hand, document: Document) -> str:
    """All upper case, all lower case, or every word with a capital."""
    return hand.draw.choice((str.upper, str.lower, str.title))(write(document))


def whitespace(hand: Hand, document: Document) -> str:
    """Other breaks of lines, several spaces or tabs, blanks at the ends."""
    blanks = ("  ", "\n", "\t", " \n ", "\u00a0", "\u2003", "\r\n")
    words = write(document).split()
    between = (hand.draw.choice(blanks) if hand.draw.random() < 0.3 else " " for _ in words)
    return " " + "".join(map(str.__add__, words, between)) + "\n"


def punctuation(hand: Hand, document: Document) -> str:
    """Commas and stops left out or exchanged, quotes put round words."""
    rate, marks = hand.share(0.2, 0.9), ".,?!。"
    text = [
        hand.draw.choice(("", ";", ",", "…"))
        if each in marks and hand.draw.random() < rate
        else each
        for each in write(document)
    ]
    words = "".join(text).split(" ")
    for _ in range(round(len(words) * 0.02 * hand.strength)):
        at = hand.draw.randrange(len(words))
        words[at] = f"“{words[at]}”"
    return " ".join(words)


def compatibility(hand: Hand, document: Document) -> str:
    """Other code points of the same letters: full width, decomposed, ligatures."""
    text = write(document)
    if hand.draw.random() < 0.5:
        return unicodedata.normalize("NFD", text)
    return "".join(
        chr(ord(each) + 0xFEE0) if "!" <= each <= "~" and hand.draw.random() < 0.3 else each
        for each in text.replace("st", "\ufb06")
    )


def boilerplate(hand: Hand, document: Document) -> str:
    """The head or the foot of a page, or both, at most a quarter of the text each."""
    frame = page(hand.draw.randrange(PAGES))
    room = round(len(write(document)) * hand.share(0.05, 0.18))
    head, foot = (part[: max(room, 1)] for part in frame)
    which = hand.draw.randrange(3)
    body = write(document)
    return (head + "\n\n" if which != 1 else "") + body + ("\n\n" + foot if which != 0 else "")


@cache
def page(number: int) -> tuple[str, str]:
    """The head and the foot of a page."""
    draw = Random(f"page {number}")
    return tuple(" ".join(sentence(draw, 0) for _ in range(4)) for _ in "hf")  # type: ignore


def dropped(hand: Hand, document: Document) -> str:
    """Sentences left out: up to a quarter of the text, or the shortest one."""
    room = sum(map(len, document)) * hand.share(0.03, 0.25)
    rest, gone = list(document), 0
    for each in hand.draw.sample(document, len(document)):
        if gone + len(each) <= room:
            rest.remove(each)
            gone += len(each)
    if not gone:
        rest.remove(min(document, key=len))
    return write(rest)


def added(hand: Hand, document: Document) -> str:
    """Sentences more: one, and others while they are at most a quarter of the text."""
    room = sum(map(len, document)) * hand.share(0.03, 0.25)
    longer, more = list(document), 0
    new = hand.sentence()
    while not more or more + len(new) <= room:
        longer.insert(hand.draw.randrange(len(longer) + 1), new)
        more += len(new)
        new = hand.sentence()
    return write(longer)


def swapped(hand: Hand, document: Document) -> str:
    """Two sentences exchanged, or all of them in another order."""
    other = list(document)
    if hand.draw.random() < 0.5:
        hand.draw.shuffle(other)
    else:
        one, two = hand.draw.sample(range(len(other)), 2)
        other[one], other[two] = other[two], other[one]
    return write(other)


def replaced(hand: Hand, document: Document) -> str:
    """Other words in the place of 1–10 %."""
    if not SCRIPTS[hand.script][1]:
        text = list(write(document))
        for _ in range(max(1, round(len(text) * hand.share(0.005, 0.03)))):
            text[hand.draw.randrange(len(text))] = hand.word()[0]
        return "".join(text)
    words = write(document).split(" ")
    for _ in range(max(1, round(len(words) * hand.share(0.01, 0.10)))):
        words[hand.draw.randrange(len(words))] = hand.word()
    return " ".join(words)


def truncated(hand: Hand, document: Document) -> str:
    """Cut off at 70–98 % of the text."""
    text = write(document)
    return text[: round(len(text) * (1 - hand.share(0.02, 0.30)))]


def mixed(hand: Hand, document: Document) -> str:
    """Two or three of the others, each half as strong."""
    lighter = replace(hand, strength=hand.strength / 2)
    text = hand.draw.choice((swapped, dropped, added))(lighter, document)
    text = hand.draw.choice((typos, replaced, boilerplate))(lighter, [text])
    return hand.draw.choice((case, whitespace, compatibility))(lighter, [text])


Edit = Callable[[Hand, Document], str]

EDITS: tuple[Edit, ...] = (
    typos,
    case,
    whitespace,
    punctuation,
    compatibility,
    boilerplate,
    dropped,
    added,
    swapped,
    replaced,
    truncated,
    mixed,
)


# --- look-alikes ---------------------------------------------------------------------------------


def same_frame(hand: Hand, document: Document) -> str:
    """Another text that begins and ends with the same sentences (a template filled in anew)."""
    frame = max(1, round(len(document) * 0.4))
    middle = [hand.sentence() for _ in range(len(document) - frame + 1)]
    return write(document[: frame // 2] + middle + document[len(document) - (frame - frame // 2) :])


def quote(hand: Hand, document: Document) -> str:
    """Another text that quotes up to a half of this one."""
    some = max(1, round(len(document) * hand.share(0.2, 0.5)))
    at = hand.draw.randrange(len(document) - some + 1)
    own = [hand.sentence() for _ in range(len(document) - some // 2)]
    return write(own[:2] + document[at : at + some] + own[2:])


def excerpt(hand: Hand, document: Document) -> str:
    """A part of the text, 20–45 %."""
    text = write(document)
    size = round(len(text) * hand.share(0.2, 0.45))
    at = hand.draw.randrange(len(text) - size)
    return text[at : at + size]


def same_words(hand: Hand, document: Document) -> str:
    """The same words in another order."""
    words = write(document).split()
    if not SCRIPTS[hand.script][1]:
        words = list("".join(words))
    hand.draw.shuffle(words)
    return ("" if not SCRIPTS[hand.script][1] else " ").join(words)


LOOK_ALIKES: tuple[Edit, ...] = (same_frame, quote, excerpt, same_words)
