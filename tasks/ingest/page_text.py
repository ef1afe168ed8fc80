"""The visible text of an html page.

Scripts, styles, templates and hidden elements are left out. Each block starts a line, and headings
and paragraphs stand between blank lines, so that chunking finds the borders. White space is
collapsed as a browser does it, but for `pre`.
"""

from __future__ import annotations

import re
from typing import Any


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

SPACE = re.compile(r"[ \t\n\r\f]+")

NOT_SHOWN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)


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

    def end(self, blank: bool) -> None:
        """End the line, if it has begun; with `blank` the next one stands apart."""
        if line := "".join(self._line).rstrip():
            self._done.append(line)
        self._line = []
        if blank and self._done and self._done[-1]:
            self._done.append("")

    def text(self) -> str:
        """Everything added so far."""
        self.end(blank=False)
        return "\n".join(self._done).strip("\n")


def html_text(source: str) -> str:
    """The visible text of the page `source`; `""` when it shows none."""
    from bs4 import BeautifulSoup, CData, NavigableString, Tag

    lines = Lines()
    # The tree is walked with a stack of our own: pages may nest deeper than Python may recurse.
    stack: list[Any] = [BeautifulSoup(source, "html.parser")]
    verbatim = 0
    while stack:
        node = stack.pop()
        if isinstance(node, str) and type(node) in (NavigableString, CData):
            (lines.add_verbatim if verbatim else lines.add)(node)
        elif isinstance(node, _End):
            verbatim -= node.name == "pre"
            _border(lines, node.name)
        elif isinstance(node, Tag) and not _is_hidden(node):
            _border(lines, node.name)
            verbatim += node.name == "pre"
            stack.append(_End(node.name))
            stack.extend(reversed(node.contents))
    return lines.text()


class _End:
    """The end of an element, on the stack below its content."""

    def __init__(self, name: str) -> None:
        self.name = name


def _border(lines: Lines, name: str) -> None:
    if name in BLOCKS:
        lines.end(blank=name in PARAGRAPHS)
    elif name in CELLS:
        lines.add(" ")


def _is_hidden(tag: Any) -> bool:
    return (
        tag.name in HIDDEN
        or tag.has_attr("hidden")
        or NOT_SHOWN.search(str(tag.get("style", ""))) is not None
    )
