# Sourced by run_tests.sh: a Triton server from PyPI for the tests of remote inference, outside the project.
# shellcheck shell=bash

TRITON_DIR=${XDG_CACHE_HOME:-$HOME/.cache}/streamserver-tests/triton

# Makes the environment once (about 20 s, 440 MB), and again when a pin changes; INSTALL_PACKAGES=no leaves it as it is.
# The package's Triton is linked against Debian's Python, so no other will do. Never fails: its tests say what is missing.
ensure_triton() (
  local pins=tests/servers/triton-requirements.txt wanted
  wanted=$(sha256sum < "$pins")
  mkdir -p -- "$TRITON_DIR" && exec 9> "$TRITON_DIR/lock" || exit 0
  flock 9 # whoever needs it waits here until it is made
  if [ "$(cat -- "$TRITON_DIR/stamp" 2> /dev/null)" = "$wanted" ] || [ "${INSTALL_PACKAGES:-yes}" = no ]; then
    exit 0
  fi
  if /usr/bin/python3 -m venv --clear "$TRITON_DIR/venv" \
    && "$TRITON_DIR/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$pins"; then
    printf '%s\n' "$wanted" > "$TRITON_DIR/stamp"
  fi > "$TRITON_DIR/log" 2>&1
  exit 0
)
