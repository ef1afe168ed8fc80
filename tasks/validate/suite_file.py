"""Read a suite as Great Expectations writes it to JSON, and say all that is wrong with it."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from schemas.errors import UsageError
from schemas.identity import digest_json
from schemas.spec import Severity, SpaceSpec
from tasks.store.workdir import Store
from tasks.validate.catalog import KNOWN, REFUSED, REFUSED_SETTINGS, SAID_OTHERWISE, Entry
from tasks.validate.expectation import Expectation

SUITE_KEYS = frozenset({"name", "id", "expectations", "meta", "notes", "suite_parameters"})

EXPECTATION_KEYS = frozenset(
    {"type", "kwargs", "id", "meta", "notes", "description", "severity", *SAID_OTHERWISE}
)

SEVERITIES: dict[str, Severity] = {"critical": "refuse", "warning": "warn", "info": "warn"}
"""Great Expectations' words → ours. Only what is critical rejects records or refuses a build."""


def read_suite(path: str, spec: SpaceSpec, store: Store | None = None) -> list[Expectation]:
    """The expectations of the suite at `path`, each with the sources that it is about.

    A row expectation with `mostly` below 1, or of less than critical severity, rejects nothing: it
    is judged as a share over the state. Raises `UsageError` listing every mistake.
    """
    data = _read(path)
    mistakes = [f"'{key}': {_nearest(key, SUITE_KEYS)}" for key in data if key not in SUITE_KEYS]
    if data.get("suite_parameters"):
        mistakes.append("suite_parameters: parameters are not supported: write the values out")
    found: list[Expectation] = []
    for n, entry in enumerate(data["expectations"]):
        try:
            found.append(_expectation(entry, spec))
        except ValueError as error:
            mistakes.append(f"expectations[{n}] {_type(entry)}: {error}")
    if not mistakes and not _checked(found, store):
        from tasks.validate.gx import wrong_values

        mistakes = [f"{e.expected}: {what}" for e in found for what in wrong_values(e)]
        if not mistakes:
            _remember(found, store)
    if mistakes:
        listed = "".join(f"\n  - {mistake}" for mistake in mistakes)
        raise UsageError(f"expectations.suite {path} cannot be used:{listed}")
    return found


def _read(path: str) -> dict[str, Any]:
    wanted = "expected a Great Expectations suite: {name, expectations: [{type, kwargs}]}"
    try:
        data = json.loads(Path(path).read_text("utf-8"))
    except FileNotFoundError as error:
        raise UsageError(
            f"expectations.suite {path}: there is no such file: correct the path, or leave it out "
            f"for a suite derived from the spec"
        ) from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UsageError(
            f"expectations.suite {path}: not readable as JSON ({error}); {wanted}"
        ) from error
    if not isinstance(data, dict) or not isinstance(data.get("expectations"), list):
        raise UsageError(f"expectations.suite {path}: {wanted}")
    return data


def _type(entry: object) -> str:
    return str(entry.get("type", "")) if isinstance(entry, dict) else ""


def _expectation(entry: object, spec: SpaceSpec) -> Expectation:
    """One entry of the file; `ValueError` says what is wrong with it."""
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
        old = isinstance(entry, dict) and "expectation_type" in entry
        hint = " ('expectation_type' is the name of versions before 1.0)" if old else ""
        raise ValueError(f"expected {{type, kwargs}}{hint}")
    kwargs = _settings(entry)
    name = entry["type"]
    if name in REFUSED:
        raise ValueError(f"cannot be judged on records: {REFUSED[name]}")
    if name not in KNOWN:
        raise ValueError(f"there is no such expectation: {_nearest(name, KNOWN)}")
    known = KNOWN[name]
    _check_arguments(kwargs, known)
    columns = tuple(c for key in known.columns for c in _column_names(kwargs[key]))
    sources = _sources(entry.get("meta"), columns if known.level != "columns" else (), spec)
    severity = _severity(entry.get("severity"))
    level = known.level
    if level == "row" and (severity != "refuse" or kwargs.get("mostly", 1) != 1):
        level = "table"
    return Expectation(name, level, kwargs, columns, sources, severity)


