"""What is wrong with a spec, all of it at once: one `Mistake` each, one `SpecError` for the file.

A mistake's value is made safe when the mistake is made: nothing that looks like a secret is kept,
so neither a message nor a traceback nor a log can show one.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from schemas.errors import UsageError

KeyPath = tuple[str | int, ...]
"""Where in the file: `("sources", 0, "path")`."""

LONGEST_SHOWN = 120
"""Characters of a value that a message shows: enough to recognise it."""

_SECRET_NAME = re.compile(
    r"secret|passw|credential|sas$|(^|_)token$|(api|access|account|private|storage)_?key(_id)?$",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(
    r"(AKIA|ASIA)[A-Z0-9]{12,}|\b(sk|hf|ghp|gho|xox[abp]|glpat)[-_][A-Za-z0-9_-]{10,}"
    r"|-----BEGIN|\beyJ[A-Za-z0-9_-]{10,}|(AccountKey|SharedAccessSignature|password|sig)=",
    re.IGNORECASE,
)
_CREDENTIALS = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)[^/@\s]+@")


class Shown(str):
    """Words about a value that stand in a message as they are, without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


MISSING = Shown("is missing")
"""Stands for the value of a field that the file does not have."""

HIDDEN = Shown("(a value that is not shown)")
"""Stands for a value that is, or may be, a secret."""


def holds_credentials(uri: str) -> bool:
    """Whether a URI carries a user name or a secret of its own (`s3://key:secret@bucket`)."""
    return bool(_CREDENTIALS.match(uri) or _SECRET_VALUE.search(uri))


def looks_secret(value: object) -> bool:
    """Whether a value has the form of a key or a token."""
    return isinstance(value, str) and bool(_SECRET_VALUE.search(value))


def safe_value(value: object, path: KeyPath = ()) -> object:
    """The value as a message may show it: no secret, nothing nested, nothing endless."""
    names = [part for part in path if isinstance(part, str)]
    if value is not MISSING and ("storage_options" in names[:1] and len(names) > 1):
        return HIDDEN
    if names and _SECRET_NAME.search(names[-1]) and not isinstance(value, Shown):
        return HIDDEN
    if isinstance(value, Mapping):
        return Shown(f"(a mapping of {', '.join(map(str, value)) or 'nothing'})")
    if isinstance(value, str) and not isinstance(value, Shown):
        return _safe_text(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return Shown(f"(a list of {len(value)})")
    if value is None or isinstance(value, bool):
        return Shown("null" if value is None else str(value).lower())
    return value


def _safe_text(value: str) -> object:
    if holds_credentials(value):
        return HIDDEN
    return value if len(value) <= LONGEST_SHOWN else f"{value[:LONGEST_SHOWN]}…"


def dotted(path: KeyPath) -> str:
    """The path as people write it: `sources[0].path`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong: where, the value found, what was expected, the next step."""

    path: str
    value: object
    expected: str
    suggestion: str
    line: int | None = None  # in the YAML file, from 1

    def __str__(self) -> str:
        place = f" (line {self.line})" if self.line is not None else ""
        return f"{self.path} {self.value!r}{place}: expected {self.expected}; {self.suggestion}"


def mistake(path: KeyPath, value: object, expected: str, suggestion: str) -> Mistake:
    """A mistake at `path`, its value made safe to show."""
    return Mistake(dotted(path), safe_value(value, path), expected, suggestion)


class SpecError(UsageError):
    """A spec is wrong: every mistake in it, a line each, in the file's order."""

    def __init__(self, name: str, mistakes: Iterable[Mistake]) -> None:
        self.name = name
        self.mistakes = tuple(mistakes)
        lines = [f"{name}: {each}" for each in self.mistakes]
        if len(lines) > 1:
            lines.insert(0, f"{name} has {len(lines)} mistakes; nothing was run:")
        super().__init__("\n".join(lines))


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known word that is most like `word`, or None when none is like it."""
    found = difflib.get_close_matches(plain_word(word), list(known), n=1, cutoff=cutoff)
    return found[0] if found else None


def plain_word(word: str) -> str:
    """The word as the spec writes its keys: `max-tokens` and `maxTokens` are `max_tokens`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", word).replace("-", "_").replace(" ", "_").lower()
