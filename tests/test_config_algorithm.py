from __future__ import annotations

import pytest

import config_algorithm
from samples.tripwire.tripwire import tripwire_logic
from samples.yolov5.yolov5 import yolov5_trans_json


def test_algorithms_offers_the_functions_of_every_entry_by_name() -> None:
    algorithms = config_algorithm.Algorithms()
    for name in config_algorithm.map_type.values():
        for function in ("build_config", "logic", "trans_json"):
            assert callable(getattr(algorithms, f"{name}_{function}"))
    assert algorithms.tripwire_logic is tripwire_logic
    assert algorithms.yolov5_trans_json is yolov5_trans_json


@pytest.mark.parametrize("name", ["tripwire", "nobody_logic", "tripwire_other", "template_logic"])
def test_other_attributes_do_not_exist(name: str) -> None:
    with pytest.raises(AttributeError, match=f"no algorithm of map_type has a function '{name}'"):
        getattr(config_algorithm.Algorithms(), name)


def test_methods_written_by_hand_come_first() -> None:
    class Mine(config_algorithm.Algorithms):
        def tripwire_logic(self) -> str:
            return "mine"

    assert Mine().tripwire_logic() == "mine"
    assert callable(Mine().yolov5_logic)
