"""The parts of a run, and how much of its time each of them takes."""

from __future__ import annotations

from allocator.progress.time_left import Part
from allocator.training.loop import EVALUATION_COST
from allocator.tuning.plan.search_plan import Plan
from allocator.tuning.storage.study_config import StudyConfig
from allocator.tuning.study.goal import Goal

TRAININGS, VERDICT, FIGURES = "trainings", "verdict", "figures"

DRAWING = "drawing figures, the pictures with a browser"
"""What is done in the part `FIGURES`, in words."""

_PICTURES = Part(seconds=12.0)  # on 2 cores, of which a browser takes 6

# What a training on all of train takes by itself, in trainings of a pack, which hold out a quarter.
# On a CPU a pack trains 1.6 times as many sentences a second as one training does. On a GPU, which
# one training leaves all but idle, it is taken to be six times; that part is a small one.
_ALONE = {"cpu": 2.1, "cuda": 8.0}
_START = 8.0  # seconds in which a process loads the packages, the model and the data


def list_parts(trainings: int) -> dict[str, Part]:
    """List the parts of a run that makes trainings and draws what came out, in their order."""
    return {TRAININGS: Part(trainings=trainings), FIGURES: _PICTURES}


def name_choice_part(place: int) -> str:
    """Name the part in which the choice of one of the budgets is trained on all of train."""
    return f"choice {place}"


def list_search_parts(goal: Goal, plan: Plan[StudyConfig]) -> dict[str, Part]:
    """List the parts of a search that trains until its goal, in their order."""
    parts = {TRAININGS: Part(trainings=goal.trials)}
    if plan.recorded.select_on != "dev":  # otherwise all were trained on all of train
        alone = Part(trainings=_ALONE.get(plan.devices.kind, _ALONE["cpu"]), seconds=_START)
        parts |= {name_choice_part(place): alone for place in range(goal.budgets)}
    setup, training = plan.setup, plan.setup.training
    evaluated = training.num_boundaries * setup.num_scoring
    per_training = training.epochs * setup.num_train + EVALUATION_COST * evaluated
    # Answers to dev, and to what was held out, by which a threshold is chosen.
    answered = (goal.trials - goal.num_search) * (len(plan.data.dev) + setup.num_scoring)
    scoring = Part(trainings=EVALUATION_COST * answered / per_training, seconds=1.0)
    return parts | {VERDICT: scoring, FIGURES: _PICTURES}
