"""Load a pretrained model with a classification head for a task."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import (
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)

from allocator.allocation.constructions import BackboneShape
from allocator.errors import AllocatorError, ModelError
from allocator.models.head_parameters import find_head_parameters
from allocator.models.model_config import read_config, reads_images, silence_loading
from allocator.models.model_source import ModelSource
from allocator.models.preprocessors import load_tokenizer
from allocator.models.projections import find_backbone_shape


def choose_auto_class(
    source: ModelSource,
) -> type[AutoModelForImageClassification | AutoModelForSequenceClassification]:
    """Choose transformers' class for a model with a classification head."""
    if reads_images(source):
        return AutoModelForImageClassification
    return AutoModelForSequenceClassification


def read_backbone_shape(source: ModelSource, targets: Sequence[str]) -> BackboneShape:
    """Read the shape of a model's backbone, without loading its weights.

    Raises:
        ModelError: If transformers has no classification model of this kind, or the model lacks
            targets.
    """
    try:
        # Modules on the meta device have shapes, but no memory for weights.
        with torch.device("meta"):
            model = choose_auto_class(source).from_config(read_config(source))  # type: ignore[no-untyped-call]
        return find_backbone_shape(model, targets)
    # What `find_backbone_shape` refuses says more than "cannot be built".
    except AllocatorError:
        raise
    except Exception as problem:  # noqa: BLE001  # a model's own code may raise anything
        raise ModelError(
            f"model {source.name!r} cannot be built: {describe_error(problem)}"
        ) from None


def load_classifier(
    source: ModelSource,
    num_labels: int,
    *,
    labels: Sequence[str] = (),
    is_multi_label: bool = False,
    attention: str | None = None,
    has_dropout: bool = True,
) -> tuple[PreTrainedModel, frozenset[str]]:
    """Load a model with a head for a task, even if its checkpoint was trained for another.

    The task sets the number of outputs and the kind of problem, and the tokenizer sets the padding
    token; the checkpoint's configuration of these is ignored.

    Args:
        source: The pretrained model.
        num_labels: Number of classes; 1 for regression.
        labels: Names of the classes, to be saved with the model; empty to leave them out.
        is_multi_label: Whether an input may have any number of the labels, which the saved model
            then says.
        attention: Name of an attention function; None for the model's own.
        has_dropout: Whether the model keeps its dropout, which acts in training mode.

    Returns:
        The model, in float32 on the CPU and in evaluation mode; and the names of the parameters of
        its head that the checkpoint lacks or has in another shape, which have new random values.

    Raises:
        ModelError: If the model cannot be loaded, or its checkpoint lacks weights of the backbone.
    """
    silence_loading()
    config = _make_config(source, num_labels)
    if is_multi_label:
        config.problem_type = "multi_label_classification"
    # After `num_labels` is set, which replaces both dictionaries.
    if labels or num_labels == 1:
        config.id2label = dict(enumerate(labels or ("score",)))
        config.label2id = {label: number for number, label in config.id2label.items()}
    if not has_dropout:
        _remove_dropout(config)
    try:
        model, report = choose_auto_class(source).from_pretrained(
            source.folder,
            config=config,
            ignore_mismatched_sizes=True,  # of a classifier for other classes
            dtype=torch.float32,
            attn_implementation=attention,
            output_loading_info=True,
        )
    # It keeps its class, because a caller may go on with the processor.
    except torch.OutOfMemoryError:
        raise
    except Exception as problem:  # noqa: BLE001  # as above
        raise ModelError(
            f"model {source.name!r} cannot be loaded: {describe_error(problem)}"
        ) from None
    assert isinstance(model, PreTrainedModel)
    # As in CLIP, whose head cannot be told from its backbone.
    if model.base_model is model:
        raise ModelError(
            f"model {source.name!r} has no backbone separate from its head ({type(model).__name__})"
        )
    # A head may start anew, but a backbone must be complete.
    missing = frozenset({*report["missing_keys"], *(n for n, *_ in report["mismatched_keys"])})
    prefix = f"{model.base_model_prefix}."
    of_head = find_head_parameters(model, trains_pooler=True)
    of_backbone = {name for name, _ in model.named_parameters()} - of_head.keys()
    if lacking := sorted(missing & of_backbone):
        raise ModelError(
            f"model {source.name!r} lacks {len(lacking)} weights of its backbone, "
            f"{lacking[0].removeprefix(prefix)} the first; its config.json belongs to other weights"
        )
    return model.eval(), missing & of_head.keys()


def _make_config(source: ModelSource, num_labels: int) -> PretrainedConfig:
    """Read a model's configuration, and change it for the task and the tokenizer."""
    config = read_config(source)
    config.num_labels = num_labels
    config.problem_type = "regression" if num_labels == 1 else "single_label_classification"
    if not reads_images(source):
        # Decoders' heads read the last token that is not padding, and find it by this id.
        for part in (config, config.get_text_config()):
            if hasattr(part, "pad_token_id"):
                part.pad_token_id = load_tokenizer(source).pad_token_id
    return config


def _remove_dropout(config: PretrainedConfig) -> None:
    """Set every kind of dropout to 0, including that of layers and paths, under any name."""
    for name, value in vars(config).items():
        if isinstance(value, PretrainedConfig):
            _remove_dropout(value)
        elif "drop" in name and isinstance(value, int | float) and not isinstance(value, bool):
            setattr(config, name, type(value)(0))  # some configurations check the type


def describe_error(problem: Exception) -> str:
    """Describe an error of another library in one line: its type and its first line."""
    text = str(problem).strip()
    return f"{type(problem).__name__}: {text.splitlines()[0]}" if text else type(problem).__name__
