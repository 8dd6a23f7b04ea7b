import re
from pathlib import Path

import pandas as pd
import pytest

from allocator.data.formats.delimited_files import read_delimited_split
from allocator.data.glue import find_glue_task
from allocator.data.tasks import FileLayout, Task
from allocator.errors import DataError

TSV = FileLayout(folder="")
CSV = FileLayout(folder="", delimiter=",", quoted=True)
MOOD = Task(
    name="mood",
    text_columns=("text",),
    label_column="mood",
    labels=("bad", "good"),
    metric="accuracy",
)
PAIR = Task(
    name="pair", text_columns=("a", "b"), label_column="y", labels=("0", "1"), metric="accuracy"
)
RATING = Task(
    name="rating",
    text_columns=("text",),
    label_column="stars",
    labels=(),
    metric="pearson_and_spearman",
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "train.tsv"


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_any_line_ending_reads_the_same(file: Path, ending: str, last: bool) -> None:
    lines = ["text\tmood", "it shines \tgood", "it drags\tbad"]
    file.write_bytes((ending.join(lines) + ending * last).encode())
    examples = read_delimited_split(file, task=MOOD, layout=TSV)
    assert examples.inputs == (("it shines ",), ("it drags",))
    assert examples.labels == (1, 0)


def test_columns_are_found_by_name_behind_a_byte_order_mark(file: Path) -> None:
    file.write_bytes("\ufeffmood\tid\ttext\ngood\t7\tthé\n".encode())
    assert read_delimited_split(file, task=MOOD, layout=TSV).inputs == (("thé",),)


def test_quotes_and_odd_line_separators_are_text_in_a_tsv(file: Path) -> None:
    file.write_text('text\tmood\n"so\u2028he\x85 said\tgood\n', encoding="utf-8", newline="")
    assert read_delimited_split(file, task=MOOD, layout=TSV).inputs == (('"so\u2028he\x85 said',),)


def test_words_for_missing_values_are_text(file: Path) -> None:
    file.write_text("text\tmood\nNA\tgood\nnull\tbad\n")
    assert read_delimited_split(file, task=MOOD, layout=TSV).inputs == (("NA",), ("null",))


def test_a_quoted_csv_reads_as_pandas_reads_it(file: Path) -> None:
    frame = pd.DataFrame({"text": ['a "b", c', "two\nlines", "plain"], "mood": ["good"] * 3})
    frame.to_csv(file, index=False)
    read = read_delimited_split(file, task=MOOD, layout=CSV)
    assert [text for (text,) in read.inputs] == pd.read_csv(file)["text"].tolist()


def test_a_field_may_be_longer_than_the_csv_modules_own_limit(file: Path) -> None:
    text = "word " * 60_000
    file.write_text(f"text,mood\n{text},good\n")
    assert read_delimited_split(file, task=MOOD, layout=CSV).inputs == ((text,),)


def test_the_line_of_an_error_counts_line_breaks_inside_quotes(file: Path) -> None:
    file.write_text('text,mood\n"two\nlines",good\nfine,awful\n')
    with pytest.raises(DataError, match=r"train.tsv:4: 'mood' must be one of bad, good"):
        read_delimited_split(file, task=MOOD, layout=CSV)


def test_an_open_quote_is_reported_with_its_line(file: Path) -> None:
    file.write_text('text,mood\nfine,good\n"never closed,good\n')
    with pytest.raises(DataError, match=r"train.tsv:3: unexpected end of data; check the quotes"):
        read_delimited_split(file, task=MOOD, layout=CSV)


def test_a_missing_column_lists_those_present(file: Path) -> None:
    file.write_text("sentence\tmood\nfine\tgood\n")
    expected = "train.tsv:1: no column 'text'; columns are 'sentence', 'mood'"
    with pytest.raises(DataError, match=expected):
        read_delimited_split(file, task=MOOD, layout=TSV)


def test_a_label_outside_the_classes_gives_file_and_line(file: Path) -> None:
    file.write_text("text\tmood\nfine\tgood\n\nfine\tugly\n")
    expected = f"{file}:4: 'mood' must be one of bad, good, got 'ugly'"
    with pytest.raises(DataError, match=re.escape(expected)):
        read_delimited_split(file, task=MOOD, layout=TSV)


@pytest.mark.parametrize("stars", ["many", "", "nan", "inf", "-inf", "1e400", "1e39"])
def test_a_score_that_is_no_finite_number_gives_file_and_line(file: Path, stars: str) -> None:
    file.write_text(f"text\tstars\nfine\t4.5\nfine\t{stars}\n")
    with pytest.raises(DataError, match=r"train.tsv:3: 'stars' must be a .*number.*, got"):
        read_delimited_split(file, task=RATING, layout=TSV)


@pytest.mark.parametrize("row", ["fine", "fine\tgood\tmore"])
def test_a_row_with_the_wrong_number_of_fields_gives_file_and_line(file: Path, row: str) -> None:
    file.write_text(f"text\tmood\nfine\tgood\n{row}\n")
    with pytest.raises(DataError, match=r"train.tsv:3: a row must have 2 fields \(text, mood\)"):
        read_delimited_split(file, task=MOOD, layout=TSV)


def test_qqp_alone_skips_torn_rows(file: Path) -> None:
    head = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    file.write_text(f'{head}0\t1\t2\tA?\tB?\t1\n1\t3\t4\tC?\n"\tD?\t0\n2\t5\t6\tE?\tF?\t0\n')
    qqp = find_glue_task("qqp")
    examples = read_delimited_split(file, task=qqp.task, layout=qqp.files)
    assert examples.inputs == (("A?", "B?"), ("E?", "F?"))
    assert examples.labels == (1, 0)


def test_a_row_without_any_text_is_an_error(file: Path) -> None:
    file.write_text("text\tmood\n \tgood\n")
    with pytest.raises(DataError, match=r"train.tsv:2: no text in 'text'"):
        read_delimited_split(file, task=MOOD, layout=TSV)


def test_one_side_of_a_pair_may_be_empty(file: Path) -> None:
    file.write_text("a\tb\ty\nleft\t\t1\n")
    assert read_delimited_split(file, task=PAIR, layout=TSV).inputs == (("left", ""),)


@pytest.mark.parametrize("content", ["text\tmood\n", "text\tmood"])
def test_a_split_without_examples_is_an_error(file: Path, content: str) -> None:
    file.write_text(content)
    with pytest.raises(DataError, match=r"train.tsv: no examples"):
        read_delimited_split(file, task=MOOD, layout=TSV)


def test_an_empty_file_is_an_error(file: Path) -> None:
    file.touch()
    with pytest.raises(DataError, match=r"train.tsv:1: no column 'text'; columns are none"):
        read_delimited_split(file, task=MOOD, layout=TSV)


def test_a_file_that_is_not_utf8_gives_the_line(file: Path) -> None:
    file.write_bytes("text\tmood\nfine\tgood\nthé\tgood\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"train.tsv:3: a data file must be UTF-8, got byte 0xe9"):
        read_delimited_split(file, task=MOOD, layout=TSV)


def test_a_missing_file_names_the_files_of_the_task(file: Path) -> None:
    with pytest.raises(DataError, match=r"No such file .* splits are train.tsv and dev.tsv"):
        read_delimited_split(file, task=MOOD, layout=FileLayout(folder="MOOD"))
