from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streamserver import elements
from streamserver.core.errors import GraphError
from streamserver.engine.element import Element


def test_every_file_is_an_element_of_its_name() -> None:
    assert {"decode", "http_push"} <= elements.available()
    for name in elements.available():
        assert issubclass(elements.element_class(name), Element), name


def test_an_unknown_name_says_which_is_near() -> None:
    with pytest.raises(GraphError, match="no element 'http_pusch'; did you mean 'http_push'"):
        elements.element_class("http_pusch")


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
    result = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "[] []", result.stderr
