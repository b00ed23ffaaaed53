"""Which algorithm a task's ``Type`` means; an entry in ``map_type`` is all that an algorithm in samples/ needs.

``samples/add_algorithm.sh <name> <type>`` makes the folder and the entry. Methods written into ``Algorithms`` as in the
old server (``tripwire_logic(self, json_data, up_list, rm_list)`` and so on) are used before the sample's own functions.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

map_type = {
    1: "tripwire",
    2: "license_area_intrusion",
    3: "yolov5",
    6: "area_intrusion",
    7: "passenger_flow",
    16: "license_plate_recognition",
}


class Algorithms:
    """The functions of every algorithm under one roof: ``Algorithms().tripwire_logic`` is the sample's own."""

    def __getattr__(self, attribute: str) -> Callable[..., Any]:
        for function in ("_build_config", "_trans_json", "_logic"):
            name = attribute.removesuffix(function)
            if name != attribute and name in map_type.values():
                found: Callable[..., Any] = getattr(importlib.import_module(f"samples.{name}.{name}"), attribute)
                return found
        raise AttributeError(f"no algorithm of map_type has a function '{attribute}'")
