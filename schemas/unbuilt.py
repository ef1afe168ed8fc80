"""Options of the design whose part is not built yet: refused by name when a file asks for them.

Left out, or written as off, each resolves to off and the resolved spec says so. Whoever builds a
part deletes its line here, in the same commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from schemas.formats import scheme_of
from schemas.mistakes import KeyPath, Mistake, mistake


@dataclass(frozen=True)
class Unbuilt:
    """One option: where it stands (`[]` for every element), what is refused, what to write."""

    path: str
    refused: Callable[[Any], bool]
    part: str  # what is not built yet
    allowed: str  # what is
    instead: str  # the next step


def _words(*words: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in words


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _in_object_store(value: Any) -> bool:
    return isinstance(value, str) and scheme_of(value) not in (None, "file")


_GATE = _words("warn", "refuse")

UNBUILT = (
    Unbuilt(
        "workdir",
        _in_object_store,
        "a workdir on an object store",
        "a local or shared folder",
        "write a path such as ./.vecmill (uri and sources may lie on object stores)",
    ),
    Unbuilt(
        "storage_options",
        lambda value: isinstance(value, str),
        "reading storage options from a Prefect block",
        "a mapping of storage option to the name of an environment variable, or null",
        "write for example storage_options: {aws_region: AWS_REGION}",
    ),
    Unbuilt("audit.canary", _GATE, "the canary gate", "off", "leave it out"),
    Unbuilt("audit.verify", _GATE, "the verification gate", "off", "leave it out"),
    Unbuilt("audit.drift", _GATE, "the drift gate", "off", "leave it out"),
    Unbuilt("audit.recall", _number, "the recall gate of the index", "off", "leave it out"),
    Unbuilt(
        "compute.engine",
        _words("work-pool", "ray"),
        "any compute engine but local",
        "local",
        "leave it out: shards run on this machine",
    ),
)


def unbuilt_mistakes(data: dict[str, Any]) -> list[tuple[KeyPath, Mistake]]:
    """A mistake, with its path, for each option in settled `data` whose part is not built yet."""
    return [
        (path, mistake(path, value, f"{each.allowed} ({each.part} is not built yet)", each.instead))
        for each in UNBUILT
        for path, value in _values(data, each.path.split("."))
        if each.refused(value)
    ]


def _values(data: Any, keys: list[str], path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Every place in `data` that a dotted path names, with the value there."""
    if not keys:
        yield path, data
    elif isinstance(data, dict):
        key = keys[0].removesuffix("[]")
        if key not in data:
            return
        if key == keys[0]:
            yield from _values(data[key], keys[1:], (*path, key))
        elif isinstance(data[key], list):
            for i, element in enumerate(data[key]):
                yield from _values(element, keys[1:], (*path, key, i))
