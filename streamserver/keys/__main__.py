"""``python -m streamserver.keys create | list | revoke | public``: application keys of this server."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from streamserver.core import logs
from streamserver.core.errors import StreamServerError
from streamserver.core.licences import utc_text
from streamserver.core.processes import end_with_the_reader
from streamserver.core.settings import load
from streamserver.keys.book import AppKey, KeyBook
from streamserver.keys.signing import SigningKey

_MOST_DAYS = 36_500
_LONGEST_NAME = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 0 when all is well."""
    options = _parser().parse_args(arguments)
    try:
        settings = load()
        logs.configure(level="WARNING")
        if options.command == "public":
            print(SigningKey(settings.state_path).public_text)
            return 0
        return _with_book(options, settings.state_path)
    except StreamServerError as e:
        print(f"error: {e}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m streamserver.keys", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="make a key; its secret is shown this once and kept nowhere")
    create.add_argument("--name", type=_label, default="", help="what to call it")
    create.add_argument("--service", type=_label, default="passflow", help="what it may use (%(default)s)")
    create.add_argument("--days", type=_days, default=365, help="for how long (%(default)s)")
    commands.add_parser("list", help="all keys, without their secrets")
    revoke = commands.add_parser("revoke", help="let a key give no more licences; those it gave hold until they expire")
    revoke.add_argument("app_key")
    commands.add_parser("public", help="print the public key for the setting license_public_key")
    return parser


def _label(text: str) -> str:
    if len(text) > _LONGEST_NAME or not text.isprintable():
        raise argparse.ArgumentTypeError(f"expected at most {_LONGEST_NAME} printable characters")
    return text


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_DAYS:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to {_MOST_DAYS}, got {text!r}")
    return int(text)


def _with_book(options: argparse.Namespace, state_path: Path) -> int:
    with KeyBook(state_path) as book:
        if options.command == "create":
            return _create(book, options)
        if options.command == "list":
            return _list(book.all())
        return _revoke(book, options.app_key)


def _create(book: KeyBook, options: argparse.Namespace) -> int:
    new = book.create(name=options.name, service=options.service, days=options.days)
    print(f"app_key: {new.key.app_key}")
    print(f"app_secret: {new.app_secret}")
    print(f"service_key: {new.key.service_key}", flush=True)
    print(f"valid until {utc_text(new.key.expires)}; the secret cannot be shown again", file=sys.stderr)
    return 0


def _list(keys: Sequence[AppKey]) -> int:
    rows = [("app_key", "service_key", "service", "created", "expires", "state", "name")]
    rows += [
        (k.app_key, k.service_key, k.service, utc_text(k.created), utc_text(k.expires), _state(k), k.name) for k in keys
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _state(key: AppKey) -> str:
    if key.revoked:
        return f"revoked {utc_text(key.revoked)}"
    return "expired" if key.expires <= time.time() else "valid"


def _revoke(book: KeyBook, app_key: str) -> int:
    key = book.revoke(app_key)
    if key is None:
        print(f"error: there is no app_key {app_key!r}; see 'list'", file=sys.stderr)
        return 1
    print(f"{key.app_key} was revoked at {utc_text(key.revoked)}; its licences hold until {utc_text(key.expires)}")
    return 0


if __name__ == "__main__":
    end_with_the_reader()
    sys.exit(main())
