"""An attached adapter under transformers' Trainer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
)

from allocator.files.recipe import Recipe
from allocator.models.attached import Attached, attach


@pytest.fixture
def model(tiny_bert: Path) -> PreTrainedModel:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    assert isinstance(model, PreTrainedModel)
    model.activation_checkpointing_enable()
    return model


def trainer_of(attached: Attached, recipe: Recipe, folder: Path) -> Trainer:
    groups = [dict(group) for group in attached.parameter_groups(recipe)]
    ids = torch.randint(4, 100, (32, 7), generator=torch.Generator().manual_seed(0))
    data = Dataset.from_dict({"input_ids": ids.tolist(), "labels": [0, 1] * 16})
    return Trainer(
        attached.model,
        TrainingArguments(
            str(folder),
            num_train_epochs=3,
            eval_strategy="epoch",
            save_strategy="epoch",
            load_best_model_at_end=True,
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
            gradient_accumulation_steps=2,
        ),
        train_dataset=data,
        eval_dataset=data,
        optimizers=(torch.optim.AdamW(groups), None),
    )


def test_the_best_checkpoint_comes_back_adapter_and_head(
    model: PreTrainedModel, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    attached = attach(model, tiny_recipe)
    trainer = trainer_of(attached, tiny_recipe, tmp_path)
    trainer.train()
    losses = [e["eval_loss"] for e in trainer.state.log_history if "eval_loss" in e]
    assert losses[-1] < losses[0]
    assert trainer.state.best_model_checkpoint is not None
    best = load_file(Path(trainer.state.best_model_checkpoint) / "model.safetensors")
    trained = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    torch.testing.assert_close({n: best[n] for n in trained}, trained, rtol=0, atol=0)
    assert best.keys() == model.state_dict().keys()


def test_training_goes_on_from_a_checkpoint(
    model: PreTrainedModel, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    attached = attach(model, tiny_recipe)
    trainer_of(attached, tiny_recipe, tmp_path).train()
    expected = attached.adapter.zero_part.detach().clone()
    with torch.no_grad():
        attached.adapter.zero_part.zero_()
    resumed = trainer_of(attached, tiny_recipe, tmp_path)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    torch.testing.assert_close(attached.adapter.zero_part.detach(), expected)


def test_a_folder_saved_with_the_adapter_on_loads_as_the_backbone_and_the_trained_head(
    model: PreTrainedModel, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    attached = attach(model, tiny_recipe)
    with torch.no_grad():
        for part in (attached.adapter.zero_part, *attached.head_state_dict().values()):
            part.add_(0.1)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    own = {n: v for n, v in model.state_dict().items() if not n.startswith("allocator.")}
    torch.testing.assert_close(loaded.state_dict(), own, rtol=0, atol=0)
