"""One picture of an address: ``python -m streamserver.media.snapshot``, started by web, which loads no decoder itself.

Standard input: one line of JSON, ``{"address": …, "source_type": …, "transport": "", "decoder": "av"}``, for an address
may hold a password and so is no argument. Standard output: a JPEG of full size, and exit code 0. Where there is none:
the reason as one line on standard error, without secrets, and exit code 1.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

from streamserver.core import secrets
from streamserver.core.errors import SourceError, StreamServerError
from streamserver.core.outgoing import Policy
from streamserver.core.picture import Picture
from streamserver.core.processes import die_with_starter
from streamserver.core.settings import load
from streamserver.core.source_monitor import SourceMonitor
from streamserver.core.states import SourceState
from streamserver.core.urls import source_type
from streamserver.media.sources import AS_FAST_AS_IT_GOES, SourceFrame, SourceSpec, open_source

LIMIT_S = 12.0
"""For everything, unless the command line says otherwise."""

_QUALITY = 90
_MOST_BYTES = 100_000
_FINAL = ("(401)", "(403)", "(404)")
"""What a second try would not change; and every wrong password brings a camera closer to locking us out."""

_TRIES = 2
"""A second one goes over another transport, where the first is refused."""

_CLEAN_IN_A_ROW = 12
_MENDING_S = 3.0
"""For how long a stream that began with losses may take to become clean."""


def take_picture(spec: SourceSpec, *, limit_s: float) -> Picture:
    """The first picture of ``spec`` that is worth showing.

    Args:
        spec: what to look at.
        limit_s: seconds for all of it.

    Raises:
        StreamServerError: there is none; the reason in words.
    """
    outcome: queue.SimpleQueue[Picture | StreamServerError] = queue.SimpleQueue()
    stopping = threading.Event()
    reasons: list[str] = []

    def note(state: SourceState, reason: str) -> None:
        if state is SourceState.RECONNECTING:
            reasons.append(reason)
            if len(reasons) == _TRIES or reason.endswith(_FINAL):
                outcome.put(SourceError(reason))

    monitor = SourceMonitor(note, stalled_after_s=spec.stalled_after_s)

    def look() -> None:
        try:
            picture = _choose(open_source(spec, stopping=stopping, monitor=monitor), monitor)
            outcome.put(picture or SourceError("it ended without a picture"))
        except StreamServerError as e:
            outcome.put(e)
        finally:
            outcome.put(SourceError("reading it has failed"))  # what is put later is not looked at

    threading.Thread(target=look, name="snapshot", daemon=True).start()
    try:
        found = outcome.get(timeout=limit_s)
    except queue.Empty:
        raise SourceError(monitor.report().reason or f"no picture came within {limit_s:.0f} s") from None
    finally:
        stopping.set()
    if isinstance(found, StreamServerError):
        raise found
    return found


def _choose(frames: Iterator[SourceFrame], monitor: SourceMonitor) -> Picture | None:
    """The first picture, or where packets were lost before it, one that follows when they no longer are."""
    picture, began, broken, clean = None, 0.0, 0, 0
    for frame in frames:
        picture = frame.picture
        _ = picture.bgr  # now: a decoder may not have it any more when the next one is read
        began = began or time.monotonic()
        broken, before = monitor.report().broken, broken
        clean = clean + 1 if broken == before else 0
        if not broken or clean >= _CLEAN_IN_A_ROW or time.monotonic() - began > _MENDING_S:
            break
    return picture


def spec_from_line(line: bytes) -> SourceSpec:
    """Reads what standard input says.

    Raises:
        SourceError: it is not what it should be.
    """
    try:
        question = json.loads(line)
        address = question["address"]
        if not isinstance(address, str):
            raise TypeError
        return SourceSpec(
            url=address,
            source_type=question.get("source_type") or source_type(address),
            fps=AS_FAST_AS_IT_GOES,
            decoder=question.get("decoder") or "av",
            transport=question.get("transport") or "auto",
            policy=Policy.from_settings(load()),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise SourceError("standard input: expected one line of JSON with 'address'") from e


def main(arguments: list[str] | None = None) -> NoReturn:
    """Answers one question and ends the process, also where a thread still hangs in a library."""
    die_with_starter()
    parser = argparse.ArgumentParser(
        prog="python -m streamserver.media.snapshot",
        description="Writes one picture of an address, which standard input names, to standard output.",
        allow_abbrev=False,
    )
    parser.add_argument("--limit_s", type=float, default=LIMIT_S, help="seconds for everything (default: %(default)s)")
    limit_s = parser.parse_args(arguments).limit_s
    said = _only_ours()
    try:
        jpeg = _answer(sys.stdin.buffer.readline(_MOST_BYTES), limit_s)
    except StreamServerError as e:
        os.write(said, f"{secrets.hide(' '.join(str(e).split()))}\n".encode())
        os._exit(1)
    try:
        sys.stdout.buffer.write(jpeg)
        sys.stdout.buffer.flush()
    except OSError:
        os._exit(1)
    os._exit(0)


def _only_ours() -> int:
    """A descriptor for standard error, where from now on nobody else writes: libraries may show addresses there."""
    logging.disable()
    said = os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)
    return said


def _answer(line: bytes, limit_s: float) -> bytes:
    deadline = time.monotonic() + limit_s
    spec = spec_from_line(line)
    secrets.register(spec.url)
    from streamserver.vision.codec import encode_jpeg

    return encode_jpeg(take_picture(spec, limit_s=deadline - time.monotonic()).bgr, quality=_QUALITY)


if __name__ == "__main__":
    main()
