"""The sections of a report that answer: which ranks, how small, why, and how sure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from allocator.allocation.adapter_shape import AdapterShape
from allocator.tuning.evidence.choice import Selection
from allocator.tuning.evidence.effect_sentences import describe_effects
from allocator.tuning.evidence.marginal_effects import MarginalEffect
from allocator.tuning.report.sections import Section
from allocator.tuning.screen.front_table import describe_smallest, make_front_table
from allocator.tuning.screen.result_table import make_choice_table
from allocator.tuning.screen.told_effects import name_base
from allocator.tuning.screen.verdict_table import describe_verdict, make_verdict_tables
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.study.verdict import StudyVerdict
from allocator.tuning.study.write_front import WrittenFront


def make_answer_section(study: SearchStudy, front: WrittenFront) -> Section:
    """Answer which allocation is best, and what it is better than."""
    selection, verdict = front.best.selection, front.best.verdict
    return Section(
        title="Which ranks, and are they better?",
        paragraphs=[
            _describe_choice(study, selection),
            *describe_verdict(study, selection, verdict),
            *_describe_lora(study, selection),
            "Lambda is the learning rate of the part that starts at zero (Tucker's core, LoRA's B) "
            f"over that of the rest. {_explain_calibration(study)}",
        ],
        tables=[
            make_choice_table(study, selection),
            *(make_verdict_tables(study, selection, verdict) if verdict is not None else ()),
        ],
    )


def make_sureness_section(study: SearchStudy, front: WrittenFront) -> Section:
    """Answer how sure the answer is."""
    verdict = front.best.verdict
    paragraphs = [
        "The search chose by what it expects of every allocation that it tried, from all their "
        "seeds together. The picture shows the leaders: an allocation whose bar crosses the dashed "
        "line cannot be told from the choice.",
        *_explain_ranks(study),
    ]
    if verdict is not None and verdict.versus:
        paragraphs.append(_describe_design(study, verdict))
    else:
        paragraphs.append(
            "Nothing was proved on new seeds and dev, so the choice may owe much to luck."
        )
    return Section(title="How sure is it?", paragraphs=paragraphs, figures=["race"])


def make_size_section(study: SearchStudy, front: WrittenFront) -> Section:
    """Answer how small an adapter could be."""
    title = "How small could it be?"
    selections = [choice.selection for choice in front.choices]
    if not study.config.smaller_budgets:
        budgets = ",".join(str(study.config.budget // part) for part in (4, 2, 1))
        return Section(
            title=title,
            paragraphs=[
                "This search had one budget. Several at once, such as "
                f"--budget {budgets}, are searched in one study, which then names the smallest "
                "adapter that is as good as can be told."
            ],
        )
    if len(selections) == 1:
        return Section(
            title=title,
            paragraphs=["No allocation within a smaller budget trained without a collapse."],
        )
    smallest = front.smallest
    told = describe_smallest(study, smallest.selection, selections[-1], smallest.path)
    return Section(
        title=title,
        paragraphs=[f"{told.removesuffix('.')}.", *_explain_ranks(study)],
        tables=[make_front_table(study, selections)],
        figures=["front"],
    )


def make_reason_section(
    study: SearchStudy, front: WrittenFront, effects: Sequence[MarginalEffect]
) -> Section:
    """Answer why: what every rank and rate does."""
    title = "Why these?"
    if not effects:
        return Section(
            title=title,
            paragraphs=["Nothing can be told: no allocation of a searched rank or rate is sound."],
        )
    return Section(
        title=title,
        paragraphs=[
            f"What the trainings tell of the {study.objective.name} if one rank or rate is "
            f"changed, and all else is as in {name_base(study.space, front.best.selection)}:"
        ],
        points=describe_effects(effects),
        figures=["effects"],
    )


def _describe_choice(study: SearchStudy, selection: Selection) -> str:
    params = selection.best.allocation.params
    allocation, size = study.space.make_allocation(params), study.space.num_parameters(params)
    shape = study.space.find_variant(params).shape
    return (
        f"Within {selection.budget:,} parameters: {_name_kind(shape)}, "
        f"{_name_ranks(allocation.ranks)} ({size:,} parameters), lambda "
        f"{allocation.core_lr_multiplier:.3g}, learning rate {allocation.learning_rate:.2e}."
    )


def _name_kind(shape: AdapterShape) -> str:
    targets = ", ".join(shape.backbone.targets)
    if shape.factorization == "matrix":
        return f"LoRA on {targets}"
    return f"{shape.construction}, {shape.factorization} on {targets}"


def _explain_calibration(study: SearchStudy) -> str:
    if not study.config.task.labels:
        return "A calibrated squared error is that after the best line through the predictions."
    return "A calibrated loss is the loss after the best scale and biases of the answers."


def _explain_ranks(study: SearchStudy) -> list[str]:
    """Say in which order ranks are listed; a single rank needs no order."""
    variants = study.space.without_rivals.variants
    names: tuple[str, ...] = ("input", "output or head_dim and heads", "qkv", "depth or site")
    if len(variants) == 1:
        names = tuple(variants[0].rank_parameters)
    return [f"Ranks are listed in the order {', '.join(names)}."] if len(names) > 1 else []


def _name_ranks(ranks: Mapping[str, int]) -> str:
    if list(ranks) == ["rank"]:
        return f"rank {ranks['rank']}"
    return "ranks " + ", ".join(f"{name} {rank}" for name, rank in ranks.items())


def _describe_lora(study: SearchStudy, selection: Selection) -> list[str]:
    """Say that the choice was compared with no LoRA, if so."""
    names = [name for name in study.config.rivals if name.partition(":")[0] == "lora"]
    params = selection.best.allocation.params
    if names or study.space.find_variant(params).shape.factorization == "matrix":
        return []
    return [
        "It was compared with no LoRA: in another study, --rivals lora:8 compares with a LoRA of "
        "rank 8, whatever its size."
    ]


def _describe_design(study: SearchStudy, verdict: StudyVerdict) -> str:
    differences = [v.find_deciding(study.config.decide_by) for v in verdict.versus.values()]
    seeds = len(verdict.seeds)
    if not all(difference.covers_seeds for difference in differences):
        return (
            f"The verdict is from {seeds} new {'seed' if seeds == 1 else 'seeds'} and from dev: "
            "its intervals say nothing of other seeds."
        )
    if study.config.select_on == "dev":
        return (
            f"The verdict is from {seeds} seeds that made no choice, but from dev, on which the "
            "choice was made: its intervals are for other seeds, and are optimistic."
        )
    return (
        f"The verdict is from {seeds} seeds that made no choice and from dev, which was scored "
        "once. Its intervals are for other seeds and other examples of the same kind. What is not "
        "distinguishable need not be equal: the difference may be too small for so many seeds."
    )
