"""The spec's models seen as a tree of keys: what stands where, of which type, in words."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, StringConstraints
from pydantic.fields import FieldInfo

from schemas.mistakes import KeyPath


def keys_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys that a mapping for `model` may have, as the file writes them (`as`, not `as_`)."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def field_of(model: type[BaseModel], key: str) -> FieldInfo | None:
    """The field that a key names, by its alias or its Python name."""
    return keys_of(model).get(key) or model.model_fields.get(key)


def model_of(annotation: Any) -> type[BaseModel] | None:
    """The model in `Model` or `Model | None`; None where there is none."""
    for part in alternatives(annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def element_of(annotation: Any) -> Any:
    """`X` of `tuple[X, ...]`; None for anything else."""
    return get_args(annotation)[0] if get_origin(annotation) is tuple else None


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """The parts of a union; the annotation itself where it is none."""
    union = get_origin(annotation) in (Union, types.UnionType)
    return get_args(annotation) if union else (annotation,)


def words_of(annotation: Any) -> tuple[str, ...]:
    """The literal words that are legal, `()` where there are none."""
    return tuple(
        word
        for part in alternatives(annotation)
        if get_origin(part) is Literal
        for word in get_args(part)
    )


def is_text(annotation: Any) -> bool:
    """Whether a text may stand there."""
    parts = alternatives(annotation)
    return any((get_args(p)[0] if get_origin(p) is Annotated else p) is str for p in parts)


def is_bool(annotation: Any) -> bool:
    """Whether the annotation is a plain switch."""
    return annotation is bool


def key_paths(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, str]]:
    """Every (key, dotted path) of the spec: `("max_tokens", "chunk.max_tokens")`."""
    for key, field in keys_of(model).items():
        path = f"{above}{key}"
        yield key, path
        element = element_of(field.annotation)
        inner = model_of(field.annotation if element is None else element)
        if inner is not None:
            yield from key_paths(inner, f"{path}." if element is None else f"{path}[].")


def trace(model: type[BaseModel], loc: KeyPath) -> tuple[KeyPath, Any, FieldInfo | None]:
    """Follow a pydantic location into the tree as far as the file has keys.

    Returns the path, the annotation of what belongs there (None for an unknown key), and its field
    (None for a list's element). Pydantic's names for the branches of a union are left out.
    """
    annotation: Any = model
    field: FieldInfo | None = None
    path: KeyPath = ()
    for part in loc:
        inner, element = model_of(annotation), element_of(annotation)
        if inner is not None and isinstance(part, str):
            field = field_of(inner, part)
            path = (*path, part)
            if field is None:
                return path, None, None
            annotation = field.annotation
        elif element is not None and isinstance(part, int):
            path, annotation, field = (*path, part), element, None
        else:
            break
    return path, annotation, field


def in_words(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    """What belongs there, for people: `a whole number from 8 to 100000, or null`."""
    parts = alternatives(annotation)
    if len(parts) > 1:
        return ", or ".join(in_words(part, metadata) for part in parts)
    if get_origin(annotation) is Annotated:
        inner, *own = get_args(annotation)
        nested = [each.metadata if isinstance(each, FieldInfo) else [each] for each in own]
        return in_words(inner, tuple(m for each in nested for m in each))
    if annotation is None or annotation is type(None):
        return "null"
    if words := words_of(annotation):
        return f"one of {', '.join(words)}" if len(words) > 1 else words[0]
    if (element := element_of(annotation)) is not None:
        return f"a list, each {in_words(element)}"
    if (model := model_of(annotation)) is not None:
        return f"a mapping with the keys {', '.join(keys_of(model))}"
    if annotation in (int, float):
        return _number(annotation, metadata)
    return {bool: "true or false", str: _text(metadata)}.get(annotation, "a mapping")


def _number(annotation: Any, metadata: tuple[Any, ...]) -> str:
    noun = "a whole number" if annotation is int else "a number"
    low = next((f" from {m.ge:g}" for m in metadata if getattr(m, "ge", None) is not None), "")
    low = low or next(
        (f" above {m.gt:g}" for m in metadata if getattr(m, "gt", None) is not None), ""
    )
    high = next((m.le for m in metadata if getattr(m, "le", None) is not None), None)
    if high is None:
        return f"{noun}{low}{' up' if low.startswith(' from') else ''}"
    to = " to" if low.startswith(" from") else ", at most"
    return f"{noun}{low}{to} {high:g}"


def _text(metadata: tuple[Any, ...]) -> str:
    patterns = [m.pattern for m in metadata if isinstance(m, StringConstraints) and m.pattern]
    if any("_?$" in str(pattern) for pattern in patterns):
        return (
            "a name of small letters, digits and single underscores that begins with a letter, "
            "at most 100 long"
        )
    if patterns:
        return "letters, digits, '.', '_' and '-' only, at most 100 long"
    filled = any(getattr(each, "min_length", 0) for each in metadata)
    return "a text that is not empty" if filled else "text"
