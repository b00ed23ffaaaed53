"""The only place that imports onnxruntime: sessions, providers, threads."""

import os

# From 1.31 on, importing ONNX Runtime would start a thread and a database for its telemetry.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
