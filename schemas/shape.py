"""Checks a spec's data against the models: unknown keys, types, bounds, words, missing fields.

settle   → YAML's off/on/yes/no where a switch is meant
shape    → every mistake of pydantic's, in the words of the file
salvage  → what is right, as a model, so that further checks can run beside the mistakes
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from schemas.mistakes import (
    MISSING,
    KeyPath,
    Mistake,
    dotted,
    mistake,
    nearest,
    plain_word,
    safe_value,
)
from schemas.outline import (
    element_of,
    field_of,
    in_words,
    is_bool,
    is_text,
    key_paths,
    keys_of,
    model_of,
    trace,
    words_of,
)
from schemas.spec import SpaceSpec

SWITCHES = {"on": True, "yes": True, "off": False, "no": False}
"""What YAML 1.1 means by these words."""

SURE = 0.8
"""A likeness (difflib's ratio) at which a key of another mapping is meant: one letter in five."""


def settle(data: Any, annotation: Any = SpaceSpec) -> Any:
    """A copy of plain data in which `off` stands for off, however YAML or JSON wrote it."""
    model = model_of(annotation)
    if isinstance(data, dict):
        fields = {} if model is None else {key: field_of(model, str(key)) for key in data}
        return {
            str(key): settle(value, field.annotation if (field := fields.get(key)) else None)
            for key, value in data.items()
        }
    if isinstance(data, list | tuple):
        element = element_of(annotation)
        return [settle(value, element) for value in data]
    if isinstance(data, PurePath):
        return str(data)
    if data is False and "off" in words_of(annotation):
        return "off"
    if is_bool(annotation) and isinstance(data, str):
        return SWITCHES.get(data.lower(), data)
    return data


def validated(data: dict[str, Any]) -> SpaceSpec:
    """The spec of settled data, strictly typed: a number is no text and a text no number.

    Raises pydantic's `ValidationError`.
    """
    # A Python object that JSON has no word for becomes a mapping, which no field takes for a value.
    plain = json.dumps(data, default=lambda value: {type(value).__name__: None})
    return SpaceSpec.model_validate_json(plain, strict=True)


def shape_mistakes(data: dict[str, Any], error: ValidationError) -> dict[KeyPath, Mistake]:
    """The mistakes that pydantic found in `data`, one for each place, in the words of the file."""
    found: dict[KeyPath, Mistake] = {}
    for each in error.errors(include_url=False, include_context=False):
        path, annotation, field = trace(SpaceSpec, each["loc"])
        if path[:1] == ("storage_options",):
            continue  # `schemas.combinations` looks at these, without showing a value
        value = value_at(data, path)
        if each["type"] == "too_short" and value:
            continue  # the list is not empty: what is wrong with its elements is said already
        if path not in found:
            found[path] = _shape_mistake(data, path, each, annotation, field)
    return found


def value_at(data: Any, path: KeyPath) -> Any:
    """The value at a path, `MISSING` where there is none."""
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return MISSING
    return data


def _shape_mistake(
    data: dict[str, Any],
    path: KeyPath,
    error: ErrorDetails,
    annotation: Any,
    field: FieldInfo | None,
) -> Mistake:
    value = value_at(data, path)
    if annotation is None:
        model = model_of(trace(SpaceSpec, path[:-1])[1]) or SpaceSpec
        keys = list(keys_of(model))
        where = f"the keys {', '.join(keys)}"
        return mistake(path, value, f"only {where}", _key_meant(path, keys))
    expected = in_words(annotation, tuple(field.metadata) if field else ())
    if error["type"] == "missing":
        meaning = field.description.split(".")[0] if field and field.description else expected
        return mistake(path, MISSING, f"{expected} ({meaning})", _how_to_add(path))
    return mistake(path, value, expected, _how_to_correct(path, value, annotation, expected))


def _key_meant(path: KeyPath, keys: list[str]) -> str:
    """Which key was probably meant: the same one of another mapping, or one that is like it."""
    word, above = plain_word(str(path[-1])), path[:-1]
    every = {key for key, _ in key_paths(SpaceSpec)}
    if word in every:
        return f"did you mean {_nearest_place(word, above)}?"
    if (here := nearest(word, keys)) is not None:
        return f"did you mean {dotted((*above, here))}?"
    if (there := nearest(word, every, cutoff=SURE)) is not None:
        return f"did you mean {_nearest_place(there, above)}?"
    return "remove it"


def _nearest_place(key: str, above: KeyPath) -> str:
    """The path of a key of that name: below `above` where there is one, else the highest."""
    paths = [
        path.replace("sources[]", dotted(above[:2])) if above[:1] == ("sources",) else path
        for name, path in key_paths(SpaceSpec)
        if name == key
    ]
    return max(paths, key=lambda path: (path.startswith(dotted(above)), -path.count(".")))


def _how_to_add(path: KeyPath) -> str:
    examples = {
        "space": "add space: my_table",
        "uri": "add uri: ./lancedb",
        "sources": "add sources with one entry, - {name: docs, kind: text, path: docs/*.md}",
        "embedder": "add embedder: {kind: sentence-transformers, "
        "model: sentence-transformers/all-MiniLM-L6-v2}",
    }
    return examples.get(dotted(path), f"add {dotted(path)}")


def _how_to_correct(path: KeyPath, value: Any, annotation: Any, expected: str) -> str:
    words = words_of(annotation)
    if isinstance(value, str) and words and (close := nearest(value, words)):
        return f"did you mean {close}?"
    if "off" in words and (value is True or value in ("on", "yes", "true")):
        return f"say which: {', '.join(word for word in words if word != 'off')}"
    if "name of small letters" in expected and isinstance(value, str):
        return f"try {_as_name(value)}"
    if isinstance(value, bool | int | float) and is_text(annotation):
        return f"put it in quotes: '{str(value).lower() if isinstance(value, bool) else value}'"
    if isinstance(value, str) and "number" in expected and _is_number(value):
        return f"write it without quotes: {value}"
    if element_of(annotation) is not None and not isinstance(value, list):
        return "write a list: each entry on a line of its own that begins with '- '"
    if path == ("embedder",) and isinstance(value, str):
        return "write embedder: {kind: sentence-transformers, model: …}"
    return _default_of(path)


def _default_of(path: KeyPath) -> str:
    """The next step that always works: leave the key out, where it has a default."""
    above = trace(SpaceSpec, path[:-1])[1]
    model = model_of(above)
    field = None if model is None else field_of(model, str(path[-1]))
    if field is None or field.is_required():
        return "correct the value"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel) or default == ():
        return "or leave it out"
    return f"or leave it out for the default, {safe_value(default)}"


