"""Inputs from lines and tables, and tables with their answers."""

from __future__ import annotations

import io
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from allocator.errors import DataError
from allocator.trained.prediction_files import PredictionInput, read_lines, read_table, write_table
from allocator.trained.predictions import predict
from allocator.trained.trained_adapter import load_trained

PAIR = ("premise", "hypothesis")
TABLES = {
    "pairs.csv": 'premise,hypothesis,id\n"One, two",,7\nA,"say ""b""",8\n',
    "pairs.tsv": 'premise\thypothesis\tid\nOne, two\t\t7\nA\tsay "b"\t8\n',
    "pairs.jsonl": '{"premise": "One, two", "hypothesis": "", "id": 7}\n\n'
    '{"premise": "A", "hypothesis": "say \\"b\\"", "id": 8}\n',
}


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_all_formats_hold_the_same_inputs(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, name, TABLES[name])
    asked = list(read_table(path, PAIR))
    assert [one.inputs for one in asked] == [("One, two", ""), ("A", 'say "b"')]
    assert asked[-1].where == f"{path}:3"


@pytest.mark.parametrize("name", TABLES)
def test_a_table_comes_out_as_it_went_in_with_further_columns(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, name, TABLES[name])
    out = io.StringIO()
    write_table(({**asked.row, "prediction": "ö"} for asked in read_table(path, PAIR)), path, out)
    again = write(tmp_path, f"again-{name}", out.getvalue().replace("prediction", "told"))
    before, after = list(read_table(path, PAIR)), list(read_table(again, PAIR))
    assert [one.row for one in after] == [{**one.row, "told": "ö"} for one in before]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "premise,text\na,b\n", "2: no column 'hypothesis'; columns are 'premise', 'tex"),
        ("a.csv", "premise,hypothesis\na\n", "2: a row must have 2 fields (premise, hypothesis)"),
        ("a.csv", "premise,hypothesis,prediction\na,b,c\n", "2: column 'prediction' is to hold"),
        ("a.csv", "premise,hypothesis,id,id\na,b,1,2\n", "1: two columns have one name; rename"),
        ("a.jsonl", '{"premise": "a", "hypothesis": 3}\n', "1: a text must be a string, got"),
        ("a.jsonl", '{"premise": "a"\n', "1: Expecting ',' delimiter; a line must be one JSON"),
        ("a.jsonl", "[1]\n", "1: a line must be one JSON object, got '[1]'"),
    ],
)
def test_a_malformed_table_is_refused_with_its_line(
    name: str, text: str, message: str, tmp_path: Path
) -> None:
    path = write(tmp_path, name, text)
    with pytest.raises(DataError, match=re.escape(f"{path}:{message}")):
        list(read_table(path, PAIR))


def test_a_table_of_another_format_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.xlsx", "")
    with pytest.raises(DataError, match=r"a table must end in \.csv, \.tsv, \.jsonl$"):
        list(read_table(path, PAIR))


def test_images_are_read_from_their_own_column(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "image,id\none.png,1\n")
    assert [one.inputs for one in read_table(path, ())] == [("one.png",)]


def test_no_more_than_a_batch_is_read_ahead(tiny_study: Path) -> None:
    trained = load_trained(tiny_study, tiny_study)
    read = 0

    def count_lines() -> Iterator[str]:
        nonlocal read
        for number in itertools.count():
            read = number + 1
            yield "The dog sleeps.\n"

    asked: Iterator[PredictionInput] = read_lines(count_lines(), ("sentence",), origin="input")
    answers = list(itertools.islice(predict(trained, asked), 100))
    assert len(answers) == 100
    assert read == 128
    assert json.dumps(answers[0][1].as_columns())
