"""A Triton server for tests; run by the Python that tools/triton.sh has made, not by ours.

Arguments: the port, a folder for its files, and the ONNX file of the model ``yolox``. ``double`` gives twice what it
gets, in float32. The file ``mode`` in the folder says how: ``well``, ``raise``, ``shape`` for an answer of another
shape than the server promises, or ``slow``. ``half`` does it in float16.
"""

# mypy: ignore-errors
from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

PORT, FOLDER, WEIGHTS = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
CONFIG = ModelConfig(max_batch_size=8, batcher=DynamicBatcher(max_queue_delay_microseconds=2000))


def read_mode():
    """How to work, once it is time to."""
    mode = (FOLDER / "mode").read_text()
    if mode == "raise":
        raise ValueError("out of sorts")
    if mode == "slow":
        time.sleep(0.2)
    return mode


@batch
def double(x):
    """Twice the numbers, or what ``mode`` says."""
    mode = read_mode()
    return [np.zeros((len(x), 7), x.dtype) if mode == "shape" else 2 * x]


def detector(path):
    """yolox, one picture at a time, as its file wants it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)

    @batch
    def look(images):
        read_mode()
        return [np.concatenate([session.run(None, {"images": image[None]})[0] for image in images])]

    return look


def main():
    """Serves until it is killed."""
    config = TritonConfig(
        grpc_port=PORT,
        grpc_address="127.0.0.1",
        http_port=PORT + 1,
        http_address="127.0.0.1",
        allow_metrics=False,
    )
    with Triton(config=config, workspace=tempfile.mkdtemp(dir=FOLDER) + "/workspace") as triton:
        for name, dtype in (("double", np.float32), ("half", np.float16)):
            x, y = (Tensor(name=side, dtype=dtype, shape=(3,)) for side in "xy")
            triton.bind(name, double, inputs=[x], outputs=[y], config=CONFIG)
        image = Tensor(name="images", dtype=np.float32, shape=(3, 416, 416))
        rows = Tensor(name="output", dtype=np.float32, shape=(-1, 85))
        triton.bind("yolox", detector(WEIGHTS), inputs=[image], outputs=[rows], config=CONFIG)
        triton.serve()


if __name__ == "__main__":
    try:
        main()
    except Exception:  # on a busy machine Triton sometimes closes the connection over which its models are loaded
        if "AGAIN" in os.environ:
            raise
        os.environ["AGAIN"] = "yes"
        os.execv(sys.executable, [sys.executable, *sys.argv])