def _settings(entry: dict[str, Any]) -> dict[str, Any]:
    """The arguments of an entry. Refuses settings that cannot be honoured; drops null ones."""
    kwargs = entry.get("kwargs", {})
    if not isinstance(kwargs, dict):
        raise ValueError(f"kwargs {kwargs!r}: expected an object")
    given = {k: v for k, v in {**entry, **kwargs}.items() if v is not None}
    for key, instead in REFUSED_SETTINGS.items():
        if key in given:
            raise ValueError(f"{key} cannot be honoured here: {instead}")
    for key in entry:
        if key not in EXPECTATION_KEYS and key not in REFUSED_SETTINGS:
            raise ValueError(f"'{key}': {_nearest(key, EXPECTATION_KEYS)}")
    return {k: v for k, v in kwargs.items() if v is not None and k not in SAID_OTHERWISE}


def _check_arguments(kwargs: dict[str, Any], known: Entry) -> None:
    legal = (*known.needs, *known.takes)
    for key, value in kwargs.items():
        if key not in legal:
            raise ValueError(f"argument '{key}': {_nearest(key, legal)}")
        if isinstance(value, dict) and "$PARAMETER" in value:
            raise ValueError(f"argument '{key}': parameters are not supported: write the value out")
    for key in known.needs:
        if key not in kwargs:
            raise ValueError(f"argument '{key}' is missing: expected {', '.join(known.needs)}")
    for key in ("regex", "regex_list"):
        for pattern in _column_names(kwargs[key]) if key in kwargs else ():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{key} '{pattern}' is no regular expression: {error}") from error


def _column_names(value: object) -> Iterator[str]:
    values = value if isinstance(value, list) else [value]
    for each in values:
        if not isinstance(each, str):
            raise ValueError(f"{each!r}: expected a string")
        yield each


def _sources(meta: object, columns: tuple[str, ...], spec: SpaceSpec) -> tuple[str, ...]:
    """The sources that have the columns; those that `meta.vecmill.source` names, if it does."""
    from tasks.validate.suite import visible_columns

    names = [source.name for source in spec.sources]
    ours = meta.get("vecmill") if isinstance(meta, dict) else None
    asked = names
    if ours is not None:
        if not isinstance(ours, dict) or set(ours) != {"source"} or ours["source"] not in names:
            raise ValueError(f"meta.vecmill {ours!r}: expected {{'source': one of {names}}}")
        asked = [ours["source"]]
    visible = {name: visible_columns(spec.source(name)) for name in asked}
    for column in columns:
        if not any(column in some for some in visible.values()):
            every = sorted({c for some in visible.values() for c in some})
            raise ValueError(
                f"no record of {', '.join(asked)} has the column '{column}': "
                f"{_nearest(column, every)}"
            )
    found = tuple(name for name in asked if set(columns) <= set(visible[name]))
    if not found:
        raise ValueError(f"no source has all of the columns {', '.join(columns)}")
    return found


def _severity(value: object) -> Severity:
    if value is None:
        return "refuse"
    if str(value) not in SEVERITIES:
        raise ValueError(f"severity {value!r}: expected one of {', '.join(SEVERITIES)}")
    return SEVERITIES[str(value)]


def _nearest(name: str, names: Iterable[str]) -> str:
    known = list(names)
    near = difflib.get_close_matches(name, known, 1, 0.6)
    return f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(sorted(known))}"


def _name(found: list[Expectation]) -> str:
    from importlib.metadata import version

    return digest_json(["suite", version("great-expectations"), [e.identity() for e in found]])


def _checked(found: list[Expectation], store: Store | None) -> bool:
    return (
        store is not None and store.find("verdicts", f"suite-{_name(found)}", ".json") is not None
    )


def _remember(found: list[Expectation], store: Store | None) -> None:
    if store is not None:
        with store.create("verdicts", f"suite-{_name(found)}", ".json") as path:
            path.write_text("{}", "utf-8")
