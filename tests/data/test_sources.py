from pathlib import Path
from typing import NamedTuple

import datasets
import huggingface_hub
import pytest

from allocator.config import DataSource
from allocator.data.sources import load_task, load_task_files
from allocator.data.tasks import FileLayout, Task
from allocator.errors import DataError, TaskError, UnknownNameError


class Sample(NamedTuple):
    """One row in GLUE's own layout, and what it says."""

    folder: str
    dev: str
    text: str
    texts: tuple[str, ...]
    label: float


MNLI_HEADER = (
    "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\t"
    "sentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label\n"
)
STSB_HEADER = (
    "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
)
SAMPLES = {
    "cola": Sample("CoLA", "dev.tsv", "gj04\t0\t*\tThem sing.\n", ("Them sing.",), 0),
    "sst2": Sample("SST-2", "dev.tsv", "sentence\tlabel\na joy \t1", ("a joy ",), 1),
    "mrpc": Sample(
        "MRPC",
        "dev.tsv",
        '\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\tHe said " no .\tHe did\n',
        ('He said " no .', "He did"),
        1,
    ),
    "rte": Sample(
        "RTE",
        "dev.tsv",
        "index\tsentence1\tsentence2\tlabel\n0\tIt rained.\tIt was dry.\tnot_entailment\n",
        ("It rained.", "It was dry."),
        1,
    ),
    "wnli": Sample(
        "WNLI",
        "dev.tsv",
        "index\tsentence1\tsentence2\tlabel\n0\tIt fell.\tThe cup fell.\t1\n",
        ("It fell.", "The cup fell."),
        1,
    ),
    "qnli": Sample(
        "QNLI",
        "dev.tsv",
        "index\tquestion\tsentence\tlabel\n0\tWho?\tShe did.\tentailment\n",
        ("Who?", "She did."),
        0,
    ),
    "qqp": Sample(
        "QQP",
        "dev.tsv",
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n9\t1\t2\tWhy?\tHow come?\t1\n",
        ("Why?", "How come?"),
        1,
    ),
    "mnli": Sample(
        "MNLI",
        "dev_matched.tsv",
        MNLI_HEADER + "0\t1\t1n\tfiction\t( a )\t( b )\t(A)\t(B)\tRain.\tSun.\tneutral\tneutral\n",
        ("Rain.", "Sun."),
        1,
    ),
    "stsb": Sample(
        "STS-B",
        "dev.tsv",
        STSB_HEADER + "0\tnews\tx\t2012\t1\tnone\tnone\tA plane.\tA jet.\t4.800\n",
        ("A plane.", "A jet."),
        4.8,
    ),
}


@pytest.fixture
def glue(tmp_path: Path) -> Path:
    """A GLUE folder with one example a split."""
    for sample in SAMPLES.values():
        folder = tmp_path / "glue" / sample.folder
        folder.mkdir(parents=True)
        for name in ("train.tsv", sample.dev):
            (folder / name).write_bytes(sample.text.encode())
    return tmp_path / "glue"


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A hub that is switched off, and an empty cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.parametrize("name", SAMPLES)
def test_each_task_reads_from_files_as_glue_lays_them_out(glue: Path, name: str) -> None:
    data = load_task(name, data_dir=glue)
    for split in (data.train, data.dev):
        assert split.inputs == (SAMPLES[name].texts,)
        assert split.labels == (SAMPLES[name].label,)
    assert data.task.name == name
    assert data.source == f"dir:{glue / SAMPLES[name].folder}"


def test_a_folder_is_told_as_the_user_wrote_it(glue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(glue.parent)
    assert load_task("cola", data_dir=Path(glue.name)).source == f"dir:{glue.name}/CoLA"


def test_a_given_folder_without_the_task_is_an_error_that_lists_its_folders(tmp_path: Path) -> None:
    for folder in ("MRPC", "SST-2"):
        (tmp_path / folder).mkdir()
    with pytest.raises(TaskError, match="no folder CoLA; its folders: MRPC, SST-2"):
        load_task("cola", data_dir=tmp_path)


def test_a_given_folder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="nowhere is not a folder"):
        load_task("cola", data_dir=tmp_path / "nowhere")


def test_the_given_folder_goes_before_the_fallback(glue: Path, tmp_path: Path) -> None:
    data = load_task("cola", data_dir=glue, fallback_dir=tmp_path / "nowhere")
    assert data.source == f"dir:{glue / 'CoLA'}"


