"""What can be told to be wrong from the words of a command alone, within a second or two.

Nothing here imports PyTorch, transformers or datasets, which take many seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from allocator.data.glue import find_glue_task
from allocator.data.task_schema import read_task_words
from allocator.data.tasks import SYNTHETIC, is_task_file
from allocator.errors import UnknownNameError
from allocator.files.recipe import read_recipe
from allocator.files.study_folder import require_study
from allocator.models.packaged_models import require_model_name
from allocator.tuning.names import STUDY_PRIOR, KindName
from allocator.tuning.plan.run_config import RunConfig, SpaceConfig
from allocator.tuning.plan.search_config import SearchConfig
from allocator.tuning.space.space_file import read_space


def check_words(config: RunConfig) -> None:
    """Refuse names and files of a command that do not exist, before anything slow is imported.

    Raises:
        AllocatorError: For the first mistake.
    """
    if isinstance(config, SpaceConfig):
        read_space(config.space)
    require_model_name(config.model)
    _require_task(config.task)
    if isinstance(config, SearchConfig):
        _check_search(config)


def _require_task(name: str) -> None:
    if is_task_file(name):
        read_task_words(Path(name))
    elif name != SYNTHETIC:
        find_glue_task(name)


def _check_search(config: SearchConfig) -> None:
    for name in config.rivals or ():
        kind = name.partition(":")[0]
        if kind not in get_args(KindName):
            raise UnknownNameError("rival", kind, get_args(KindName))
    for path in config.start:
        read_recipe(path)
    if config.prior.startswith(STUDY_PRIOR):
        require_study(config.studies_dir / config.prior.removeprefix(STUDY_PRIOR))
    if config.storage is not None:
        # Imported here, because it takes a second, and most searches have a storage of their own.
        from allocator.tuning.storage.storage_url import require_url  # noqa: PLC0415

        require_url(config.storage)
