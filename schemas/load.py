"""Reads a spec and reports every mistake in it at once.

file or URI → YAML (yaml_text) → settled data (shape) → mistakes of shape, unbuilt options,
combinations and places, all of them → the resolved spec, its paths absolute
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from schemas.combinations import combination_mistakes
from schemas.errors import UsageError
from schemas.formats import scheme_of
from schemas.mistakes import (
    KeyPath,
    Mistake,
    Shown,
    SpecError,
    holds_credentials,
    mistake,
    nearest,
)
from schemas.places import absolute, place_mistakes, resolved
from schemas.shape import salvage, settle, shape_mistakes, validated
from schemas.spec import SpaceSpec
from schemas.unbuilt import unbuilt_mistakes
from schemas.yaml_text import Parsed, parse_yaml

EXAMPLE = "vecmill init PATH writes a commented spec"


def load_spec(path: str | Path) -> SpaceSpec:
    """The resolved spec of a YAML file, or of a URI that fsspec opens.

    Raises `SpecError` with every mistake in the file, `UsageError` where there is none to read.
    """
    name = str(path)
    base, raw = _read(path)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = Shown(f"(byte {error.start} is {raw[error.start]:#04x})")
        raise SpecError(
            name, [mistake(("the file",), place, "UTF-8 text", "save the file as UTF-8")]
        ) from None
    parsed = parse_yaml(text)
    if parsed.mistakes and not isinstance(parsed.data, dict):
        raise SpecError(name, parsed.mistakes)
    return _parse(parsed.data, base, name, parsed)


def parse_spec(data: dict[str, Any], base: str | Path, name: str) -> SpaceSpec:
    """The resolved spec of plain data: the inline form, as a flow's parameter has it.

    `base` is the folder that relative paths start from, `name` what messages call the spec.
    Raises `SpecError` with every mistake.
    """
    return _parse(data, str(base), name, Parsed())


def _parse(data: object, base: str, name: str, parsed: Parsed) -> SpaceSpec:
    if not isinstance(data, dict):
        value = Shown("is empty") if data is None else data
        raise SpecError(
            name,
            [
                mistake(
                    ("the spec",), value, "a mapping with space, uri, sources, embedder", EXAMPLE
                )
            ],
        )
    base = base if scheme_of(base) else str(Path(base).absolute())
    settled = settle(data)
    try:
        spec, shape = validated(settled), {}
    except ValidationError as error:
        shape = shape_mistakes(settled, error)
        spec = salvage(settled, set(shape))
    found = dict(unbuilt_mistakes(settled))
    # Below an option that is refused as a whole nothing else needs saying.
    found |= {path: each for path, each in shape.items() if not _below(path, set(found))}
    others = [*combination_mistakes(spec, base), *place_mistakes(spec, base)]
    ordered = [*found.items(), *((path, each) for path, each in others if path not in found)]
    ordered = [(path, each) for path, each in ordered if path not in parsed.unread]
    if ordered or parsed.mistakes:
        lines = parsed.lines
        every = [*parsed.mistakes, *(_with_line(each, path, lines) for path, each in ordered)]
        raise SpecError(name, sorted(every, key=lambda each: each.line or 0))
    return validated(resolved(settled, spec, base))


def _below(path: KeyPath, tops: set[KeyPath]) -> bool:
    return any(path[:length] in tops for length in range(1, len(path) + 1))


def _with_line(each: Mistake, path: KeyPath, lines: dict[KeyPath, int]) -> Mistake:
    """The mistake with the line of its key; a missing key has that of its mapping."""
    while path and path not in lines:
        path = path[:-1]
    line = lines.get(path) if path else None
    return Mistake(each.path, each.value, each.expected, each.suggestion, line)


def _read(path: str | Path) -> tuple[str, bytes]:
    """The folder that relative paths start from, and the bytes of the file."""
    place = str(path)
    scheme = scheme_of(place)
    if holds_credentials(place):
        raise UsageError(
            "the spec's URI carries a user name, a password or a signature (not shown): expected "
            "a URI without; give credentials to the environment"
        )
    if scheme is not None and scheme != "file":
        return place.rsplit("/", 1)[0], _read_uri(place)
    file = Path(absolute(place, str(Path.cwd())))
    try:
        return str(file.parent), file.read_bytes()
    except FileNotFoundError:
        raise UsageError(
            f"{place}: no such file: expected a space's YAML file; {_other(file)}"
        ) from None
    except IsADirectoryError:
        raise UsageError(
            f"{place} is a folder: expected a space's YAML file; {_inside(file)}"
        ) from None
    except OSError as error:
        raise UsageError(
            f"{place} cannot be read ({error.strerror}): expected a space's YAML file; "
            "check its permissions"
        ) from error


def _read_uri(uri: str) -> bytes:
    import fsspec

    try:
        with fsspec.open(uri, "rb") as file:
            return file.read()  # type: ignore[missing-attribute]  # typed as a list by fsspec
    except ImportError as error:
        # fsspec says which package speaks the scheme: "Install s3fs to access S3".
        raise UsageError(f"{uri} cannot be read: {error}; or copy the file here") from error
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{uri} cannot be read ({type(error).__name__}: {error}): expected a space's YAML "
            "file; check the URI and the credentials in the environment"
        ) from error


def _yaml_files(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(each.name for each in folder.iterdir() if each.suffix in (".yaml", ".yml"))


def _other(file: Path) -> str:
    if not file.parent.is_dir():
        return f"there is no folder {file.parent}"
    close = nearest(file.name, _yaml_files(file.parent))
    return f"did you mean {file.with_name(close)}?" if close else EXAMPLE


def _inside(folder: Path) -> str:
    names = _yaml_files(folder)
    return f"name one of {', '.join(names[:5])}" if names else EXAMPLE
