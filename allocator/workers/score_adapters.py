"""Let saved adapters answer examples that they were not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from allocator.adapters.saved import load_adapter, read_shapes, require_shapes
from allocator.data.tasks import Examples
from allocator.inputs.reader import load_reader
from allocator.training.evaluation import Answers, answer_examples, answer_majority
from allocator.training.pack import Pack
from allocator.training.slot import Slot
from allocator.workers.setup import TrainingSetup, load_frozen_backbone


class AdapterScorer:
    """Lets saved adapters, with their heads, answer examples.

    Saved answers are calibrated, which changes no class and no correlation.

    Args:
        setup: The setup of the workers that trained them.
        device: The device to use.
    """

    def __init__(self, setup: TrainingSetup, device: str) -> None:
        self._setup = setup
        self._backbone = load_frozen_backbone(setup, torch.device(device))
        self._read = load_reader(
            *(setup.model, setup.task),
            max_length=setup.training.max_length,
            device=self._backbone.device,
        )

    def answer(self, paths: Sequence[Path | None], examples: Examples) -> list[Answers]:
        """Let adapters answer examples.

        Args:
            paths: Files of the adapters; None for a training that collapsed, in whose place the
                class shares of train answer.
            examples: The examples.

        Returns:
            The answers of each adapter, in the order of `paths`.

        Raises:
            CheckpointError: If a file is missing or damaged, or its head is not that of the setup.
        """
        setup, split = self._setup, self._read(examples)
        slots = [self._load_slot(path) for path in paths if path is not None]
        pack = Pack(self._backbone, slots, width=max(1, len(slots)))
        answers = iter(answer_examples(pack, split, setup.task.metric)) if slots else iter(())
        majority = answer_majority(
            *(setup.train.labels, split, setup.task.metric), num_labels=setup.task.num_labels
        )
        return [majority if path is None else next(answers) for path in paths]

    def _load_slot(self, path: Path) -> Slot:
        saved = load_adapter(path)
        expected = self._backbone.head.trained_state_dict()
        # `Slot.load` would fill a head that is incomplete with fresh random parameters.
        require_shapes(path, read_shapes(saved.head), read_shapes(expected))
        return Slot.load(saved, self._backbone, seed=self._setup.training.seed)
