"""Read and write YAML files, with a schema and one-line descriptions of mistakes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import TypeVar, get_args, get_type_hints

import yaml
from pydantic import BaseModel, ValidationError

from allocator.errors import AllocatorError, describe_unknown
from allocator.files.whole_files import write_whole

Model = TypeVar("Model", bound=BaseModel)
_LONGEST = 200  # characters of a value that a message shows
# Besides its own errors PyYAML raises Python's, for a 13th month or an invalid !!bool.
_NOT_YAML = (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError)
_UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")  # in a model, in a dataclass


def read_yaml(
    path: Path, model: type[Model], *, error: type[AllocatorError], what: str = ""
) -> Model:
    """Read a YAML file with the safe loader and validate it.

    Args:
        path: The file, UTF-8.
        model: Schema of its mapping.
        error: Class of the error to raise.
        what: Kind of file, for messages, such as `task file `.

    Raises:
        AllocatorError: Of class `error`, naming the file, the key, the rule and the value.
    """
    content = read_yaml_mapping(path, error=error, what=what)
    return validate_mapping(content, model, origin=str(path), error=error)


def read_yaml_mapping(
    path: Path, *, error: type[AllocatorError], what: str = ""
) -> Mapping[object, object]:
    """Read a YAML file with the safe loader; arguments and errors as for `read_yaml`."""
    if not path.is_file():
        raise error(f"{what}{path} does not exist")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise error(f"{what}{path} is not text in UTF-8") from None
    try:
        content = yaml.safe_load(text)
    except _NOT_YAML as problem:
        raise error(f"{path} is not YAML: {' '.join(str(problem).split())}") from None
    if not isinstance(content, dict):
        raise error(f"{path} must be a YAML mapping, got {type(content).__name__}")
    return content


def write_yaml(path: Path, content: BaseModel, comment: str) -> None:
    """Write a model as YAML under a comment; the file appears whole or not at all."""
    # Unsorted: the schema's order is the one to read the fields in.
    body = yaml.safe_dump(
        content.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100
    )
    header = "".join(f"# {line}\n" for line in comment.splitlines())
    write_whole(path, (header + body).encode())


def validate_mapping(
    content: Mapping[object, object],
    model: type[Model],
    *,
    origin: str,
    error: type[AllocatorError],
) -> Model:
    """Validate a mapping against a schema.

    Args:
        content: The mapping.
        model: The schema.
        origin: Origin of the mapping, for messages.
        error: Class of the error to raise.

    Raises:
        AllocatorError: Of class `error`, naming the origin, the key, the rule and the value.
    """
    try:
        return model.model_validate(content)
    except ValidationError as problem:
        raise error(f"{origin}: {_describe_mistake(problem, model, content)}") from None


def _describe_mistake(
    problem: ValidationError, model: type[BaseModel], content: Mapping[object, object]
) -> str:
    """Describe the mistake that is most useful for correcting a file.

    An unknown key comes first, because a misspelt key explains why another one is missing. A number
    that is not finite comes next: if a value may have other types too, pydantic also complains
    about those, which does not help.
    """
    mistakes = problem.errors()
    unknown_keys = [m for m in mistakes if m["type"] in _UNKNOWN_KEY]
    infinite = [m for m in mistakes if m["type"] == "finite_number"]
    first = (unknown_keys or infinite or mistakes)[0]
    parts = [str(part) for part in first["loc"]]
    if unknown_keys:
        place, known_keys = _locate_mapping(model, parts[:-1])
        message = describe_unknown("key", parts[-1], known_keys)
    else:
        # In a union pydantic adds names of types, which only the content tells from keys.
        place = _join_keys(content, first["loc"]) if infinite else _locate_mapping(model, parts)[0]
        message = f"{first['msg']}, got {_format_value(first['input'])}"
    return f"{place}: {message}" if place else message


def _join_keys(content: object, parts: Sequence[int | str]) -> str:
    """Join the keys that lead to a value, without the names of types that pydantic adds."""
    keys = []
    for part in parts:
        try:
            content = content[part]  # type: ignore[index]  # TypeError if it cannot be indexed
        except (LookupError, TypeError):
            continue  # the name of a type
        keys.append(str(part))
    return ".".join(keys)


def _format_value(value: object) -> str:
    """Format a value for a message, shortened if it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python formats no integer of more than 4,300 digits
        return "a number of too many digits"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _locate_mapping(model: type, parts: Sequence[str]) -> tuple[str, set[str]]:
    """Return the keys that lead to a mapping inside a model, and the keys that it may have.

    The names of types and validators that pydantic adds are left out.
    """
    schemas, keys = {model}, []
    for part in parts:
        # A value of several types has several schemas, until pydantic names the chosen one.
        fields = {name: hint for schema in schemas for name, hint in _list_fields(schema).items()}
        if part in fields:
            schemas = set(_list_schemas(fields[part]))
        elif chosen := {schema for schema in schemas if schema.__name__ == part}:
            schemas = chosen
            continue
        # What is left over in brackets is a type or a validator, such as `function-after[...]`.
        if not re.search(r"[\[\]()]", part):
            keys.append(part)
    return ".".join(keys), {name for schema in schemas for name in _list_fields(schema)}


def _list_fields(schema: type) -> dict[str, object]:
    if issubclass(schema, BaseModel):
        return {name: field.annotation for name, field in schema.model_fields.items()}
    return dict(get_type_hints(schema))


def _list_schemas(hint: object) -> Iterator[type]:
    """List the models and dataclasses that a type is made of."""
    if isinstance(hint, type) and (issubclass(hint, BaseModel) or is_dataclass(hint)):
        yield hint
    for part in get_args(hint):
        yield from _list_schemas(part)
