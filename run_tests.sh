#!/usr/bin/env bash
# Sets up .venv and the system packages of the tests' servers if needed, then runs the linters, the type checker and every
# test. Arguments go to pytest. INSTALL_PACKAGES=no leaves the system as it is; what is missing is said, its tests skip.
set -eu
cd "$(dirname "$(readlink -f "$0")")"
. tools/venv.sh
. tools/packages.sh
. tools/triton.sh
ensure_venv . requirements.txt requirements-nodeps.txt requirements-dev.txt
ensure_test_packages
ensure_triton > /dev/null & # about 20 s; its tests wait for it

# Hundreds of processes import the same modules and all workers collect the same tests: compiled here, once. The tests'
# own processes only read that, so what one of them changes cannot meet the other's cache.
compile_everything() {
  export PYTHONDONTWRITEBYTECODE=
  .venv/bin/python -m compileall -q -- streamserver passflow samples bench ./*.py || true
  .venv/bin/python -m pytest --collect-only "$@" || true # its mistakes come again, and are told, in the run itself
}

.venv/bin/ruff format --check .
.venv/bin/ruff check .
compile_everything "$@" > /dev/null 2>&1 &
compiling=$!
.venv/bin/bandit -q -c pyproject.toml -r streamserver passflow samples ./*.py 2> >(grep -v 'nosec encountered' >&2) &
looking_for_holes=$!
failed=0
.venv/bin/mypy || failed=$?
wait "$looking_for_holes" || failed=$?
wait "$compiling"
if [ "$failed" -ne 0 ]; then
  exit "$failed"
fi
export PYTHONDONTWRITEBYTECODE=1
# Many tests wait rather than compute, so two more workers than there are cores.
exec .venv/bin/python -m pytest -n "${TEST_WORKERS:-$(($(nproc) + 2))}" --dist worksteal "$@"
