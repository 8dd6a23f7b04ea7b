import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor

from allocator.data.formats.image_folder import read_image_folder
from allocator.data.glue import find_glue_task
from allocator.data.task_file import read_task_file
from allocator.data.tasks import Examples
from allocator.errors import ModelError
from allocator.inputs.batches import iterate_by_length, order_epoch
from allocator.inputs.images import ImageSplit, decode_images
from allocator.inputs.reader import load_reader
from allocator.models.model_source import ModelSource, locate_model
from allocator.models.preprocessors import load_image_processor

CPU = torch.device("cpu")


def source_of(folder: Path) -> ModelSource:
    return locate_model(str(folder), folder / "no-cache")


@pytest.fixture
def dev(tiny_image_models: dict[str, Path], image_folder: Path) -> ImageSplit:
    """The images of dev for the tiny ViT."""
    processor = load_image_processor(source_of(tiny_image_models["vit"]))
    return decode_images(read_image_folder(image_folder)[2], processor, CPU)


@pytest.mark.parametrize("kind", ["vit", "deit", "dinov2"])
def test_a_batch_is_what_the_models_processor_makes(
    kind: str, tiny_image_models: dict[str, Path], image_folder: Path
) -> None:
    _, _, examples = read_image_folder(image_folder)
    reference = AutoImageProcessor.from_pretrained(tiny_image_models[kind], backend="pil")
    images = [Image.open(examples.inputs[i][0]) for i in (7, 0, 12)]
    expected = reference(images, return_tensors="pt")["pixel_values"]
    split = decode_images(examples, load_image_processor(source_of(tiny_image_models[kind])), CPU)
    assert split.pixels_NCHW.dtype == torch.uint8
    batch = split.make_batch([7, 0, 12], CPU)
    torch.testing.assert_close(batch.inputs["pixel_values"], expected)
    assert batch.labels.tolist() == [examples.labels[i] for i in (7, 0, 12)]


def test_a_turned_photograph_is_turned_back(
    tiny_image_models: dict[str, Path], tmp_path: Path
) -> None:
    pixels = np.zeros((16, 16, 3), dtype=np.uint8)
    pixels[:8] = 255  # its upper half
    orientation = Image.Exif()
    orientation[0x0112] = 3  # half a turn
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=orientation)
    examples = Examples(inputs=((str(tmp_path / "turned.png"),),), labels=(0,))
    split = decode_images(examples, load_image_processor(source_of(tiny_image_models["vit"])), CPU)
    assert split.pixels_NCHW[0, :, :8].max() == 0
    assert split.pixels_NCHW[0, :, 8:].min() == 255


def test_images_come_in_random_order_that_depends_on_the_seed_alone(dev: ImageSplit) -> None:
    order = order_epoch(dev.lengths, 4, seed=1)
    assert sorted(i for batch in order for i in batch) == list(range(len(dev)))
    assert [i for batch in order for i in batch] != list(range(len(dev)))
    assert order_epoch(dev.lengths, 4, seed=1) == order != order_epoch(dev.lengths, 4, seed=2)


def test_evaluation_walks_every_image_once(dev: ImageSplit) -> None:
    walked = list(iterate_by_length(dev, 4, CPU))
    assert sorted(i for indices, _ in walked for i in indices) == list(range(len(dev)))
    for indices, batch in walked:
        assert batch.labels.tolist() == dev.labels[indices].tolist()


def lose(file: Path) -> None:
    file.unlink()


def damage(file: Path) -> None:
    file.write_text("{")


def do_not_crop(file: Path) -> None:
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"do_center_crop": False}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lose, "has no image processor: {folder} holds no preprocessor_config.json"),
        (damage, "has no usable image processor: "),
        (
            do_not_crop,
            "must bring all images to one size, got (3, 18, 24) and (3, 24, 18) for a wide and a "
            "tall one; set do_center_crop in its preprocessor_config.json",
        ),
    ],
)
def test_a_model_without_a_usable_image_processor_is_refused(
    spoil: Callable[[Path], None],
    message: str,
    tiny_image_models: dict[str, Path],
    tmp_path: Path,
) -> None:
    folder = Path(shutil.copytree(tiny_image_models["dinov2"], tmp_path / "spoilt"))
    spoil(folder / "preprocessor_config.json")
    expected = f"model '{folder}' {message.format(folder=folder)}"
    with pytest.raises(ModelError, match=f"^{re.escape(expected)}"):
        load_image_processor(source_of(folder))


def test_a_model_of_texts_is_refused_for_images_and_the_other_way_round(
    tiny_bert: Path, tiny_image_models: dict[str, Path], image_task: Path
) -> None:
    images, texts = read_task_file(image_task).task, find_glue_task("cola").task
    for folder, task, message in (
        (tiny_bert, images, "reads texts, but task 'colors' is of images; give another --model"),
        (tiny_image_models["vit"], texts, "reads images, but task 'cola' is of texts; give anoth"),
    ):
        expected = re.escape(f"model '{folder}' {message}")
        with pytest.raises(ModelError, match=f"^{expected}"):
            load_reader(source_of(folder), task, max_length=64, device=CPU)
