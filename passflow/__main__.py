"""``python -m passflow VIDEO``: counts the people of a video, for people who do not program."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from passflow.licence import Authorizer, unauthorised
from passflow.options import MOST_INTERVAL, Options
from passflow.replies import Code, Refusal
from passflow.request import Request, read_request
from streamserver.core.errors import StreamServerError

if TYPE_CHECKING:
    from passflow.saving import Saver

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes."""

_USAGE_CODES = frozenset({Code.PARAMETER_NULL, Code.FORMAT, Code.REGION})
_KEYS = ("PASSFLOW_APP_KEY", "PASSFLOW_APP_SECRET", "PASSFLOW_SERVICE_KEY", "PASSFLOW_LICENSE")
_EPILOG = f"""\
examples:
  python -m passflow shop.mp4
  python -m passflow shop.mp4 --region "512,0 768,0 768,432 512,432" --save counted.mp4
  python -m passflow rtsp://user:password@10.0.0.5/1 --region "0,300 640,300 640,480 0,480"

exit codes: {DONE} counted, {FAILED} failed, {USAGE} wrong arguments, {INTERRUPTED} ended by Ctrl-C
where a licence is required: {", ".join(_KEYS)} in the environment, the last one the path of the licence file"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Counts, shows how far it is, and tells the totals; returns the exit code."""
    chosen = _parse(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        request = read_request(chosen.video, chosen.region or None, chosen.device, chosen.gpu_id)
        options = Options(
            vis=chosen.save is not None,
            mosaic=not chosen.no_mosaic,
            detect_interval=chosen.detect_interval,
            threshold=chosen.threshold,
            model=chosen.model,
        )
        _authorise()
        _check_target(chosen.save, request, overwrite=chosen.overwrite)
        with _ended_like_ctrl_c():
            return _count(request, options, chosen.save)
    except Refusal as e:
        return _fail(e.reason, USAGE if e.code in _USAGE_CODES else FAILED)
    except StreamServerError as e:
        return _fail(str(e), FAILED)
    except OSError as e:
        where = f"--save {chosen.save}: " if chosen.save else ""
        return _fail(f"{where}{e.strerror or e}", FAILED)
    except ValueError as e:
        return _fail(str(e), USAGE)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m passflow",
        description="Counts the people who pass a camera, or who walk into an area of its picture.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("video", metavar="VIDEO", help="a file (mp4, mkv, mov, avi), or the address of a stream (rtsp://, rtmp://)")
    add(
        "--region",
        action="append",
        type=_points,
        metavar='"x,y x,y x,y"',
        help="corners of an area in pixels from the top left; may be repeated. Without it, all who pass count",
    )
    add("--save", type=Path, metavar="OUT.mp4", help="write the video with areas, boxes and totals drawn in")
    add("--overwrite", action="store_true", help="replace OUT.mp4 if it is there")
    add("--no-mosaic", action="store_true", help="do not hide the people in OUT.mp4")
    add("--device", choices=("cpu", "gpu"), default="cpu")
    add("--gpu-id", type=int, default=0, metavar="N", help="which GPU, from 0")
    add("--detect-interval", type=int, default=1, metavar="N", help=f"look at every N-th frame, 1 to {MOST_INTERVAL}")
    add("--threshold", type=float, default=0.5, metavar="SHARE", help="least confidence in a person, 0 to 1")
    add("--model", default="yolox_nano", metavar="NAME", help="a detector of configs/models.yaml, or an ONNX file")
    return parser.parse_args(arguments)


def _points(text: str) -> list[tuple[int, ...]]:
    try:
        return [tuple(int(number) for number in point.split(",")) for point in text.split()]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected corners like '0,0 640,0 640,360', got '{text}'") from None


def _authorise() -> None:
    """Uses the keys of the environment, if there are any; raises ``Refusal`` (500)."""
    values = [os.environ.get(name, "") for name in _KEYS]
    if any(values):
        Authorizer(values[0], values[1], values[2], values[3]).authorization()
    if reason := unauthorised():
        raise Refusal(Code.NOT_AUTHORIZED, reason)


def _check_target(path: Path | None, request: Request, *, overwrite: bool) -> None:
    """Raises ``ValueError`` where the video must not be written."""
    if path is None:
        return
    if path.suffix != ".mp4":
        raise ValueError(f"--save {path}: the name has to end in .mp4")
    if not path.parent.is_dir():
        raise ValueError(f"--save {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise ValueError(f"--save {path}: is a folder")
    if path.exists() and not overwrite:
        raise ValueError(f"--save {path}: is there already; add --overwrite to replace it")
    if path.exists() and not request.is_live and Path(request.address).exists() and path.samefile(request.address):
        raise ValueError(f"--save {path}: is the video that is to be counted")


def _count(request: Request, options: Options, target: Path | None) -> int:
    from passflow.following import follow
    from passflow.progress import Progress

    progress = Progress(request)
    saver: Saver | None = None
    code = DONE
    try:
        with contextlib.ExitStack() as stack:
            frames = stack.enter_context(contextlib.closing(follow(request, options)))
            stack.callback(progress.close)
            for seen in frames:
                progress.show(seen)
                if seen is not None and target is not None:
                    saver = saver or stack.enter_context(_saver(target, progress.rate))
                    saver.add(seen)
    except KeyboardInterrupt:
        code = INTERRUPTED
    finally:
        if progress.frames:
            print(progress.words)
    if saver is not None:
        print(f"saved {target}")
    return code


@contextlib.contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """SIGTERM completes the file, too."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _saver(target: Path, rate: float) -> Saver:
    from passflow.saving import Saver
    from streamserver.media.pyav import require_av

    require_av(str(target))
    return Saver(target, rate)


def _fail(reason: str, code: int) -> int:
    print(f"error: {reason}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
