#!/usr/bin/env bash
# Sets up .venv and the system packages of the tests' servers if needed, then runs the linter, the type checker and every
# test. Arguments go to pytest. INSTALL_PACKAGES=no leaves the system as it is; what is missing is said, its tests skip.
set -eu
cd "$(dirname "$(readlink -f "$0")")"
. tools/venv.sh
. tools/packages.sh
ensure_venv . requirements.txt requirements-nodeps.txt requirements-dev.txt
ensure_test_packages

.venv/bin/ruff format --check .
.venv/bin/ruff check .
.venv/bin/mypy
# Many tests wait rather than compute, so one more worker than there are cores.
exec .venv/bin/python -m pytest -n "${TEST_WORKERS:-$(($(nproc) + 1))}" "$@"
