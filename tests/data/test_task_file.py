import re
import socket
import time
from collections import Counter
from pathlib import Path

import datasets
import huggingface_hub
import pytest

from allocator.data.sources import load_task
from allocator.data.task_file import read_task_file
from allocator.data.tasks import Examples, Task
from allocator.errors import DataError, TaskError

MOODS = 'text,mood\n"well, yes",good\nno,bad\nfine,good\n'
DATASET = "dataset: moods\ntext: text\nlabel: mood\n"
CSV = "train: a.csv\ndev: b.csv\ntext: text\nlabel: mood\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A task file of two CSV files beside it."""
    (tmp_path / "a.csv").write_text(MOODS)
    (tmp_path / "b.csv").write_text("text,mood\nno,bad\n")
    (tmp_path / "moods.yaml").write_text(CSV)
    return tmp_path / "moods.yaml"


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A task file beside a data set of files named after their splits, in a folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for split, rows in {"train": 40, "validation": 4, "test": 6}.items():
        write_split(tmp_path / "moods", split, rows)
    (tmp_path / "own.yaml").write_text(DATASET)
    return tmp_path / "own.yaml"


def write_split(folder: Path, split: str, rows: int) -> None:
    folder.mkdir(exist_ok=True)
    table = {"text": [f"{split} {i}" for i in range(rows)], "mood": ["good", "bad"] * (rows // 2)}
    datasets.Dataset.from_dict(table).to_parquet(folder / f"{split}.parquet")


def read(path: Path) -> tuple[Task, Examples, Examples]:
    own = read_task_file(path)
    return own.task, own.train, own.dev


def test_columns_of_a_csv_are_a_task_named_after_the_file(file: Path) -> None:
    task, train, dev = read(file)
    assert (task.name, task.metric, task.labels) == ("moods", "accuracy", ("bad", "good"))
    assert (train.inputs, train.labels) == ((("well, yes",), ("no",), ("fine",)), (1, 0, 1))
    assert (dev.inputs, dev.labels) == ((("no",),), (0,))


def test_classes_have_their_ids_in_the_given_order(file: Path) -> None:
    file.write_text(CSV + "classes: [good, bad]\nname: mine\nmetric: accuracy_and_f1\n")
    task, train, _ = read(file)
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
    task, train, dev = read(file)
    assert (task.metric, task.is_regression, task.num_labels) == ("pearson_and_spearman", True, 1)
    assert train.inputs == dev.inputs == (('said "no', "b, c"), ("d", "e"))
    assert train.labels == (2.5, -1.0)


def test_a_delimiter_may_be_given(file: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (file.parent / name).write_text('text;mood\n"a; b";1\nc;0\n')
    file.write_text("train: a.txt\ndev: b.txt\ntext: text\nlabel: mood\ndelimiter: ;\n"
                    "classes: [0, 1]\n")  # fmt: skip
    task, train, _ = read(file)
    assert task.labels == ("0", "1")
    assert (train.inputs, train.labels) == ((("a; b",), ("c",)), (1, 0))


def test_a_folder_of_images_is_a_task(image_task: Path) -> None:
    task, train, dev = read(image_task)
    assert (task.name, task.metric, task.is_of_images) == ("colors", "accuracy", True)
    assert task.labels == ("blue", "green", "red")
    assert (len(train), len(dev)) == (48, 15)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "{file} must be a YAML mapping, got list"),
        (CSV + "lable: x\n", "{file}: unknown key 'lable': did you mean 'label'? known are "),
        ("train: a.csv\n", "{file}: text: Field required"),
        ("images: .\ntrain: a.csv\n", "{file}: unknown key 'train': "),
        (CSV.replace("text: text", "text: [a, b, c]"), "{file}: text: Value should have at most 2"),
        (CSV + "classes: [yes, no]\n", "{file}: classes.0: Value error, YAML takes a bare yes,"),
        (CSV + "classes: [good]\n", "{file}: classes: "),
        (
            CSV + "classes: [good, bad]\nregression: true\n",
            "{file}: a task has classes or regression: true, got both; drop one",
        ),
        (
            CSV.replace("mood", "[mood, other]") + "classes: [a, b]\n",
            "{file}: labels mood, other are columns of their own, which need neither classes nor",
        ),
        (CSV.replace("mood", "[mood, mood]"), "{file}: label must name each column once, got mood"),
        (
            CSV.replace("mood", "[mood, other]") + "metric: accuracy\n",
            "{file}: metric accuracy is of one class for each example, not of several labels; give",
        ),
        (
            CSV.replace("mood", "[mood, other]") + "metric: f1\n",
            "{file}: metric f1 fails: Target is multilabel-indicator but average='binary'.",
        ),
        (CSV + "metric: acuracy\n", "{file}: unknown metric 'acuracy': did you mean 'accuracy' or"),
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
            CSV.replace("a.csv", "a.xls"),
            "{file}: a.xls must end in one of .csv, .tsv, .parquet, .jsonl, .json, .arrow; or give",
        ),
        (
            CSV.replace("a.csv", "a.json") + "delimiter: ;\n",
            "{file}: a.json has no delimiter, got ';'; drop it",
        ),
        (CSV.replace("a.csv", "c.csv"), "{file}: data file {file.parent}/c.csv does not exist"),
        (CSV + "dev_fraction: 0.1\n", "{file}: a task has dev or dev_fraction, got both; drop one"),
        (
            "dataset: ./nosuch\ntext: a\nlabel: b\n",
            "{file}: there is no folder {file.parent}/nosuch that could be the data set; correct",
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


def test_a_data_set_has_its_own_splits(dataset: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    own = read_task_file(dataset)
    assert capfd.readouterr().err == ""
    assert (own.task.name, own.task.labels) == ("own", ("bad", "good"))
    assert (len(own.train), len(own.dev), own.remarks) == (40, 4, ())
    assert (own.train.inputs[1], own.train.labels[:2]) == (("train 1",), (1, 0))


def test_the_splits_of_a_data_set_may_be_named(dataset: Path) -> None:
    dataset.write_text(f"{DATASET}train: test\ndev: train\n")
    own = read_task_file(dataset)
    assert (len(own.train), len(own.dev), own.remarks) == (6, 40, ())


def test_a_split_that_is_no_validation_is_dev_with_a_remark(dataset: Path) -> None:
    (dataset.parent / "moods" / "validation.parquet").unlink()
    own = read_task_file(dataset)
    assert (len(own.dev), own.remarks) == (6, ("dev is split 'test' of moods; dev: names another",))


def test_a_part_of_train_is_dev_where_there_is_no_other(dataset: Path) -> None:
    for split in ("validation", "test"):
        (dataset.parent / "moods" / f"{split}.parquet").unlink()
    own = read_task_file(dataset)
    assert Counter(own.dev.labels) == {0: 4, 1: 4}
    assert {*own.train.inputs, *own.dev.inputs} == {(f"train {i}",) for i in range(40)}
    assert (len(own.train), own) == (32, read_task_file(dataset))
    data = load_task(str(dataset))
    assert data.remarks == own.remarks
    assert data.remarks[0].startswith("dev is 8 of the 40 examples of train, held out from all")


def test_the_fraction_that_is_held_out_as_dev_may_be_given(dataset: Path) -> None:
    dataset.write_text(f"{DATASET}dev_fraction: 0.1\n")
    own = read_task_file(dataset)
    assert (len(own.train), len(own.dev), len(own.remarks)) == (36, 4, 1)


def test_files_too_need_no_dev(file: Path) -> None:
    (file.parent / "a.csv").write_text("text,mood\n" + "fine,good\nawful,bad\n" * 5)
    file.write_text(CSV.replace("dev: b.csv\n", ""))
    own = read_task_file(file)
    assert (len(own.train), sorted(own.dev.labels)) == (8, [0, 1])


def test_a_train_too_small_to_hold_out_dev_is_refused(file: Path) -> None:
    file.write_text(CSV.replace("dev: b.csv\n", ""))
    expected = (
        rf"^{re.escape(str(file))}: there is no dev, and no part of train can be: class 'bad'"
    )
    with pytest.raises(DataError, match=expected):
        read_task_file(file)


def test_a_subset_is_a_configuration_of_the_data_set(dataset: Path) -> None:
    write_split(dataset.parent / "moods", "other", 8)
    (dataset.parent / "moods" / "README.md").write_text(
        "---\nconfigs:\n- config_name: big\n  data_files: train.parquet\n"
        "- config_name: small\n  data_files: other.parquet\n---\n"
    )
    dataset.write_text(f"{DATASET}subset: small\ndev_fraction: 0.5\n")
    assert len(read_task_file(dataset).train) == 4
    dataset.write_text(DATASET)
    with pytest.raises(TaskError, match=r"moods has several subsets; name one: 'big', 'small'$"):
        read_task_file(dataset)
    dataset.write_text(f"{DATASET}subset: smal\n")
    with pytest.raises(TaskError, match=r"moods \(smal\): BuilderConfig 'smal' not found"):
        read_task_file(dataset)


def test_what_save_to_disk_wrote_is_a_data_set(dataset: Path) -> None:
    saved = datasets.load_dataset(str(dataset.parent / "moods"))
    saved.save_to_disk(str(dataset.parent / "saved"))
    before = read_task_file(dataset)
    dataset.write_text(DATASET.replace("moods", "saved"))
    assert read_task_file(dataset) == before


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("train: tain\n", "unknown split 'tain': did you mean 'train'? known are test, train"),
        ("dev: devel\n", "unknown split 'devel': known are test, train, validation in "),
        ("delimiter: ;\n", "unknown key 'delimiter'"),
    ],
)
def test_a_split_that_a_data_set_lacks_is_refused(more: str, message: str, dataset: Path) -> None:
    dataset.write_text(DATASET + more)
    with pytest.raises(TaskError, match=f"^{re.escape(f'{dataset}: {message}')}"):
        read_task_file(dataset)


def test_a_row_of_a_data_set_that_does_not_fit_is_named(dataset: Path) -> None:
    dataset.write_text(f"{DATASET}classes: [good, so]\n")
    message = r"moods, split train, row 1: 'mood' must be one of good, so, got 'bad'$"
    with pytest.raises(DataError, match=message):
        read_task_file(dataset)


def test_a_data_set_on_a_hub_out_of_reach_costs_seconds_and_one_line(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    dataset.write_text(DATASET.replace("moods", "nobody/nothing"))
    before = time.monotonic()
    start = f"{dataset}: nobody/nothing on the Hugging Face hub: {endpoint} is out of reach"
    with pytest.raises(TaskError, match=f"^{re.escape(start)}") as caught:
        read_task_file(dataset)
    assert str(caught.value).endswith("and its cache has no copy")
    assert "\n" not in str(caught.value)
    assert time.monotonic() - before < 5


def test_several_columns_are_several_labels(file: Path) -> None:
    rows = "text,odd,mood\n" + "fine,1,1\nawful,0,0\nso,0,1\n" * 2
    (file.parent / "a.csv").write_text(rows)
    file.write_text(CSV.replace("label: mood", "label: [odd, mood]").replace("dev: b.csv\n", ""))
    own = read_task_file(file)
    assert (own.task.labels, own.task.is_multi_label) == (("odd", "mood"), True)
    assert (own.task.metric, own.task.num_labels) == ("f1_micro", 2)
    assert (len(own.train), len(own.dev)) == (5, 1)
    assert own.train.labels[0] in {(1, 1), (0, 0), (0, 1)}


def test_a_column_of_lists_is_several_labels(file: Path) -> None:
    rows = '{"text": "fine", "mood": ["good", "odd"]}\n{"text": "so", "mood": []}\n'
    (file.parent / "a.jsonl").write_text(rows)
    file.write_text("train: a.jsonl\ndev: a.jsonl\ntext: text\nlabel: mood\nmetric: roc_auc\n")
    own = read_task_file(file)
    assert (own.task.labels, own.task.metric) == (("good", "odd"), "roc_auc")
    assert own.task.is_multi_label
    assert own.dev.labels == ((1, 1), (0, 0))
    assert load_task(str(file)).fingerprint == load_task(str(file)).fingerprint
