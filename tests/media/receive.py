"""The process of ``servers.MediaServer``: ``python -m tests.media.receive URL DESCRIPTOR`` tells a pipe what comes."""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection

import av
import numpy as np

_OPTIONS = {
    "rtsp": {"rtsp_flags": "listen", "listen_timeout": "60", "analyzeduration": "500000"},
    "rtmp": {"listen": "1", "timeout": "60", "analyzeduration": "500000"},
}


def receive(url: str, out: Connection) -> None:
    """Waits for whoever pushes to ``url`` and sends what each frame is, at last the error if there was one."""
    try:
        with av.open(url, options=_OPTIONS[url.partition(":")[0]]) as container:
            for frame in container.decode(video=0):
                image = frame.to_ndarray(format="bgr24")
                mean = image.reshape(-1, 3).mean(axis=0)
                codec = container.streams.video[0].codec_context.name
                out.send((codec, image.shape, tuple(np.round(mean)), frame.time, frame.key_frame))
    except av.FFmpegError as e:
        out.send(str(e))


if __name__ == "__main__":
    receive(sys.argv[1], Connection(int(sys.argv[2])))
