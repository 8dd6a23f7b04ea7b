"""The report on a real study and its page on optuna-dashboard, as a browser shows them."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta
from optuna.storages import RDBStorage
from rich.console import Console

from allocator.export import main as export
from allocator.files.study_folder import (
    ARTIFACTS_FOLDER,
    FIGURES_FOLDER,
    RECIPE_FILE,
    REPORT_FILE,
)
from allocator.progress.run_progress import RunProgress
from allocator.tuning.plan.search_config import SearchConfig
from allocator.tuning.plan.search_plan import plan_search
from allocator.tuning.runs.run_search import run_search
from allocator.tuning.storage.storage_url import choose_storage_url

MakeConfig = Callable[..., SearchConfig]


def search(config: SearchConfig) -> Path:
    plan = plan_search(config)
    run_search(config, plan, RunProgress(Console(file=io.StringIO(), width=100)))
    return plan.folder


def load_in_browser(address: str) -> str:
    """Return the text of a page and of its pictures, once its scripts have run."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next(filter(None, map(shutil.which, names)))
    words = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000"]
    done = subprocess.run(
        [*words, "--dump-dom", address], capture_output=True, check=True, timeout=60
    )
    return done.stdout.decode()


def read_text(page: str) -> str:
    """Return what a person reads on a page, in one line."""
    shown = re.sub(r"<(script|style).*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", shown).split())


class SilentHandler(WSGIRequestHandler):
    """Logs nothing."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def serve_dashboard(folder: Path) -> Iterator[str]:
    from optuna_dashboard import wsgi  # noqa: PLC0415  # imported without warnings by the report

    store = FileSystemArtifactStore(folder / ARTIFACTS_FOLDER)
    application = wsgi(RDBStorage(choose_storage_url(None, folder)), artifact_store=store)
    with make_server("127.0.0.1", 0, application, handler_class=SilentHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/dashboard"
        server.shutdown()


def open_optuna(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name=folder.name, storage=choose_storage_url(None, folder))


@pytest.mark.usefixtures("browser")
def test_a_browser_shows_verdict_table_and_pictures_of_a_real_study(
    make_config: MakeConfig,
) -> None:
    folder = search(make_config(trials=10, verdict_seeds=1, budget=(300, 600)))
    page = load_in_browser((folder / REPORT_FILE).as_uri())
    text = read_text(page)
    assert "What 600 parameters buy on cola" in text
    assert "Within 600 parameters: " in text
    assert re.search(r"The choice is (better|not distinguishable|worse) (than|from)", text)
    assert "loss on dev, mean of 1 new seed, and best minus each" in text
    assert "Best allocation within each budget: loss on dev, and minus that of 600" in text
    assert "--budget 300,600" in text
    assert "What this does not say" in text
    assert "--rivals lora:8 compares with a LoRA of rank 8" in text
    for name in ("front", "race", "effects", "learning-curves", "budget-split", "singular-values"):
        assert re.search(rf'id="{name}".*?class="main-svg"', page, flags=re.DOTALL), name
        assert (folder / FIGURES_FOLDER / f"{name}.png").stat().st_size > 10_000
    with serve_dashboard(folder) as address:
        shown = load_in_browser(f"{address}/studies/1")
        note = read_text(load_in_browser(f"{address}/studies/1/note"))
    assert "How the" in shown
    assert "leading allocations compare with the choice" in shown
    for name in (RECIPE_FILE, "best-300.yaml", REPORT_FILE):
        assert name in shown
    assert "Which ranks, and are they better?" in note
    assert "matthews_correlation on dev, mean of 1 new seed" in note


def test_a_report_loads_nothing_and_is_written_again_but_not_over_a_persons_note(
    make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = search(make_config(trials=2))
    first = (folder / REPORT_FILE).read_text("utf-8")
    assert "default-src 'none'" in first
    assert not re.search(r"<(link|img|iframe)\b|<script[^>]+src=", first.split("</head>")[1])
    assert "not proved" in read_text(first)
    assert "This search had one budget." in read_text(first)
    from optuna_dashboard import get_note, save_note  # noqa: PLC0415

    assert get_note(open_optuna(folder)).startswith("# What 600 parameters buy on cola")
    save_note(open_optuna(folder), "my own words")
    (folder / REPORT_FILE).unlink()
    assert export(["--study", folder.name, "--studies-dir", str(folder.parent)]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        str(folder / RECIPE_FILE),
        str(folder / REPORT_FILE),
        str(folder / FIGURES_FOLDER),
    ]
    assert "note on optuna-dashboard is your own, and was left as it is" in printed.err
    assert get_note(open_optuna(folder)) == "my own words"
    assert (folder / REPORT_FILE).read_text("utf-8") == first
    # Each file once, though it was stored twice.
    stored = get_all_artifact_meta(open_optuna(folder))
    assert sorted(meta.filename for meta in stored) == [RECIPE_FILE, REPORT_FILE]


def test_a_report_on_scores_says_what_is_true_of_scores(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    rows = "".join(f"{'the ' * (n % 7 + 1)},{n % 7 / 7}\n" for n in range(80))
    (tmp_path / "scores.csv").write_text(f"text,score\n{rows}")
    task = tmp_path / "len_gths.yaml"
    task.write_text(
        "{train: scores.csv, dev: scores.csv, text: text, label: score, regression: true}"
    )
    folder = search(make_config(task=str(task), data_dir=None, trials=6, verdict_seeds=1))
    text = read_text((folder / REPORT_FILE).read_text("utf-8"))
    assert "What 600 parameters buy on len_gths" in text
    assert "decided by the calibrated squared error" in text
    assert "that after the best line through the predictions" in text
    assert "biases" not in text
    assert "len_gths from file, fingerprint" in text
    assert str(tmp_path / "scores.csv") not in text


def test_a_report_on_a_study_of_published_protocol_promises_no_more_than_it_holds(
    make_config: MakeConfig,
) -> None:
    config = make_config(
        select_on="dev", decide_by="metric", space="constructions", trials=10, verdict_seeds=2
    )
    text = read_text((search(config) / REPORT_FILE).read_text("utf-8"))
    assert "The choice was made on dev, so its scores on dev are optimistic." in text
    assert "decided by the matthews_correlation" in text
    assert "which was scored once" not in text
    assert "quote the verdict" not in text
    assert "Ranks are listed in the order input, output or head_dim and heads" in text
