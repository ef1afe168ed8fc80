"""The errors that end a build or a command, each with the exit code that a shell sees.

A refused build is none of them: it has an outcome, with its manifest (`flows.outcome`).
Every message says what was wrong, the value, what was expected and the next step.
"""

from __future__ import annotations


class VecmillError(Exception):
    """Anything that stops a command: exit code 1 unless a subclass says otherwise."""

    exit_code = 1


class UsageError(VecmillError):
    """The spec or the command line is wrong: exit code 2."""

    exit_code = 2


class SourceError(VecmillError):
    """A source cannot be listed or is empty: refused where a release exists, else a usage error.

    The composition turns it into exit code 3 or 2; `source` is the source's name.
    """

    exit_code = 2

    def __init__(self, source: str, message: str) -> None:
        super().__init__(message)
        self.source = source


class MissingExtraError(UsageError):
    """An optional package is not installed; the message prints the install line.

    `instead` is what else could be done, after an "or".
    """

    def __init__(self, package: str, extra: str, purpose: str, instead: str = "") -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed: "
            f"pip install 'vecmill[{extra}]'{instead and f', or {instead}'}"
        )


class MissingProgramError(UsageError):
    """A program that vecmill starts, and does not bring along, is not on the PATH.

    `why` says why it is not among vecmill's own packages.
    """

    def __init__(self, program: str, purpose: str, install: str, why: str) -> None:
        super().__init__(
            f"{purpose} needs the program '{program}', which is not on the PATH: {install} ({why})"
        )
