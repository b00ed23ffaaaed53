# Sourced by start_server.sh and run_tests.sh: makes .venv with the pinned packages, once, and again when a pin changed.
# shellcheck shell=bash

# Usage: ensure_venv PROJECT_FOLDER REQUIREMENTS_FILE...   (the files are relative to the folder; those named
# *-nodeps.txt are installed without the packages that theirs depend on)
ensure_venv() (
  cd -- "$1"
  shift
  local wanted stamp python file options=() bare=()
  wanted=$(cat -- "$@" | sha256sum | cut -d' ' -f1)
  stamp=.venv/.installed-$(printf '%s' "$*" | sha256sum | cut -c1-12)
  if is_installed; then
    exit 0
  fi
  python=$(find_python)
  if ! { : >> .venv.lock; } 2> /dev/null; then
    fail "$PWD cannot be written, so .venv cannot be made there; run this once as a user who may, then it is not needed"
  fi
  exec 9> .venv.lock
  "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' # held until this subshell ends
  if is_installed; then
    exit 0
  fi
  if ! is_usable .venv/bin/python; then
    echo "Making .venv with $python ..."
    if ! "$python" -m venv --clear .venv; then
      rm -rf .venv
      fail "'$python -m venv' failed; on Debian and Ubuntu: apt-get install python3-venv"
    fi
  fi
  echo "Installing the pinned packages of $* (about 1 GB; some minutes on a slow network) ..."
  for file in "$@"; do
    case "$file" in
      *-nodeps.txt) bare+=(-r "$file") ;;
      *) options+=(-r "$file") ;;
    esac
  done
  if ! install "${options[@]}" || { [ ${#bare[@]} -gt 0 ] && ! install --no-deps "${bare[@]}"; }; then
    fail "the packages could not be installed; is a package index reachable? (pip config, HTTPS_PROXY)"
  fi
  printf '%s\n' "$wanted" > "$stamp"
)

install() {
  .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@"
}

is_installed() {
  [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2> /dev/null)" = "$wanted" ]
}

# An environment whose making was interrupted lacks pip, one of an older Python the right version.
is_usable() {
  [ -x "$1" ] && "$1" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null
}

find_python() {
  local candidate candidates=(python3.11 python3)
  if [ -n "${PYTHON:-}" ]; then
    candidates=("$PYTHON")
  fi
  for candidate in "${candidates[@]}"; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
      echo "$candidate"
      return 0
    fi
  done
  fail "Python 3.11 or newer is needed and '${PYTHON:-python3}' is none; install it or set PYTHON=/path/to/python3.11"
}

fail() {
  echo "error: $1" >&2
  exit 1
}
