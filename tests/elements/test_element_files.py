from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from streamserver import elements
from streamserver.core.errors import GraphError
from streamserver.engine.element import Element
from streamserver.geometry.rules.rule import Conditions, RuleSpec
from streamserver.geometry.tracking.byte_tracker import ByteTrackOptions


def test_every_file_is_an_element_of_its_name() -> None:
    assert {"decode", "http_push"} <= elements.available()
    for name in elements.available():
        assert issubclass(elements.element_class(name), Element), name


def test_an_unknown_name_says_which_is_near() -> None:
    with pytest.raises(GraphError, match="no element 'http_pusch'; did you mean 'http_push'"):
        elements.element_class("http_pusch")


def test_every_element_and_every_key_of_a_filter_is_in_the_documentation() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "elements.md").read_text()
    sections = {name for line in text.splitlines() if line.startswith("## ") for name in line[3:].split(", ")}
    assert elements.available() <= sections
    spec = (Path(__file__).resolve().parents[2] / "streamserver" / "geometry" / "rules" / "spec.py").read_text()
    keys = set(re.findall(r'entry, "([a-z_]+)"', spec)) | {field.name for field in fields(ByteTrackOptions)}
    keys |= {field.name.removesuffix("_xy") for kind in (Conditions, RuleSpec) for field in fields(kind)}
    assert len(keys) > 12
    assert [key for key in sorted(keys) if f"`{key}`" not in text] == []


@pytest.mark.parametrize("name", ["", "_push_connection", "__init__", "../decode", "os", "decode.x"])
def test_a_name_that_is_no_file_imports_nothing(name: str) -> None:
    before = set(sys.modules)
    with pytest.raises(GraphError, match="there is no element"):
        elements.element_class(name)
    assert set(sys.modules) == before


def test_listing_the_elements_imports_none_of_them() -> None:
    code = (
        "import sys; from streamserver import elements; elements.available();"
        "print(sorted({'cv2', 'av', 'onnxruntime'} & set(sys.modules)), "
        "[m for m in sys.modules if m.startswith('streamserver.elements.')])"
    )
    project = Path(__file__).resolve().parents[2]
    result = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, timeout=120)
    assert result.stdout.strip() == "[] []", result.stderr


def test_an_engine_without_a_network_loads_no_onnxruntime() -> None:
    """It would cost each task 10 MB and a third of a second."""
    program = "import sys; import streamserver.worker.app, streamserver.elements.motion, streamserver.elements._model"
    said = "print('onnxruntime' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", f"{program}; {said}"], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"
