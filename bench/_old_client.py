"""What the old server's client.py did with a frame, written anew from CONTRACT 5.1, 5.4 and 5.6: a yardstick.

Flask's own server with a thread for each connection; of each frame the picture is decoded once with Pillow, each object
is cut out of it (a square with a margin of 20 px) and compressed with Pillow, and the report goes out in the handler,
by ``requests.post`` without a session. Where the contract leaves a choice, the cheaper way was taken: one decoding for
all objects, one POST for all events of a frame.
"""

from __future__ import annotations

import argparse
import base64
import io
from typing import Any

import requests
from flask import Flask, jsonify, request
from PIL import Image

_MARGIN_PX = 20


def main() -> None:
    """Serves until it is killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--url", required=True)
    options = parser.parse_args()
    app = Flask(__name__)

    @app.post("/flask_test/")
    def take() -> Any:
        message = request.get_json()
        if "error" in message:
            return jsonify({"message": "error", "response": -1})
        report = _report(message)
        if report["AnalyzeEvents"]:
            requests.post(options.url, json=[report], headers={"Content-Type": "application/json"})
        return jsonify({"message": "Request received and processed successfully", "response": 1})

    app.run("127.0.0.1", options.port, threaded=True)


def _report(message: dict[str, Any]) -> dict[str, Any]:
    objects = message.get("mDetectedObjectMetadatas", [])
    scene = message["mFrame"]["mSpData"]
    image = Image.open(io.BytesIO(base64.b64decode(scene))) if objects else None
    return {
        "FrameIndex": message["mFrame"]["mFrameId"],
        "SceneImageBase64": scene,
        "TaskID": "t1",
        "SrcID": "cam1",
        "AnalyzeEvents": [_event(image, found["mBox"]) for found in objects if image is not None],
    }


def _event(image: Image.Image, box: dict[str, int]) -> dict[str, Any]:
    left, top = box["mX"], box["mY"]
    right, bottom = left + box["mWidth"], top + box["mHeight"]
    half = max(box["mWidth"], box["mHeight"]) // 2 + _MARGIN_PX
    x, y = (left + right) // 2, (top + bottom) // 2
    square = (max(0, x - half), max(0, y - half), min(image.width, x + half), min(image.height, y + half))
    jpeg = io.BytesIO()
    image.crop(square).save(jpeg, format="JPEG")
    return {
        "ImageBase64": base64.b64encode(jpeg.getvalue()).decode(),
        "Type": 1,
        "Box": {"LeftTopY": top, "RightBtmY": bottom, "LeftTopX": left, "RightBtmX": right},
    }


if __name__ == "__main__":
    main()