@pytest.mark.parametrize("source", ["auto", "dir"])
def test_the_fallback_folder_answers_where_none_is_given(glue: Path, source: DataSource) -> None:
    assert load_task("rte", source=source, fallback_dir=glue).source == f"dir:{glue / 'RTE'}"


@pytest.mark.usefixtures("no_hub")
def test_cola_falls_back_to_the_bundled_corpus_under_its_own_name(tmp_path: Path) -> None:
    data = load_task("cola", fallback_dir=tmp_path)
    assert (data.task.name, data.source) == ("cola-synthetic", "bundled")
    assert data.task.metric == "matthews_correlation"
    assert set(data.train.labels) == set(data.dev.labels) == {0, 1}
    assert [reason.split()[0] for reason in data.passed_over] == [str(tmp_path), "nyu-mll/glue"]


@pytest.mark.usefixtures("no_hub")
def test_where_nothing_answers_the_error_lists_every_place_and_the_way_out(tmp_path: Path) -> None:
    expected = (
        r"no data for task 'mnli'; looked at: .* has no folder MNLI; its folders: none; "
        r"nyu-mll/glue \(mnli\) on the Hugging Face hub: offline mode is set .*; "
        r"give --data-dir a folder that holds MNLI/train.tsv and MNLI/dev_matched.tsv"
    )
    with pytest.raises(TaskError, match=expected) as caught:
        load_task("mnli", fallback_dir=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", ["auto", "bundled"])
def test_cola_synthetic_always_means_the_bundled_corpus(glue: Path, source: DataSource) -> None:
    assert load_task("cola-synthetic", source=source, fallback_dir=glue).source == "bundled"


def test_the_bundled_corpus_has_the_same_fingerprint_every_time() -> None:
    first = load_task("cola", source="bundled")
    assert first.fingerprint == load_task("cola-synthetic").fingerprint
    assert len(first.fingerprint) == 16


def test_a_source_that_cannot_have_the_task_is_an_error(glue: Path) -> None:
    with pytest.raises(TaskError, match="the bundled corpus is for task 'cola' alone, got 'rte'"):
        load_task("rte", source="bundled")
    with pytest.raises(TaskError, match="'cola-synthetic' is bundled, got data source 'hub'"):
        load_task("cola-synthetic", source="hub")
    with pytest.raises(TaskError, match="data source 'hub' reads no folder, got --data-dir"):
        load_task("cola", source="hub", data_dir=glue)
    with pytest.raises(TaskError, match="the bundled corpus reads no folder, got --data-dir"):
        load_task("cola", source="bundled", data_dir=glue)
    with pytest.raises(TaskError, match="looked at: no folder given"):
        load_task("cola", source="dir")


def test_an_unknown_task_is_an_error_whatever_the_source() -> None:
    for source in ("auto", "dir", "hub", "bundled"):
        with pytest.raises(UnknownNameError, match=r"unknown task 'kola': did you mean 'cola'\?"):
            load_task("kola", source=source)


def test_a_task_folder_with_a_file_missing_is_an_error_and_not_passed_over(glue: Path) -> None:
    (glue / "CoLA" / "dev.tsv").unlink()
    with pytest.raises(DataError, match=r"dev.tsv: No such file"):
        load_task("cola", fallback_dir=glue)


@pytest.mark.parametrize("file", ["train.tsv", "dev.tsv"])
@pytest.mark.parametrize("changed", ["gj04\t1\t*\tThem sing.\n", "gj04\t0\t*\tThem sang.\n"])
def test_the_fingerprint_sees_every_text_and_label(glue: Path, file: str, changed: str) -> None:
    before = load_task("cola", data_dir=glue).fingerprint
    assert load_task("cola", data_dir=glue).fingerprint == before
    (glue / "CoLA" / file).write_text(changed)
    assert load_task("cola", data_dir=glue).fingerprint != before


def test_a_users_own_csv_is_a_task_with_another_layout(tmp_path: Path) -> None:
    task = Task(
        name="mood",
        text_columns=("text",),
        label_column="mood",
        labels=("bad", "good"),
        metric="accuracy",
    )
    (tmp_path / "a.csv").write_text('text,mood\n"well, yes",good\n')
    (tmp_path / "b.csv").write_text("text,mood\nno,bad\n")
    layout = FileLayout(folder="", train="a.csv", dev="b.csv", delimiter=",", quoted=True)
    data = load_task_files(task, layout, root=tmp_path)
    assert (data.train.inputs, data.train.labels) == ((("well, yes",),), (1,))
    assert (data.dev.inputs, data.dev.labels) == ((("no",),), (0,))
