"""``python -m streamserver.keys create | list | revoke | public``: the keys of this server.

With ``--role``, ``create`` makes a key for the HTTP API; without, one for an application that asks for licences.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from streamserver.core import audit, logs
from streamserver.core.errors import ConfigError, StreamServerError
from streamserver.core.licences import utc_text
from streamserver.core.processes import end_with_the_reader
from streamserver.core.settings import load
from streamserver.keys.api import ROLES, ApiKey
from streamserver.keys.book import AppKey, KeyBook
from streamserver.keys.ring import last_uses
from streamserver.keys.signing import SigningKey

_APP_DAYS = 365
_APP_SERVICE = "passflow"
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
        _require_owner(settings.state_path)
        return _with_book(options, settings.state_path)
    except StreamServerError as e:
        print(f"error: {e}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m streamserver.keys", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="make a key; its secret is shown this once and kept nowhere")
    create.add_argument("--role", choices=ROLES, help="make a key for the HTTP API: read looks, write also changes")
    create.add_argument("--name", type=_label, default="", help="what to call it")
    create.add_argument(
        "--service", type=_label, help=f"what an application's key may be used for ({_APP_SERVICE}); not with --role"
    )
    create.add_argument("--days", type=_days, help=f"for how long (until revoked with --role, else {_APP_DAYS} days)")
    listed = commands.add_parser("list", help="all keys, without their secrets")
    listed.add_argument("--json", action="store_true", help="for scripts: one object with api_keys and app_keys")
    revoke = commands.add_parser(
        "revoke", help="let a key do nothing more, from now on; licences that it gave hold until they expire"
    )
    revoke.add_argument("key", metavar="id", help="the id or app_key that 'list' shows")
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


def _require_owner(state_path: Path) -> None:
    """What root makes in the folder of another user, the server could not read.

    Raises:
        ConfigError: it would be so.
    """
    try:
        owner = state_path.stat().st_uid
    except OSError:
        return
    if os.geteuid() == 0 and owner != 0:
        raise ConfigError(
            f"{state_path} belongs to {_user(owner)}, and keys that root makes there the server could not read",
            cure=f"run it as that user: sudo -u {_user(owner)} …",
        )


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"#{number}"


def _with_book(options: argparse.Namespace, state_path: Path) -> int:
    with KeyBook(state_path) as book:
        if options.command == "create":
            return _create_api_key(book, options, state_path) if options.role else _create(book, options, state_path)
        if options.command == "list":
            return (_list_json if options.json else _list)(book, last_uses(state_path))
        return _revoke(book, options.key, state_path)


def _create_api_key(book: KeyBook, options: argparse.Namespace, state_path: Path) -> int:
    if options.service is not None:
        raise ConfigError("--service is for keys of applications", cure="leave out --service, or --role")
    new = book.create_api_key(name=options.name, role=options.role, days=options.days)
    print(f"token: {new.token}", flush=True)
    until = f"valid until {utc_text(new.key.expires)}" if new.key.expires else "valid until it is revoked"
    print(
        f"key {new.key.id}, role {new.key.role}, {until}; send it as 'Authorization: Bearer …'; "
        "it cannot be shown again",
        file=sys.stderr,
    )
    _note(state_path, "key created", new.key.id, name=new.key.name, role=new.key.role)
    return 0


def _create(book: KeyBook, options: argparse.Namespace, state_path: Path) -> int:
    service = _APP_SERVICE if options.service is None else options.service
    days = _APP_DAYS if options.days is None else options.days
    new = book.create(name=options.name, service=service, days=days)
    print(f"app_key: {new.key.app_key}")
    print(f"app_secret: {new.app_secret}")
    print(f"service_key: {new.key.service_key}", flush=True)
    print(
        f"valid until {utc_text(new.key.expires)}; the secret cannot be shown again; "
        "it gives licences, a key for the HTTP API is made with --role",
        file=sys.stderr,
    )
    _note(state_path, "key created", new.key.app_key, name=new.key.name, service=service)
    return 0


def _list(book: KeyBook, uses: dict[str, int]) -> int:
    api_keys, app_keys = book.api_keys(), book.all()
    if api_keys or not app_keys:
        _table(
            ("id", "role", "created", "expires", "last used", "state", "name"),
            [
                (k.id, k.role, utc_text(k.created), _time(k.expires), _time(uses.get(k.id, 0)), _state(k), k.name)
                for k in api_keys
            ],
        )
    if app_keys:
        if api_keys:
            print()
        _table(
            ("app_key", "service_key", "service", "created", "expires", "state", "name"),
            [
                (k.app_key, k.service_key, k.service, utc_text(k.created), utc_text(k.expires), _state(k), k.name)
                for k in app_keys
            ],
        )
    return 0


def _list_json(book: KeyBook, uses: dict[str, int]) -> int:
    content = {
        "api_keys": [
            {
                "id": k.id,
                "name": k.name,
                "role": k.role,
                "created": utc_text(k.created),
                "expires": utc_text(k.expires) if k.expires else None,
                "last_used": utc_text(uses[k.id]) if k.id in uses else None,
                "state": _state(k).partition(" ")[0],
            }
            for k in book.api_keys()
        ],
        "app_keys": [
            {
                "app_key": k.app_key,
                "service_key": k.service_key,
                "name": k.name,
                "service": k.service,
                "created": utc_text(k.created),
                "expires": utc_text(k.expires),
                "state": _state(k).partition(" ")[0],
            }
            for k in book.all()
        ],
    }
    print(json.dumps(content, indent=2))
    return 0


def _table(head: tuple[str, ...], content: Sequence[tuple[str, ...]]) -> None:
    rows = [head, *content]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _time(epoch_s: int) -> str:
    return utc_text(epoch_s) if epoch_s else "never"


def _state(key: AppKey | ApiKey) -> str:
    if key.revoked:
        return f"revoked {utc_text(key.revoked)}"
    return "expired" if key.expires and key.expires <= time.time() else "valid"


def _revoke(book: KeyBook, given: str, state_path: Path) -> int:
    name = given.removeprefix("ss_").partition("_")[0]  # of a whole token, the part that is no secret
    if api_key := book.revoke_api_key(name):
        print(f"key {api_key.id} was revoked at {utc_text(api_key.revoked)}; the API refuses it from now on")
    elif app_key := book.revoke(name):
        print(
            f"{app_key.app_key} was revoked at {utc_text(app_key.revoked)}; "
            f"its licences hold until {utc_text(app_key.expires)}"
        )
    else:
        print(f"error: there is no app_key {name!r}, nor an API key of this id; see 'list'", file=sys.stderr)
        return 1
    _note(state_path, "key revoked", name)
    return 0


def _note(state_path: Path, action: str, key: str, **more: str) -> None:
    """Into the audit log; the key is made or revoked by then, so trouble is told and no more."""
    who = f"{_user(os.getuid())} (command line)"
    try:
        audit.append(state_path, {"action": action, "by": who, "subject": key, **more})
    except OSError as e:
        print(f"warning: {audit.audit_file(state_path)} cannot be written: {e.strerror}", file=sys.stderr)


if __name__ == "__main__":
    end_with_the_reader()
    sys.exit(main())
