#!/bin/sh
# Makes .venv in the checkout, from $PYTHON or the first python3 that is new enough.
# One that works is kept: pip then brings it up to date.
set -eu
cd "$(dirname "$0")/.."

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

if [ -x .venv/bin/pip ] && new_enough .venv/bin/python; then
    exit 0
fi

python=
for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if new_enough "$candidate"; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "metaopt needs Python 3.11 or newer; install one, or name it: make PYTHON=/path/to/python3" >&2
    exit 1
fi
# Debian ships venv without ensurepip: it fails halfway through and leaves a broken folder.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "$python can't make virtual environments; install python3-venv (apt-get install python3-venv)" >&2
    exit 1
fi
"$python" -m venv --clear .venv
