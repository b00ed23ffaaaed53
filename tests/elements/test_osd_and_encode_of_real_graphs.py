"""Every osd and encode file that sophon-stream ships is one that our elements take."""

from __future__ import annotations

import json
from pathlib import Path

from streamserver.core.settings import Settings
from streamserver.elements import element_class
from streamserver.engine.element import ElementContext
from tests.assets import graphs_dir


def test_every_osd_and_encode_of_sophon_streams_samples_is_accepted(tmp_path: Path) -> None:
    base_dir = tmp_path / "build"
    base_dir.mkdir()
    names = tmp_path / "yolov8_obb" / "data" / "dotav1.names"
    names.parent.mkdir(parents=True)
    names.write_text("plane\nship\n")
    taken: list[str] = []
    for path in sorted(graphs_dir().rglob("*.json")):
        content = json.loads(path.read_text())
        if not isinstance(content, dict) or content.get("name") not in ("osd", "encode"):
            continue
        taken.append(str(content["name"]))
        context = ElementContext(
            element_id=1,
            name=taken[-1],
            config_file=str(path),
            configure=content["configure"],
            settings=Settings(),
            base_dir=base_dir,
        )
        element_class(taken[-1])(context)
    assert taken.count("osd") >= 5 and taken.count("encode") >= 12
