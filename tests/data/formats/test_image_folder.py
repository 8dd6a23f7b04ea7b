import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from allocator.data.formats.image_folder import read_image_folder
from allocator.errors import DataError


@pytest.fixture
def images(image_folder: Path, tmp_path: Path) -> Path:
    """A copy of the images, to be spoilt."""
    return Path(shutil.copytree(image_folder, tmp_path / "images"))


def test_classes_are_the_folders_of_train_and_every_image_has_its_own(image_folder: Path) -> None:
    classes, train, dev = read_image_folder(image_folder)
    assert classes == ("blue", "green", "red")
    assert (len(train), len(dev)) == (48, 15)
    for split, examples in (("train", train), ("validation", dev)):
        for (path,), label in zip(examples.inputs, examples.label_array, strict=True):
            assert Path(path).parent == image_folder / split / classes[int(label)]


@pytest.mark.parametrize("name", ["dev", "valid", "val", "test"])
def test_the_second_split_may_have_another_usual_name(name: str, images: Path) -> None:
    (images / "validation").rename(images / name)
    _, _, dev = read_image_folder(images)
    assert len(dev) == 15


def test_other_files_and_hidden_ones_count_for_nothing(images: Path) -> None:
    (images / "train" / "red" / "notes.txt").write_text("not an image")
    (images / "train" / "red" / "._0.png").write_text("not an image")
    (images / "train" / ".cache").mkdir()
    classes, train, _ = read_image_folder(images)
    assert (len(classes), len(train)) == (3, 48)


def lose_train(root: Path) -> None:
    shutil.rmtree(root / "train")


def empty_a_class(root: Path) -> None:
    shutil.rmtree(root / "train" / "red")
    (root / "train" / "red").mkdir()


def add_a_class_to_dev(root: Path) -> None:
    shutil.copytree(root / "validation" / "red", root / "validation" / "pink")


def leave_one_class(root: Path) -> None:
    shutil.rmtree(root / "train" / "red")
    shutil.rmtree(root / "train" / "blue")


def cut_an_image(root: Path) -> None:
    image = root / "validation" / "red" / "2.png"
    image.write_bytes(image.read_bytes()[:400])


def write_text_for_an_image(root: Path) -> None:
    (root / "train" / "blue" / "a.jpg").write_text("not an image")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lose_train, "{root}: no folder train or training; its folders are validation"),
        (empty_a_class, "{root}/train/red: no images; they end in .bmp, .jpeg, .jpg, .png, "),
        (
            add_a_class_to_dev,
            "{root}/validation/pink: train has no class 'pink'; its classes are blue, green, red",
        ),
        (leave_one_class, "{root}/train: a task needs two classes or more, each a folder, got gre"),
        (cut_an_image, "{root}/validation/red/2.png is not a readable image: "),
        (write_text_for_an_image, "{root}/train/blue/a.jpg is not a readable image: "),
    ],
)
def test_a_folder_that_is_no_task_is_refused_by_name(
    spoil: Callable[[Path], None], message: str, images: Path
) -> None:
    spoil(images)
    with pytest.raises(DataError, match=f"^{re.escape(message.format(root=images))}"):
        read_image_folder(images)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere is not a folder; it must hold train/<class>/"):
        read_image_folder(tmp_path / "nowhere")
