"""Stands in for sophon-stream's ``main``: reads its files as CONTRACT 1 and 2 say, posts one frame as CONTRACT 4 does.

Paths are relative to the working directory; one connection a message, no retry, no wait for what the receiver says.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
import time
import urllib.request
from pathlib import Path


def post(url: str, message: dict[str, object]) -> None:
    body = json.dumps(message, separators=(",", ":"), sort_keys=True).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", "Connection": "close"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        reply.read()


def main() -> int:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    demo_file = next(a.split("=", 1)[1] for a in sys.argv if a.startswith("--demo_config_path="))
    demo = json.loads(Path(demo_file).read_text())
    graphs = {graph["graph_id"]: graph for graph in json.loads(Path(demo["engine_config_path"]).read_text())}
    Path("libraries").write_text(os.environ["LD_LIBRARY_PATH"])
    report = demo["http_report"]
    post(f"http://{report['ip']}:{report['port']}{report['path']}", {"error": "SUCCESS"})
    picture = base64.b64encode(Path(os.environ["PICTURE"]).read_bytes()).decode()
    for channel in demo["channels"]:
        elements = graphs[channel["graph_id"]]["elements"]
        configs = [json.loads(Path(element["element_config"]).read_text()) for element in elements]
        push = next(config["configure"] for config in configs if config["name"] == "http_push")
        message = {
            "mDetectedObjectMetadatas": [
                {"mBox": {"mHeight": 120, "mWidth": 60, "mX": 10, "mY": 20}, "mClassify": 0, "mScores": [0.87]}
            ],
            "mTrackedObjectMetadatas": [{"mTrackId": 7}],
            "mFps": 0.0,
            "mFrame": {
                "mChannelId": channel["channel_id"],
                "mEndOfStream": False,
                "mFrameId": 42,
                "mHeight": 240,
                "mSpData": picture,
                "mTimestamp": 1700000000000000,
                "mWidth": 320,
            },
            "mGraphId": channel["graph_id"],
            "mSubId": 0,
        }
        post(f"http://{push['ip']}:{push['port']}{push['path']}", message)
    if channel["source_type"] != "VIDEO":
        time.sleep(1e6)
    return 0


if __name__ == "__main__":
    sys.exit(main())
