#!/usr/bin/env bash
# Sets up .venv if needed, then runs the linter, the type checker and every test. Arguments go to pytest.
set -eu
cd "$(dirname "$(readlink -f "$0")")"
. tools/venv.sh
ensure_venv . requirements.txt requirements-nodeps.txt requirements-dev.txt

.venv/bin/ruff format --check .
.venv/bin/ruff check .
.venv/bin/mypy
exec .venv/bin/python -m pytest -n "${TEST_WORKERS:-auto}" "$@"
