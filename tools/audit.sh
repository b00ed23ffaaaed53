#!/usr/bin/env bash
# Asks PyPI's or OSV's list of vulnerabilities about every pinned package and what those bring along: tools/audit.sh [pypi|osv].
# Needs .venv and the internet (pypi.org or api.osv.dev). Fails for a finding, and for a package that nobody could be asked about.
set -eu
cd "$(dirname "$(readlink -f "$0")")/.."
exec .venv/bin/pip-audit --strict --progress-spinner off --vulnerability-service "${1:-pypi}" \
    --path "$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
