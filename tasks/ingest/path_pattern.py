"""A source's path taken apart: the root, where relative keys start, and a pattern below it.

`docs/**/*.md` → root `docs`, pattern `**/*.md`. The root is the longest prefix without a wildcard.
`*` and `?` stay inside a name, `[…]` is a set, `{a,b}` are alternatives, `**` is any number of
folders. Names that begin with a dot are matched only where the pattern says the dot.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

WILDCARDS = frozenset("*?[{")


@dataclass(frozen=True)
class PathPattern:
    """Which files below a root are meant."""

    root: str
    pattern: str  # "" where the path has no wildcard

    @property
    def depth(self) -> int | None:
        """How many levels below the root can match; None: any number."""
        return None if "**" in self.pattern else self.pattern.count("/") + 1

    @property
    def hidden(self) -> bool:
        """Whether the pattern itself asks for names that begin with a dot."""
        return re.search(r"(^|[/{,])\.", self.pattern) is not None

    def matches(self, relative: str) -> bool:
        """Whether the file at that path below the root is meant."""
        return _regex(self.pattern).fullmatch(relative) is not None


def path_pattern(path: str) -> PathPattern:
    """Split a path or URI at its first component with a wildcard."""
    scheme, mark, rest = path.rpartition("://")
    parts = rest.split("/")
    at = next((i for i, part in enumerate(parts) if WILDCARDS & set(part)), len(parts))
    root = scheme + mark + "/".join(parts[:at])
    if at and not "".join(parts[:at]):
        root = scheme + mark + "/"
    return PathPattern(root, "/".join(parts[at:]))


def _regex(pattern: str) -> re.Pattern[str]:
    """The pattern as a regular expression over POSIX paths."""
    out: list[str] = []
    i = 0
    while i < len(pattern):
        i, piece = _next_piece(pattern, i)
        out.append(piece)
    return re.compile("".join(out), re.DOTALL)


def _next_piece(pattern: str, i: int) -> tuple[int, str]:
    """The expression for what stands at `i`, and where the next begins."""
    for wildcard, expression in (("**/", "(?:[^/]+/)*"), ("**", ".*"), ("*", "[^/]*")):
        if pattern.startswith(wildcard, i):
            return i + len(wildcard), expression
    character = pattern[i]
    if character == "?":
        return i + 1, "[^/]"
    if character == "[" and (end := pattern.find("]", i + 2)) > 0:
        inside = pattern[i + 1 : end].replace("\\", r"\\").replace("[", r"\[")
        negated = inside.startswith(("!", "^"))
        return end + 1, f"(?!/)[{'^' if negated else ''}{inside[negated:]}]"
    if character == "{" and (end := pattern.find("}", i)) > 0:
        options = [_regex(option).pattern for option in pattern[i + 1 : end].split(",")]
        return end + 1, f"(?:{'|'.join(options)})"
    return i + 1, re.escape(character)
