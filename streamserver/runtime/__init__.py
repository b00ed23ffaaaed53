"""The only place that imports onnxruntime: sessions, providers, threads."""
