"""A bare viewer of a live stream: ``python -m bench.viewer URL SECONDS`` prints when it had each picture.

PyAV over TCP, one thread, nothing done with a picture but reading its number (``tests.servers.clips``).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

from bench.floor import ENVIRONMENT


def viewer(url: str, seconds: float) -> subprocess.Popen[str]:
    """Starts one; its output is JSON: of each picture its number and the moment, seconds since the epoch."""
    import os

    command = [sys.executable, "-m", "bench.viewer", url, str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **ENVIRONMENT})


def main(url: str, seconds: str) -> None:
    """Prints the pictures that came within ``seconds``."""
    import av
    import numpy as np

    from tests.servers.clips import frame_number

    seen: list[tuple[int, float]] = []
    end_s = time.monotonic() + float(seconds)
    with av.open(url, options={"rtsp_transport": "tcp", "allowed_media_types": "video"}) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for frame in container.decode(video=0):
            moment = time.time()
            luma = np.frombuffer(frame.planes[0], np.uint8).reshape(-1, frame.planes[0].line_size)
            seen.append((frame_number(luma), moment))
            if time.monotonic() > end_s:
                break
    print(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
