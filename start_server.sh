#!/usr/bin/env bash
# Sets up .venv if needed, then starts the server, or with --demo shows what it does. Paths count from where you stand.
#
#   ./start_server.sh [--config F] [--NAME VALUE …]      every setting of docs/settings.md but secrets
#   ./start_server.sh --demo [--seconds N] [--video PATH|rtsp://…] [--line X1,Y1,X2,Y2] [--direction left|right|both]
#                            [--output DIR]
#
# The old server's single argument (0 or 1, is_single_process) is accepted and has no effect: every task has its own process.
set -eu
root=$(dirname "$(readlink -f "$0")")
. "$root/tools/venv.sh"
ensure_venv "$root" requirements.txt requirements-nodeps.txt

case "${1:-}" in
  0 | 1) shift ;;
esac
for argument in "$@"; do
  if [ "$argument" = --demo ]; then
    export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
    exec "$root/.venv/bin/python" -P -m streamserver.demo "$@"
  fi
done
exec "$root/.venv/bin/python" "$root/start.py" "$@"
