"""For each element, configurations that together make it read every key that it knows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from streamserver.geometry.tracking.byte_tracker import ByteTrackOptions

NAMES = "configs/labels/coco.txt"
_ROI = {"left": 0, "top": 0, "width": 9, "height": 9}
_PIXELS: dict[str, Any] = {"mean": [0] * 3, "std": [1] * 3, "bgr2rgb": True}
_FILTER: dict[str, Any] = {
    "type": 1,
    "classes": [0],
    "areas": [[{"left": 1, "top": 2}, {"left": 1, "top": 9}]],
    "times": [{"time_start": "00 00 00", "time_end": "23 59 59"}],
}
_CONDITIONS: dict[str, Any] = {
    "classes": [0],
    "thresholds": {"0": 0.5},
    "min_px": 1,
    "max_px": 9,
    "schedule": {"zone": "Europe/Berlin", "windows": [{"day": 0, "start": 0, "end": 60}]},
    "exclude": [[[0, 0], [9, 0], [9, 9]]],
}
_RULE: dict[str, Any] = {
    "kind": "cross",
    "lines": [[[0, 0], [9, 9], [9, 20]]],
    "include": [[[0, 0], [9, 0], [9, 9]]],
    "events": ["enter"],
}
_DETECTOR: dict[str, Any] = {"model_path": "m", "threshold_conf": 0.5, "threshold_nms": 0.5, "roi": _ROI}
_PUSH: dict[str, Any] = {"ip": "127.0.0.1", "port": 1, "path": "/x"}
_ENCODE: dict[str, Any] = {"enc_fmt": "h264_bm", "pix_fmt": "I420", "ip": "127.0.0.1", "prefix": "x"}

CONFIGURATIONS: Mapping[str, list[dict[str, Any]]] = {
    "decode": [{}],
    "yolox": [{**_DETECTOR, **_PIXELS}, {**_DETECTOR, "threshold_conf": {"a": 0.5}, "class_names_file": NAMES}],
    "yolov5": [{**_DETECTOR, **_PIXELS}, {**_DETECTOR, "threshold_conf": {"a": 0.5}, "class_names_file": NAMES}],
    "yolov7": [{**_DETECTOR, **_PIXELS}, {**_DETECTOR, "threshold_conf": {"a": 0.5}, "class_names_file": NAMES}],
    "yolov8": [
        *({**_DETECTOR, **_PIXELS, "task_type": task} for task in ("Detect", "Pose", "Cls", "Seg", "Obb")),
        {**_DETECTOR, "threshold_conf": {"a": 0.5}, "class_names_file": NAMES},
    ],
    "motion": [{"roi": _ROI}],
    "retinaface": [{"model_path": "m", "threshold_nms": 0.4, "roi": _ROI, **_PIXELS}],
    "resnet": [
        {"model_path": "m", **_PIXELS, "task_type": task, "roi": _ROI, "class_names_file": NAMES}
        for task in ("SingleLabel", "FeatureExtract", "MultiLabel")
    ],
    "faiss": [{"db_path": NAMES, "label_path": NAMES}],
    "lprnet": [{"model_path": "m"}],
    "ppocr_det": [{"model_path": "m", **_PIXELS, "roi": _ROI}],
    "ppocr_rec": [
        {"model_path": "m", "class_names_file": NAMES, "beam_search": True, "beam_width": 3},
        {"model_path": "m", "alphabet": "cn_plate"},
        {"model_path": "m", "characters_file": NAMES},
    ],
    "openpose": [{"model_path": "m", "threshold_nms": 0.1, "use_tpu_kernel": False, **_PIXELS}],
    "fastpose": [
        {"model_path": "m", "heatmap_loss": "MSELoss", "area_thresh": 0.0, **_PIXELS},
        {"model_path": "m", "heatmap_loss": "L1JointRegression"},
    ],
    "posec3d": [{"model_path": "m", "class_names_file": NAMES, "frames_num": 72}],
    "bytetrack": [dataclasses.asdict(ByteTrackOptions())],
    "distributor": [
        {
            "default_port": 0,
            "class_names_file": NAMES,
            "rules": [
                {"time_interval": 1, "routes": [{"classes": ["person"], "port": 1}]},
                {"frame_interval": 2, "routes": [{"classes": [], "port": 2}]},
            ],
        }
    ],
    "converger": [{"default_port": 0}],
    "vote": [{}],
    "filter": [
        {"rules": [{"channel_id": 0, "filters": [_FILTER | {"mode": "cross"}]}]},
        {"rules": [{"channel_id": 0, "filters": [_FILTER | {"alert_first_frames": 1, "conditions": _CONDITIONS}]}]},
        {"rules": [{"channel_id": 0, "filters": [{"rule": _RULE, "conditions": {}, "classes": [0]}]}]},
    ],
    "osd": [
        {"osd_type": "DET", "class_names_file": NAMES},
        {"osd_type": "TRACK", "draw_interval": True, "put_text": True},
        {"osd_type": "POSE"},
        {"osd_type": "AREA"},
        {"osd_type": "OBB", "class_names_file": NAMES},
        {"osd_type": "ALGORITHM", "draw_func_name": "default", "recognice_names_file": NAMES},
        {"osd_type": "TEXT", "tops": [1], "lefts": [1], "texts": ["x"], "r": 1, "g": 2, "b": 3},
    ],
    "resize": [{"dst_h": 8, "dst_w": 8, "crop_top": 0, "crop_left": 0, "crop_h": 8, "crop_w": 8}],
    "blank": [{}],
    "encode": [
        {"encode_type": "VIDEO", **_ENCODE},
        {"encode_type": "RTSP", "rtsp_port": "8554", **_ENCODE},
        {"encode_type": "RTMP", "rtmp_port": "1935", **_ENCODE},
        {"encode_type": "IMG_DIR"},
        {"encode_type": "WS", "wss_port": "9000", "ws_enc_type": "SERIALIZED", "wss_backend": "BOOST"},
    ],
    "download_image": [{}],
    "http_push": [_PUSH, {**_PUSH, "scheme": "https", "verify": False}],
}
