"""Make the options of a command from the fields of its configuration class."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Literal, TypeVar, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import DirectoryPath
from pydantic.fields import FieldInfo

from allocator.command_line.parser import (
    parse_budgets,
    parse_choice,
    parse_folder,
    parse_integer,
    parse_number,
)
from allocator.config import (
    Budget,
    Config,
    Option,
    TrainingConfig,
    default_model_cache,
    fallback_data_dir,
)
from allocator.tuning.plan.run_config import RunConfig

Asked = TypeVar("Asked", bound=RunConfig)

# In the order in which `--help` shows them.
_GROUPS = ("search", "sweep", "task", "data", "training", "devices", "study")


def add_options(
    parser: argparse.ArgumentParser, config: type[Config], names: Sequence[str] | None = None
) -> None:
    """Add the options that the fields of a configuration describe, each under its group.

    Args:
        parser: The command's parser.
        config: Class of the configuration.
        names: Fields to add; None for all that have an option.
    """
    fields = [f for f in _list_option_fields(config) if names is None or f[0] in names]
    for group in _GROUPS:
        heading = None
        for name, field, option in fields:
            if option.group == group:
                heading = heading or parser.add_argument_group(group)
                _add_option(heading, name, field, option)


def read_config(config: type[Asked], arguments: argparse.Namespace) -> Asked:
    """Build the configuration of a command that trains, from its options and the environment."""
    training = {name: getattr(arguments, name) for name in TrainingConfig.model_fields}
    own = {
        name: getattr(arguments, name)
        for name, _, _ in _list_option_fields(config)
        if name not in training
    }
    return config(
        **own,
        training=TrainingConfig(**training),
        fallback_data_dir=fallback_data_dir(),
        model_cache=default_model_cache(),
    )


def _list_option_fields(config: type[Config]) -> Iterator[tuple[str, FieldInfo, Option]]:
    for name, field in config.model_fields.items():
        # Options of the nested configuration stand beside the command's own.
        if field.annotation is TrainingConfig:
            yield from _list_option_fields(TrainingConfig)
        for option in field.metadata:
            if isinstance(option, Option):
                yield name, field, option


def _add_option(
    group: argparse._ArgumentGroup, name: str, field: FieldInfo, option: Option
) -> None:
    is_required = field.is_required()
    default = None if is_required else field.default
    if option.is_positional:
        group.add_argument(
            name,
            type=_make_value_parser(name, field, option),
            metavar=option.metavar,
            help=option.help,
        )
        return
    flag = f"--{name.replace('_', '-')}"
    # A flag can only turn something on, so such a field is off by default.
    if field.annotation is bool:
        group.add_argument(flag, action="store_true", help=option.help)
        return
    if field.annotation == tuple[Path, ...]:
        group.add_argument(
            flag, type=Path, action="append", default=[], metavar=option.metavar, help=option.help
        )
        return
    parse = _make_value_parser(name, field, option)
    group.add_argument(
        flag,
        type=_accept_auto(parse) if option.has_auto else parse,
        required=is_required,
        # argparse parses a default that is text: help shows `auto`, and the result is None.
        default="auto" if option.has_auto else default,
        metavar=option.metavar or _make_metavar(field, option),
        help=option.help,
    )


def _make_value_parser(name: str, field: FieldInfo, option: Option) -> Callable[[str], object]:
    """Make the function that parses the value of a field and checks its type and bounds."""
    noun = option.noun or name.replace("_", " ")
    kind = _list_types(field)[0]
    # Pydantic keeps the bounds of a `Field` as annotated_types' Ge, Gt, Le and Lt.
    bounds = {type(bound): bound for bound in field.metadata}
    if get_origin(kind) is Literal:
        return partial(parse_choice, kind=noun, choices=get_args(kind))
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        return parse_budgets if item == Budget else partial(_parse_list, noun=noun, item=item)
    if kind is int:
        # A field without the bound that is looked up here fails as the parser is made.
        return partial(parse_integer, minimum=bounds[Ge].ge)
    if kind is float:
        return partial(
            parse_number,
            **{"above": bounds[Gt].gt} if Gt in bounds else {"minimum": bounds[Ge].ge},
            **{"below": bounds[Lt].lt} if Lt in bounds else {},
            **{"maximum": bounds[Le].le} if Le in bounds else {},
        )
    if kind is Path:
        return Path
    return parse_folder if kind == DirectoryPath else str


def _parse_list(text: str, *, noun: str, item: object) -> tuple[str, ...]:
    """Parse names separated by commas, without duplicates."""
    names = tuple(dict.fromkeys(entry for entry in text.split(",") if entry))
    if get_origin(item) is Literal:
        for entry in names:
            parse_choice(entry, kind=noun, choices=get_args(item))
    return names


def _accept_auto(parse: Callable[[str], object]) -> Callable[[str], object]:
    """Extend a parser by the word `auto`, which stands for None."""

    def parse_or_auto(text: str) -> object:
        try:
            return None if text == "auto" else parse(text)
        except argparse.ArgumentTypeError as mistake:
            raise argparse.ArgumentTypeError(f"{mistake}; or auto") from None

    return parse_or_auto


def _make_metavar(field: FieldInfo, option: Option) -> str:
    kind = _list_types(field)[0]
    if get_origin(kind) is Literal:
        return "{" + ",".join([*["auto"] * option.has_auto, *get_args(kind)]) + "}"
    return "N" if kind is int else "X"


def _list_types(field: FieldInfo) -> list[object]:
    """List the types that a field's value may have, without None."""
    annotation = field.annotation
    # The arguments of a tuple are its items, and those of a Literal its values.
    is_union = get_origin(annotation) not in (tuple, Literal) and get_args(annotation)
    types = get_args(annotation) if is_union else (annotation,)
    return [kind for kind in types if kind is not NoneType]
