"""Files with typed columns: the same task as delimited text, and mistakes with their rows."""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import datasets
import pytest

from allocator.data.formats.delimited_files import DelimitedSplit
from allocator.data.formats.split_reader import BUILDERS, open_split
from allocator.data.tasks import Task
from allocator.errors import DataError

MOOD = Task(
    name="mood",
    text_columns=("text",),
    label_column="mood",
    labels=("bad", "good"),
    metric="accuracy",
)
STARS = Task(
    name="stars",
    text_columns=("text",),
    label_column="stars",
    labels=(),
    metric="pearson_and_spearman",
)
Columns = Mapping[str, Sequence[object]]
MOODS: Columns = {"text": ["fine", "a\tb", "so\nso"], "mood": ["good", "bad", "good"]}


def write_lines(path: Path, columns: Columns) -> None:
    rows = [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_json(path: Path, columns: Columns) -> None:
    write_lines(path, columns)
    path.write_text(f"[{','.join(path.read_text().splitlines())}]")


def write_arrow(path: Path, columns: Columns) -> None:
    folder = path.parent / "saved"
    datasets.Dataset.from_dict(dict(columns)).save_to_disk(folder)
    next(folder.glob("*.arrow")).rename(path)


def write_parquet(path: Path, columns: Columns) -> None:
    datasets.Dataset.from_dict(dict(columns)).to_parquet(path)


WRITERS: Mapping[str, Callable[[Path, Columns], None]] = {
    ".parquet": write_parquet,
    ".jsonl": write_lines,
    ".json": write_json,
    ".arrow": write_arrow,
}


def test_every_format_is_tested() -> None:
    assert WRITERS.keys() == BUILDERS.keys()


@pytest.mark.parametrize("suffix", BUILDERS)
def test_a_file_of_any_format_reads_as_the_same_rows_of_a_csv_do(
    suffix: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    WRITERS[suffix](tmp_path / f"data{suffix}", MOODS)
    capfd.readouterr()
    split = open_split(tmp_path / f"data{suffix}")
    (tmp_path / "data.csv").write_text('text,mood\nfine,good\na\tb,bad\n"so\nso",good\n')
    csv = DelimitedSplit(tmp_path / "data.csv", ",")
    assert split.read_classes("mood") == csv.read_classes("mood") == ("bad", "good")
    assert split.read_examples(MOOD) == csv.read_examples(MOOD)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([2, 0, 10], ("0", "10", "2")),
        ([2.0, 0.0, 2.0], ("0", "2")),
        ([True, False, True], ("False", "True")),
    ],
)
def test_classes_may_be_numbers(
    values: list[object], classes: tuple[str, ...], tmp_path: Path
) -> None:
    write_parquet(tmp_path / "a.parquet", {"text": ["a", "b", "c"], "mood": values})
    assert open_split(tmp_path / "a.parquet").read_classes("mood") == classes


def test_a_column_of_class_labels_declares_its_classes(tmp_path: Path) -> None:
    label = datasets.ClassLabel(names=["sad", "glad", "mad"])
    features = datasets.Features({"text": datasets.Value("string"), "mood": label})
    table = datasets.Dataset.from_dict({"text": ["a", "b"], "mood": [1, 0]}, features=features)
    table.to_parquet(tmp_path / "a.parquet")
    split = open_split(tmp_path / "a.parquet")
    assert split.read_classes("mood") == ("sad", "glad", "mad")
    task = Task(
        name="own",
        text_columns=("text",),
        label_column="mood",
        labels=("mad", "glad", "sad"),
        metric="accuracy",
    )
    assert split.read_examples(task).labels == (1, 2)


