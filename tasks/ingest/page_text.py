"""The visible text of an html page.

Scripts, styles, templates and hidden elements are left out. Each block starts a line, and headings
and paragraphs stand between blank lines, so that chunking finds the borders. White space is
collapsed as a browser does it, but for `pre`.

The page streams through the standard library's tokeniser: no tree, no recursion, and no page is
refused. Its own way with a page that breaks off inside a tag takes time by the square of what is
left, and hours for a hostile page, so that end is read here (`_Page.finish`).
"""

from __future__ import annotations

import re
from collections import Counter
from html import unescape
from html.parser import HTMLParser


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


HIDDEN = _names("script style template noscript title svg iframe object audio video canvas")
"""Elements whose content is no text of the page. Not `head`: where its end tag is forgotten the
whole body lies in it."""

PARAGRAPHS = _names("h1 h2 h3 h4 h5 h6 p pre blockquote table ul ol dl hr section article")
"""Elements that stand between blank lines."""

BLOCKS = PARAGRAPHS | _names(
    "address aside body br caption center dd details dialog div dt fieldset figcaption figure "
    "footer form head header hgroup html legend li main menu nav option optgroup search summary "
    "tbody tfoot thead tr"
)
"""Elements that begin and end a line."""

CELLS = _names("td th")
"""Elements that are set apart by a space."""

VOID = _names("area base br col embed hr img input link meta param source track wbr")
"""Elements without an end."""

SPACE = re.compile(r"[ \t\n\r\f]+")

NOT_SHOWN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)

TAG = re.compile(r"<[^>]*>?")

UNENDED_TAGS = 20
"""Tags without an end (a forgotten quote) after which a page is still read as html."""


class Lines:
    """Text as it is laid out: lines, and at most one blank line between two."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._line: list[str] = []

    def add(self, text: str) -> None:
        """Running text: white space collapses, also across elements."""
        said = SPACE.sub(" ", text)
        if said.startswith(" ") and (not self._line or self._line[-1].endswith(" ")):
            said = said[1:]
        if said:
            self._line.append(said)

    def add_verbatim(self, text: str) -> None:
        """Text of a `pre` element: its own lines."""
        first, *others = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._line.append(first)
        for line in others:
            self._done.append("".join(self._line).rstrip())
            self._line = [line]

    def border(self, name: str) -> None:
        """An element of that name begins or ends here."""
        if name in BLOCKS:
            self._end(blank=name in PARAGRAPHS)
        elif name in CELLS:
            self.add(" ")

    def _end(self, blank: bool) -> None:
        """End the line, if it has begun; with `blank` the next one stands apart."""
        if line := "".join(self._line).rstrip():
            self._done.append(line)
        self._line = []
        if blank and self._done and self._done[-1]:
            self._done.append("")

    def text(self) -> str:
        """Everything added so far."""
        self._end(blank=False)
        return "\n".join(self._done).strip("\n")


def html_text(source: str) -> str:
    """The visible text of the page `source`; `""` when it shows none."""
    page = _Page()
    page.feed(source)
    page.finish()
    return page.lines.text()


class _Page(HTMLParser):
    """Lays out what is visible, element by element."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines = Lines()
        self._open: list[tuple[str, bool]] = []  # (name, hides its content)
        self._names: Counter[str] = Counter()  # of the open ones
        self._hiding = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Enter an element."""
        hides = tag in HIDDEN or any(
            name == "hidden" or (name == "style" and NOT_SHOWN.search(value or ""))
            for name, value in attrs
        )
        if not hides and not self._hiding:
            self.lines.border(tag)
        if tag not in VOID:
            self._open.append((tag, hides))
            self._names[tag] += 1
            self._hiding += hides

    def handle_endtag(self, tag: str) -> None:
        """Leave an element, and those inside it whose end was forgotten."""
        while self._names[tag]:
            name, hides = self._open.pop()
            self._names[name] -= 1
            if not self._hiding:
                self.lines.border(name)
            self._hiding -= hides
            if name == tag:
                return

    def handle_data(self, data: str) -> None:
        """Text between tags."""
        if not self._hiding:
            (self.lines.add_verbatim if self._names["pre"] else self.lines.add)(data)

    def unknown_decl(self, data: str) -> None:
        """A CDATA section, which is text."""
        self.handle_data(data.removeprefix("CDATA["))

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """`<![if …]>` and what else an office program writes: a comment, as for a browser.

        The standard library knows some keywords and raises at others.
        """
        if self.rawdata.startswith("<![CDATA[", i):
            return super().parse_marked_section(i, report)
        return self.parse_bogus_comment(i, report=False)

    def finish(self) -> None:
        """Read what the page breaks off in: a tag without its end counts up to the next `>`."""
        for _ in range(UNENDED_TAGS):
            rest, self.rawdata = self.rawdata, ""
            end = rest.find(">") + 1 if rest.startswith("<") else 0
            if not end:
                break
            self.feed(rest[end:])
        else:
            rest = self.rawdata
        self.handle_data(unescape(TAG.sub(" ", rest)))
