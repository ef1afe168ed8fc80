"""YAML text → plain data, with the line of every key; duplicate keys and foreign tags reported.

Narrower than PyYAML's safe loader in one respect: only `true` and `false` are booleans and no
text becomes a date or a base-60 number, so that a bare `off`, `no` or `12:30` stays what it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import ClassVar

import yaml

from schemas.mistakes import KeyPath, Mistake, Shown, dotted, mistake

MOST_NODES = 100_000
"""A spec has some hundred; more is an alias bomb."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: ClassVar[dict] = {}  # type: ignore[bad-override]  # not inherited


_PLAIN = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?(0|[1-9][0-9_]*)", "-+0123456789"),
    "float": (
        r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "merge": (r"<<", "<"),
}
for _tag, (_pattern, _first) in _PLAIN.items():
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first)
    )


_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("map", "seq", "str", "int", "float", "bool", "null")
)


@dataclass
class Parsed:
    """What a YAML text says: its data, the line of every key path, and what was wrong with it."""

    data: object = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    unread: set[KeyPath] = field(default_factory=set)  # what a mistake kept from being read


class _Reader:
    """Turns a tree of YAML nodes into plain data."""

    def __init__(self, loader: _Loader) -> None:
        self._loader = loader
        self._merged: set[int] = set()  # mappings whose `<<` is resolved; an alias comes again
        self._nodes = 0
        self.parsed = Parsed()

    def read(self, node: yaml.Node, path: KeyPath, above: frozenset[int] = frozenset()) -> object:
        self._nodes += 1
        self.parsed.lines.setdefault(path, node.start_mark.line + 1)
        if id(node) in above or self._nodes > MOST_NODES:
            raise yaml.MarkedYAMLError(
                problem="an alias that leads back to itself or unfolds without end",
                problem_mark=node.start_mark,
            )
        if node.tag not in _TAGS:
            return self._tagged(node, path)
        above |= {id(node)}
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, above)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(each, (*path, i), above) for i, each in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath, above: frozenset[int]) -> dict:
        if id(node) not in self._merged:
            self._merged.add(id(node))
            self._repeated_keys(node, path)
            self._loader.flatten_mapping(node)  # <<: *shared
        found: dict = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(
                    problem="a key that is a list or a mapping", problem_mark=key.start_mark
                )
            here = (*path, key.value)
            self.parsed.lines[here] = key.start_mark.line + 1
            found[key.value] = self.read(value, here, above)
        return found

    def _scalar(self, node: yaml.Node, path: KeyPath) -> object:
        try:
            return self._loader.construct_object(node)
        except (ValueError, KeyError):  # `!!int twelve`
            return self._tagged(node, path)

    def _repeated_keys(self, node: yaml.MappingNode, path: KeyPath) -> None:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if (name := str(key.value)) in seen:
                value = Shown(f"stands on line {seen[name]} too")
                self._note((*path, name), value, "each key once", "keep one of the two", line)
            seen.setdefault(name, line)

    def _tagged(self, node: yaml.Node, path: KeyPath) -> None:
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        value, line = Shown(f"has the tag {tag}"), node.start_mark.line + 1
        self._note(path, value, "plain YAML without tags", "remove the tag", line)
        self.parsed.unread.add(path)

    def _note(self, path: KeyPath, value: object, expected: str, step: str, line: int) -> None:
        self.parsed.mistakes.append(Mistake(dotted(path), value, expected, step, line))


def parse_yaml(text: str) -> Parsed:
    """The data of a YAML text. A syntax error is the only mistake and names line and column."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return Parsed()
        reader = _Reader(loader)
        reader.parsed.data = reader.read(node, ())
        return reader.parsed
    except RecursionError:
        return Parsed(mistakes=[_syntax_mistake(yaml.YAMLError("nested without end"))])
    except yaml.YAMLError as error:
        return Parsed(mistakes=[_syntax_mistake(error)])


def _syntax_mistake(error: yaml.YAMLError) -> Mistake:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    place: KeyPath = (f"line {mark.line + 1}, column {mark.column + 1}",) if mark else ("the file",)
    step = "correct that line"
    if "\\t" in problem:
        step = "indent with spaces instead of tabs"
    elif "mapping values are not allowed" in problem:
        step = "put a text that holds ': ' in quotes, and check the indentation above"
    elif "expected a single document" in (getattr(error, "context", None) or ""):
        problem, step = "a second document", "keep one document: remove the line '---'"
    return mistake(place, Shown(f"({problem})"), "YAML", step)
