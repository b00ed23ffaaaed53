# Sourced by start_server.sh and run_tests.sh: makes .venv with the pinned packages, once, and again when a pin changed.
# shellcheck shell=bash

# Usage: ensure_venv REQUIREMENTS_FILE...   (relative to the project root, which is the current directory)
ensure_venv() {
  local python stamp wanted
  wanted=$(cat "$@" | sha256sum | cut -d' ' -f1)
  stamp=.venv/.installed-$(printf '%s' "$*" | sha256sum | cut -c1-12)
  if [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    return 0
  fi
  exec 9>.venv.lock
  flock 9
  if [ ! -x .venv/bin/python ]; then
    python=$(find_python) || return 1
    echo "Making .venv with $python ..."
    if ! "$python" -m venv .venv; then
      echo "error: '$python -m venv' failed; on Debian and Ubuntu: apt-get install python3.11-venv" >&2
      rm -rf .venv
      return 1
    fi
  fi
  if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "Installing the pinned packages of $* ..."
    local options=()
    for file in "$@"; do options+=(-r "$file"); done
    if ! .venv/bin/python -m pip install --quiet --disable-pip-version-check "${options[@]}"; then
      echo "error: the packages could not be installed; is a package index reachable? (pip config, HTTPS_PROXY)" >&2
      return 1
    fi
    printf '%s\n' "$wanted" > "$stamp"
  fi
  flock -u 9
  exec 9>&-
}

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.11 python3; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return 0
    fi
  done
  echo "error: Python 3.11 or newer is needed and was not found; install it or set PYTHON=/path/to/python3.11" >&2
  return 1
}
