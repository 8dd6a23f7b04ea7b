import re
from pathlib import Path

import pytest

from allocator.data.sources import load_task
from allocator.data.task_file import read_task_file
from allocator.errors import DataError, TaskError

MOODS = 'text,mood\n"well, yes",good\nno,bad\nfine,good\n'
CSV = "train: a.csv\ndev: b.csv\ntext: text\nlabel: mood\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A task file of two CSV files beside it."""
    (tmp_path / "a.csv").write_text(MOODS)
    (tmp_path / "b.csv").write_text("text,mood\nno,bad\n")
    (tmp_path / "moods.yaml").write_text(CSV)
    return tmp_path / "moods.yaml"


def test_columns_of_a_csv_are_a_task_named_after_the_file(file: Path) -> None:
    task, train, dev = read_task_file(file)
    assert (task.name, task.metric, task.labels) == ("moods", "accuracy", ("bad", "good"))
    assert (train.inputs, train.labels) == ((("well, yes",), ("no",), ("fine",)), (1, 0, 1))
    assert (dev.inputs, dev.labels) == ((("no",),), (0,))


def test_classes_have_their_ids_in_the_given_order(file: Path) -> None:
    file.write_text(CSV + "classes: [good, bad]\nname: mine\nmetric: accuracy_and_f1\n")
    task, train, _ = read_task_file(file)
    assert (task.name, task.metric, task.labels) == ("mine", "accuracy_and_f1", ("good", "bad"))
    assert train.labels == (0, 1, 0)


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("classes: [{}, good]", "classes.0"),
        ("name: {}", "name"),
        ("text: [text, {}]", "text.1"),
        ("label: {}", "label"),
        ("train: {}", "train"),
    ],
)
@pytest.mark.parametrize("number", [".inf", "-.inf", ".nan", "1.0e+400"])
def test_a_name_that_yaml_takes_for_an_infinite_number_must_be_quoted(
    number: str, line: str, key: str, file: Path
) -> None:
    file.write_text(f"{CSV}{line.format(number)}\n")
    message = f"{file}: {key}: Value error, YAML takes this for a number that is not finite; quote"
    with pytest.raises(TaskError, match=f"^{re.escape(message)}"):
        read_task_file(file)


def test_pairs_and_scores_of_a_tsv_are_read_without_quoting(file: Path) -> None:
    rows = 'one\ttwo\tscore\nsaid "no\tb, c\t2.5\nd\te\t-1\n'
    for name in ("a.tsv", "b.tsv"):
        (file.parent / name).write_text(rows)
    file.write_text("train: a.tsv\ndev: b.tsv\ntext: [one, two]\nlabel: score\nregression: true\n")
    task, train, dev = read_task_file(file)
    assert (task.metric, task.is_regression, task.num_labels) == ("pearson_and_spearman", True, 1)
    assert train.inputs == dev.inputs == (('said "no', "b, c"), ("d", "e"))
    assert train.labels == (2.5, -1.0)