def test_scores_of_single_precision_equal_those_of_text(tmp_path: Path) -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "stars": datasets.Value("float32")}
    )
    table = datasets.Dataset.from_dict({"text": ["a", "b"], "stars": [3.8, 2]}, features=features)
    table.to_parquet(tmp_path / "a.parquet")
    assert open_split(tmp_path / "a.parquet").read_examples(STARS).labels == (3.8, 2.0)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": ["a"], "mod": ["good"]}, "{file}: no column 'mood'; columns are 'text', 'mod'"),
        (
            {"text": ["a", None], "mood": ["good", "bad"]},
            "{file}, row 1: no text in 'text'; fill it in or remove the row",
        ),
        (
            {"text": [["a"], ["b"]], "mood": ["good", "bad"]},
            "{file}, row 0: a text must be a string, got ['a'] in 'text'",
        ),
        (
            {"text": ["a", "b"], "mood": ["good", None]},
            "{file}, row 1: no class in 'mood'; fill it in or remove the row",
        ),
        (
            {"text": ["a", "b", "c"], "mood": [0.0, 1.0, float("nan")]},
            "{file}, row 2: no class in 'mood'; fill it in or remove the row",
        ),
        (
            {"text": ["a", "b"], "mood": [0.5, 1.0]},
            "{file}, row 0: a class must be a string or a whole number, got 0.5 in 'mood'",
        ),
        (
            {"text": ["a", "b"], "mood": ["good", "so"]},
            "{file}, row 1: 'mood' must be one of bad, good, got 'so'",
        ),
    ],
)
def test_a_row_that_does_not_fit_is_named_with_its_file(
    columns: Columns, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "a.parquet"
    write_parquet(file, columns)
    split = open_split(file)

    def read() -> None:
        if "got 'so'" not in message:
            split.read_classes("mood")
        split.read_examples(MOOD)

    with pytest.raises(DataError, match=f"^{re.escape(message.format(file=file))}$"):
        read()


TAGS = Task(
    name="tags",
    text_columns=("text",),
    label_column="tags",
    labels=("bad", "good", "odd"),
    metric="f1_micro",
    is_multi_label=True,
)


@pytest.mark.parametrize("suffix", BUILDERS)
def test_a_column_of_lists_has_several_labels(suffix: str, tmp_path: Path) -> None:
    columns: Columns = {"text": ["a", "b", "c"], "tags": [["odd", "good"], [], ["bad"]]}
    WRITERS[suffix](tmp_path / f"data{suffix}", columns)
    split = open_split(tmp_path / f"data{suffix}")
    assert split.has_lists("tags")
    assert not split.has_lists("text")
    assert split.read_classes("tags") == ("bad", "good", "odd")
    assert split.read_examples(TAGS).labels == ((0, 1, 1), (0, 0, 0), (1, 0, 0))


def test_lists_of_class_labels_declare_them(tmp_path: Path) -> None:
    labels = datasets.List(datasets.ClassLabel(names=["odd", "good", "bad"]))
    features = datasets.Features({"text": datasets.Value("string"), "tags": labels})
    table = datasets.Dataset.from_dict({"text": ["a"], "tags": [[2, 0]]}, features=features)
    table.to_parquet(tmp_path / "a.parquet")
    split = open_split(tmp_path / "a.parquet")
    assert split.read_classes("tags") == ("odd", "good", "bad")
    assert split.read_examples(TAGS).labels == ((1, 0, 1),)


FLAGS = dataclasses.replace(TAGS, label_column="", labels=("bad", "odd"))


def test_columns_of_zero_and_one_are_labels_in_any_format(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", {"text": ["a", "b"], "odd": [1, 0], "bad": [True, True]})
    (tmp_path / "a.csv").write_text("text,odd,bad\na,1,1\nb,0,1\n")
    for file in (tmp_path / "a.parquet", tmp_path / "a.csv"):
        assert open_split(file).read_examples(FLAGS).labels == ((1, 1), (1, 0))


def test_a_label_that_is_neither_zero_nor_one_is_named(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", {"text": ["a", "b"], "odd": [1, None], "bad": [0, 2]})
    (tmp_path / "a.csv").write_text("text,odd,bad\na,1,1\nb,,1\n")
    with pytest.raises(DataError, match=r"a\.parquet, row 1: a label must be 0 or 1, got 2 in 'b"):
        open_split(tmp_path / "a.parquet").read_examples(FLAGS)
    with pytest.raises(DataError, match=r"a\.csv:3: 'odd' must be 0 or 1, got ''$"):
        open_split(tmp_path / "a.csv").read_examples(FLAGS)
    (tmp_path / "a.csv").write_text("text,odd\na,1\n")
    with pytest.raises(DataError, match=r"a\.csv:1: no column 'bad'; columns are 'text', 'odd'$"):
        open_split(tmp_path / "a.csv").read_examples(FLAGS)


@pytest.mark.parametrize("score", ["high", None, float("inf"), 1e39])
def test_a_score_must_be_a_number(score: object, tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", {"text": ["a", "b"], "stars": [score, score]})
    with pytest.raises(DataError, match=r"a\.jsonl, row 0: (a score must be a fin|no score in 's)"):
        open_split(tmp_path / "a.jsonl").read_examples(STARS)


def test_a_split_without_examples_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", {"text": [], "mood": []})
    with pytest.raises(DataError, match=r"a\.parquet: no examples; a split needs at least one$"):
        open_split(tmp_path / "a.parquet").read_examples(MOOD)


@pytest.mark.parametrize("suffix", BUILDERS)
@pytest.mark.parametrize("content", [b"", b"no such format", b'{"a": "b"}\n{"a":', b"\xff\xfe"])
def test_an_unreadable_file_is_refused_in_one_line(
    suffix: str, content: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / f"a{suffix}"
    file.write_bytes(content)
    start = rf"^{re.escape(str(file))} cannot be read as {BUILDERS[suffix]}: \S"
    with pytest.raises(DataError, match=start) as caught:
        open_split(file)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_a_folder_may_have_a_name_that_reads_like_a_pattern(suffix: str, tmp_path: Path) -> None:
    folder = tmp_path / "my [en] #1 data?"
    folder.mkdir()
    path = folder / f"train[1]{suffix}"
    WRITERS[suffix](path, MOODS)
    assert len(open_split(path).read_examples(MOOD)) == 3
