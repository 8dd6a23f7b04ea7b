"""Read what TensorBoard would show."""

from __future__ import annotations

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def read_runs(folder: Path) -> dict[str, EventAccumulator]:
    """Read the runs of a folder, by the names of their folders."""
    runs = {path.name: EventAccumulator(str(path)) for path in sorted(folder.iterdir())}
    for run in runs.values():
        run.Reload()
    return runs


def read_curve(run: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    """Read a curve of a run: step and value."""
    return [(event.step, event.value) for event in run.Scalars(tag)]


def read_text(run: EventAccumulator, tag: str) -> str:
    """Read the last text of a run."""
    text: bytes = run.Tensors(f"{tag}/text_summary")[-1].tensor_proto.string_val[0]
    return text.decode()
