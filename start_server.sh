#!/usr/bin/env bash
# Sets up .venv if needed, then starts the server, or with --demo shows what it does.
#
#   ./start_server.sh [--host H] [--port P] [--state_dir D] [--stream_path S] [--config F]
#   ./start_server.sh --demo [--seconds N] [--video PATH|rtsp://…] [--direction left|right|both] [--output DIR]
#
# The old server's single argument (0 or 1, is_single_process) is accepted and has no effect: every task has its own process.
set -eu
cd "$(dirname "$0")"
. tools/venv.sh
ensure_venv requirements.txt

case "${1:-}" in
  0 | 1) shift ;;
esac
for argument in "$@"; do
  if [ "$argument" = --demo ]; then
    exec .venv/bin/python -m streamserver.demo "$@"
  fi
done
exec .venv/bin/python start.py "$@"