def test_a_delimiter_may_be_given(file: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (file.parent / name).write_text('text;mood\n"a; b";1\nc;0\n')
    file.write_text("train: a.txt\ndev: b.txt\ntext: text\nlabel: mood\ndelimiter: ;\n"
                    "classes: [0, 1]\n")  # fmt: skip
    task, train, _ = read_task_file(file)
    assert task.labels == ("0", "1")
    assert (train.inputs, train.labels) == ((("a; b",), ("c",)), (1, 0))


def test_a_folder_of_images_is_a_task(image_task: Path) -> None:
    task, train, dev = read_task_file(image_task)
    assert (task.name, task.metric, task.is_of_images) == ("colors", "accuracy", True)
    assert task.labels == ("blue", "green", "red")
    assert (len(train), len(dev)) == (48, 15)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "{file} must be a YAML mapping, got list"),
        (CSV + "lable: x\n", "{file}: unknown key 'lable': did you mean 'label'? known are "),
        ("train: a.csv\n", "{file}: dev: Field required"),
        ("images: .\ntrain: a.csv\n", "{file}: unknown key 'train': "),
        (CSV.replace("text: text", "text: [a, b, c]"), "{file}: text: Value should have at most 2"),
        (CSV + "classes: [yes, no]\n", "{file}: classes.0: Value error, YAML takes a bare yes,"),
        (CSV + "classes: [good]\n", "{file}: classes: "),
        (
            CSV + "classes: [good, bad]\nregression: true\n",
            "{file}: a task has classes or regression: true, got both; drop one",
        ),
        (CSV + "metric: acuracy\n", "{file}: unknown metric 'acuracy': did you mean 'accuracy'?"),
        (
            CSV + "metric: pearson_and_spearman\n",
            "{file}: metric pearson_and_spearman needs regression: true; give another",
        ),
        (
            CSV + "classes: [good, bad, so]\nmetric: accuracy_and_f1\n",
            "{file}: metric accuracy_and_f1 needs two classes, got 3",
        ),
        (CSV + "name: cola\n", "{file}: 'cola' is the name of another task; give this one a name"),
        (
            CSV.replace("a.csv", "a.json"),
            "{file}: a.json must end in .csv or .tsv; or give its delimiter",
        ),
    ],
)
def test_a_task_file_that_says_something_impossible_is_refused(
    text: str, message: str, file: Path
) -> None:
    file.write_text(text)
    with pytest.raises(TaskError, match=f"^{re.escape(message.format(file=file))}"):
        read_task_file(file)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("text,mood\na,good\nb,\n", "a.csv:3: no class in 'mood'; fill it in"),
        ("text,mod\na,good\n", "a.csv:1: no column 'mood'; columns are 'text', 'mod'"),
        (
            "text,mood\na,good\nb,bad\nc,bad,d\n",
            "a.csv:4: a row must have 2 fields (text, mood), got 3",
        ),
        ("text,mood\na,good\nb,so\n", "b.csv:2: 'mood' must be one of good, so, got 'bad'"),
    ],
)
def test_a_mistake_in_a_data_file_is_named_with_its_line(
    rows: str, message: str, file: Path
) -> None:
    (file.parent / "a.csv").write_text(rows)
    with pytest.raises(DataError, match=re.escape(message)):
        read_task_file(file)


def test_one_class_in_train_is_not_enough(file: Path) -> None:
    (file.parent / "a.csv").write_text("text,mood\na,good\n")
    with pytest.raises(TaskError, match="a task needs two classes or more, got good in column"):
        read_task_file(file)


def test_a_task_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"^task file \S+/no\.yaml does not exist$"):
        read_task_file(tmp_path / "no.yaml")


def test_a_path_that_ends_in_yaml_is_a_task_and_knows_where_it_came_from(file: Path) -> None:
    data = load_task(str(file), fallback_dir=file.parent / "nowhere")
    assert (data.task.name, data.source) == ("moods", f"file:{file}")


def test_a_task_file_takes_no_other_data(file: Path, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="names its own data, got data source 'hub'; drop it"):
        load_task(str(file), source="hub")
    with pytest.raises(TaskError, match="names its own data, got --data-dir"):
        load_task(str(file), data_dir=tmp_path)


def test_the_fingerprint_sees_the_bytes_of_every_image_and_not_where_they_are(
    image_folder: Path, image_task: Path, tmp_path: Path
) -> None:
    before = load_task(str(image_task)).fingerprint
    (tmp_path / "moved").symlink_to(image_folder)
    (tmp_path / "other.yaml").write_text("images: moved\n")
    assert load_task(str(tmp_path / "other.yaml")).fingerprint == before
    image = image_folder / "validation" / "red" / "0.png"
    content = image.read_bytes()
    try:
        image.write_bytes((image_folder / "validation" / "red" / "1.png").read_bytes())
        assert load_task(str(image_task)).fingerprint != before
    finally:
        image.write_bytes(content)