def _as_name(value: str) -> str:
    words = "".join(c if c.isascii() and c.isalnum() else " " for c in plain_word(value)).split()
    name = "_".join(words)
    return (name if name[:1].isalpha() else f"s_{name}")[:100] if name else "my_table"


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def salvage(data: Any, wrong: set[KeyPath], model: type[BaseModel] = SpaceSpec) -> Any:
    """What is right in `data`, as an unchecked model: a wrong or missing value is its default.

    A required field without a usable value is None, whatever its annotation says, so that the
    checks between fields can run beside the mistakes that were found already.
    """
    return _salvaged(data, wrong, model, ())


def _salvaged(data: Any, wrong: set[KeyPath], model: type[BaseModel], path: KeyPath) -> Any:
    values: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        key = field.alias if field.alias is not None and field.alias in data else name
        here = (*path, key)
        if key not in data or here in wrong or data[key] is None:
            null = key in data and here not in wrong
            default = None if field.is_required() else field.get_default(call_default_factory=True)
            values[name] = None if null else default
            continue
        values[name] = _salvaged_value(data[key], wrong, field.annotation, here)
    return model.model_construct(**values)


def _salvaged_value(value: Any, wrong: set[KeyPath], annotation: Any, path: KeyPath) -> Any:
    model, element = model_of(annotation), element_of(annotation)
    if model is not None and isinstance(value, dict):
        return _salvaged(value, wrong, model, path)
    if element is not None:
        return tuple(_elements(value, wrong, element, path))
    return value


def _elements(value: Any, wrong: set[KeyPath], element: Any, path: KeyPath) -> Iterator[Any]:
    for i, each in enumerate(value if isinstance(value, list) else [value]):
        here = (*path, i)
        # A wrong element keeps its place, so that the others keep their numbers.
        model = model_of(element)
        if here in wrong or (model is not None and not isinstance(each, dict | str)):
            yield None if model is None else _salvaged({}, wrong, model, here)
        elif model is not None and isinstance(each, str):
            yield _salvaged({"name": each}, wrong, model, here)  # `columns: [lang]`
        else:
            yield _salvaged_value(each, wrong, element, here)
