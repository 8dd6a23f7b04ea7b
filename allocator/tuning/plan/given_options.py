"""Options that are given by name in Python, as the configuration of a search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args, get_origin

from allocator.config import TrainingConfig, default_model_cache, fallback_data_dir
from allocator.errors import AllocatorError, UnknownNameError
from allocator.files.yaml_files import validate_mapping
from allocator.tuning.plan.search_config import SearchConfig

_OF_THE_CALL = frozenset(
    "train dev text label classes regression metric preprocessor quiet".split()
)
_FROM_ENVIRONMENT = ("fallback_data_dir", "model_cache")


def make_search_config(options: Mapping[str, object]) -> SearchConfig:
    """Make the configuration of a search.

    Args:
        options: The command's options by their names, with underscores. Several names, as of
            rivals, may be a list, or separated by commas as in the command.

    Raises:
        AllocatorError: If an option does not exist, or a value breaks its rule.
    """
    fields = {**SearchConfig.model_fields, **TrainingConfig.model_fields}
    known = fields.keys() - {"training", *_FROM_ENVIRONMENT}
    content: dict[object, object] = {}
    training: dict[object, object] = {}
    for name, value in options.items():
        if name not in known:
            raise UnknownNameError("option", name, known | _OF_THE_CALL)
        kinds = (fields[name].annotation, *get_args(fields[name].annotation))
        is_listed = isinstance(value, str) and any(get_origin(kind) is tuple for kind in kinds)
        group = training if name in TrainingConfig.model_fields else content
        group[name] = tuple(filter(None, str(value).split(","))) if is_listed else value
    content |= {
        "training": training,
        "fallback_data_dir": fallback_data_dir(),
        "model_cache": default_model_cache(),
    }
    return validate_mapping(content, SearchConfig, origin="search", error=AllocatorError)
