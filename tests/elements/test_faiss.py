"""The faiss element: the nearest row by inner product, and tables that do not fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamserver.core.errors import GraphError
from streamserver.core.objects import Recognition
from streamserver.core.settings import Settings
from streamserver.elements.faiss import ELEMENT
from streamserver.engine.element import ElementContext
from streamserver.engine.frame import Frame

ROWS = "1 0 0\n0 2 0\n0 0 1\n"
NAMES = "anna\nbert\ncara\n"


def element(tmp_path: Path, *, rows: str | None = ROWS, names: str | None = NAMES, **keys: Any) -> Any:
    for file, text in (("db.txt", rows), ("names.txt", names)):
        if text is not None:
            (tmp_path / file).write_text(text, "utf-8")
    configure: dict[str, Any] = {"db_path": "db.txt", "label_path": "names.txt", "default_port": 0}
    context = ElementContext(
        element_id=5009,
        name="faiss",
        config_file="elements/0_5009_faiss.json",
        configure={key: value for key, value in {**configure, **keys}.items() if value is not ...},
        settings=Settings(),
        base_dir=tmp_path,
    )
    return ELEMENT(context)


def opened(tmp_path: Path, **keys: Any) -> Any:
    ready = element(tmp_path, **keys)
    ready.open()
    return ready


def looked_up(ready: Any, *recognitions: Recognition) -> tuple[Recognition, ...]:
    frame = Frame(0, 0, 0, recognitions=recognitions)
    out: list[Frame] = []
    ready.process(frame, lambda frame, *, port=None: out.append(frame))
    assert out == [frame]
    return tuple(frame.recognitions)


def with_feature(*numbers: float, **values: Any) -> Recognition:
    return Recognition(feature=np.array(numbers, dtype=np.float32), **values)


def test_the_row_with_the_largest_inner_product_gives_its_name(tmp_path: Path) -> None:
    [found] = looked_up(opened(tmp_path), with_feature(3, 2, 1))
    assert (found.label, found.class_ids, found.scores) == ("bert", (1,), (4.0,))


def test_what_was_known_of_it_stays_before_it(tmp_path: Path) -> None:
    [found] = looked_up(opened(tmp_path), with_feature(1, 0, 0, scores=(0.9,), class_ids=(7,)))
    assert (found.class_ids, found.scores) == ((7, 0), (0.9, 1.0))
    assert found.feature is not None


def test_what_has_no_feature_or_a_broken_one_stays_as_it_is(tmp_path: Path) -> None:
    text, broken = Recognition(label="A1"), with_feature(np.nan, 0, 0)
    one, two, three = looked_up(opened(tmp_path), text, broken, with_feature(0, 0, 1))
    assert (one, two, three.label) == (text, broken, "cara")
    assert looked_up(opened(tmp_path)) == ()


def test_the_cosine_does_not_prefer_long_rows(tmp_path: Path) -> None:
    [found] = looked_up(opened(tmp_path, metric="cosine"), with_feature(3, 2, 1))
    assert found.label == "anna"
    assert found.scores[0] == pytest.approx(3 / 14**0.5)
    [nothing] = looked_up(opened(tmp_path, metric="cosine", threshold=0.1), with_feature(0, 0, 0))
    assert nothing.label == ""


def test_below_the_threshold_nobody_is_named(tmp_path: Path) -> None:
    ready = opened(tmp_path, threshold=4)
    below, at = looked_up(ready, with_feature(3, 1.9, 1), with_feature(3, 2, 1))
    assert (below.label, below.class_ids, below.scores) == ("", (), ())
    assert at.label == "bert"


def test_a_person_may_have_several_rows_and_a_table_one(tmp_path: Path) -> None:
    [found] = looked_up(opened(tmp_path, names="anna\nbert\nanna\n\n"), with_feature(0, 0, 1))
    assert (found.label, found.class_ids) == ("anna", (2,))
    [found] = looked_up(opened(tmp_path, rows="\ufeff  1.5e0\t0 -1 \n\n", names="张三"), with_feature(2, 0, 0))
    assert (found.label, found.scores) == ("张三", (3.0,))


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"db_path": ...}, "db_path: expected a text, got None"),
        ({"label_path": ""}, "label_path: expected a text"),
        ({"db_path": "gone.txt"}, "db_path: there is no file '.*gone.txt'"),
        ({"label_path": "gone.txt"}, "label_path: there is no file '.*gone.txt'"),
        ({"metric": "l2"}, "metric: got 'l2'"),
        ({"threshold": "x"}, "threshold: expected a number, got 'x'"),
        ({"threshold": float("nan")}, "threshold: expected a number"),
        ({"threshold": True}, "threshold: expected a number"),
    ],
)
def test_a_wrong_key_is_named_with_file_and_element(tmp_path: Path, keys: dict[str, Any], problem: str) -> None:
    with pytest.raises(GraphError, match=f"^elements/0_5009_faiss.json: element 5009 'faiss': {problem}"):
        element(tmp_path, **keys)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"rows": ""}, "db_path: '.*db.txt' is empty"),
        ({"rows": " \n\n"}, "db_path: '.*db.txt' is empty"),
        ({"rows": "1 0 0\n0 1\n0 0 1\n"}, "db_path: '.*db.txt' cannot be read: .*row 2"),
        ({"rows": "1 0 0\n0 x 0\n0 0 1\n"}, "db_path: '.*db.txt' cannot be read: .*'x'.*row 1"),
        ({"rows": "# 1\n"}, "db_path: '.*db.txt' cannot be read"),
        ({"rows": "1 0 0\n0 nan 0\n0 0 1\n"}, "db_path: '.*db.txt': row 2 holds something that is no number"),
        ({"rows": "1 0 0\n0 1e99 0\n0 0 1\n"}, "db_path: .*row 2 holds"),
        ({"names": "anna\nbert\n"}, "label_path: '.*names.txt' has 2 lines, '.*db.txt' has 3 rows"),
        ({"names": "\n"}, "label_path: class names '.*names.txt': the file is empty"),
    ],
)
def test_files_that_do_not_fit_are_named_when_it_opens(tmp_path: Path, files: dict[str, str], problem: str) -> None:
    with pytest.raises(GraphError, match=f"element 5009 'faiss': {problem}"):
        opened(tmp_path, **files)


def test_a_table_in_no_text_form_is_named(tmp_path: Path) -> None:
    ready = element(tmp_path)
    (tmp_path / "db.txt").write_bytes(np.arange(300, dtype=np.float32).tobytes())
    with pytest.raises(GraphError, match=r"db_path: '.*db.txt' cannot be read"):
        ready.open()


def test_rows_with_commas_and_names_in_another_encoding_are_refused_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match=r"db_path: '.*db.txt' cannot be read: .*'1,0,0'") as caught:
        opened(tmp_path, rows="1,0,0\n0,2,0\n")
    assert "separated by blanks" in caught.value.cure
    ready = element(tmp_path)
    (tmp_path / "names.txt").write_bytes("张三\r\n李四\r\n王五\r\n".encode("gbk"))
    with pytest.raises(GraphError, match=r"label_path: .*names.txt' cannot be read") as caught:
        ready.open()
    assert "UTF-8" in caught.value.cure


def test_files_of_windows_are_read(tmp_path: Path) -> None:
    ready = element(tmp_path)
    (tmp_path / "db.txt").write_bytes("\ufeff1 0 0\r\n0 2 0\r\n".encode())
    (tmp_path / "names.txt").write_bytes("\ufeff张三\r\n李四\r\n".encode())
    ready.open()
    [found] = looked_up(ready, with_feature(0, 1, 0))
    assert (found.label, found.class_ids, found.scores) == ("李四", (1,), (2.0,))


def test_features_of_another_network_are_refused_with_the_cure(tmp_path: Path) -> None:
    ready = opened(tmp_path)
    with pytest.raises(GraphError, match=r"db_path: '.*db.txt' has rows of 3 numbers, the features have 2") as caught:
        looked_up(ready, with_feature(1, 0))
    assert "with the network that runs before" in caught.value.cure
    ready.close()


def test_a_large_table_is_read_and_searched_as_numpy_would(tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(2000, 128)).astype(np.float32)
    rows = "\n".join(" ".join(f"{value:.6f}" for value in row) for row in features)
    ready = opened(tmp_path, rows=rows, names="\n".join(f"p{i}" for i in range(2000)))
    query = features[1234] + 0.1
    [found] = looked_up(ready, with_feature(*query))
    assert found.label == f"p{(features @ query).argmax()}" == "p1234"
    assert found.scores[0] == pytest.approx(float(features[1234] @ query), abs=1e-2)
