"""Bodies of ``/task/create`` that must be refused, each with a part of what its sender is told."""

from __future__ import annotations

import copy
from typing import Any

from streamserver.core.examples import NEW_TASK_BODY

Step = str | int

ZERO = {"X": 0, "Y": 0}
ALGORITHM = ("Algorithm", 0)
INFO = (*ALGORITHM, "DetectInfos", 0)
AREA = (*INFO, "HotArea")
LINE = (*INFO, "TripWire")
ADDRESS = ("InputSrc", "StreamSrc", "Address")
URLS = ("Reporting", "ReportUrlList")


class _Gone:
    """Stands for a key that is left out; its name is the same in every test process."""

    def __repr__(self) -> str:
        return "GONE"


GONE = _Gone()
"""Stands for a key that is taken away."""


def edited(path: tuple[Step, ...], value: Any) -> dict[str, Any]:
    """The body of a new task with one value replaced, or taken away."""
    body: Any = copy.deepcopy(NEW_TASK_BODY)
    parent = body
    for step in path[:-1]:
        parent = parent[step]
    if value is GONE:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return dict(body)


def _nested(levels: int) -> bytes:
    return b'{"TaskID":' + b"[" * levels + b"]" * levels + b"}"


_POINT = {"X": 5, "Y": 5}

NOT_JSON: list[tuple[bytes, str]] = [
    (b"", "$: the body is not JSON"),
    (b"TaskID=t1", "$: the body is not JSON: Expecting value at line 1 column 1"),
    (b'{"TaskID":"t1",}', "line 1 column"),
    (b"[]", "$: expected an object, got []"),
    (b'"t1"', '$: expected an object, got "t1"'),
    (b"null", "$: expected an object, got null"),
    (b'{"TaskID":"\xff"}', "not UTF-8 at byte 11"),
    ('{"TaskID":"车"}'.encode("gbk"), "not UTF-8"),
    (b'{"TaskID":"\\ud800"}', "$.TaskID: half of a surrogate pair"),
    (b'{"\\udfff":1}', "$: half of a surrogate pair"),
    (b'{"Algorithm":[{"threshold":NaN}]}', "NaN is not JSON"),
    (b'{"Algorithm":[{"threshold":-Infinity}]}', "-Infinity is not JSON"),
    (b'{"Algorithm":[{"threshold":1e400}]}', "1e400 is too large"),
    (b'{"TaskID":' + b"9" * 5000 + b"}", "has 5000 digits"),
    (b'{"InputSrc":{"SrcID":1,"SrcID":2}}', '$.InputSrc: the key "SrcID" appears twice'),
    (_nested(40), "more than 32 levels"),
    (_nested(100_000), "more than 32 levels"),
    (b'{"a":[' + b"0," * 100_000 + b"0]}", "$: more than 100000 values; send less of them"),
    (b'{"TaskID":"' + b"x" * 5000 + b'"}', "$.TaskID: a text of 5000 characters is too long; at most 4096"),
]

WRONG: list[tuple[tuple[Step, ...], Any, str]] = [
    (("TaskID",), GONE, '$.TaskID: is missing; add "TaskID": "t1"'),
    (("TaskID",), None, "$.TaskID: expected text of 1 to 256 characters, got null"),
    (("TaskID",), "", '$.TaskID: expected text of 1 to 256 characters, got ""'),
    (("TaskID",), "x" * 257, "$.TaskID: expected text of 1 to 256 characters"),
    (("TaskID",), True, "$.TaskID: expected text of 1 to 256 characters, got true"),
    (("TaskID",), 1.5, "$.TaskID: expected text of 1 to 256 characters, got 1.5"),
    (("TaskID",), {"a": 1}, "got an object with 1 keys"),
    (("TaskID",), "a\nb", "$.TaskID: the control character U+000A is not allowed"),
    (("InputSrc",), GONE, "$.InputSrc: is missing"),
    (("InputSrc",), "rtsp://x", '$.InputSrc: expected an object, got "rtsp://x"'),
    (("InputSrc", "SrcID"), GONE, "$.InputSrc.SrcID: is missing"),
    (("InputSrc", "StreamSrc"), None, "$.InputSrc.StreamSrc: expected an object, got null"),
    (ADDRESS, GONE, "$.InputSrc.StreamSrc.Address: is missing"),
    (ADDRESS, "", "$.InputSrc.StreamSrc.Address: expected text of at least 1"),
    (ADDRESS, 5, "$.InputSrc.StreamSrc.Address: expected text of at least 1 characters, got 5"),
    (ADDRESS, "clip.mp4", 'not an absolute path, got "clip.mp4"; write the whole path'),
    (ADDRESS, "ftp://u:secret@h/x", 'unknown kind of address, got "ftp://***@h/x"'),
    (ADDRESS, "rtsp://", "there is no host"),
    (ADDRESS, "rtsp://h/\r\nx", "U+000D"),
    (ADDRESS, "/clips/gone.mp4", 'no readable file or folder "/clips/gone.mp4" on this server; copy it'),
    (ADDRESS, "file:///clips/gone%20x.mp4", 'no readable file or folder "/clips/gone x.mp4"'),
    (("Algorithm",), GONE, "$.Algorithm: is missing"),
    (("Algorithm",), None, "$.Algorithm: expected a list of 1 to 32, got null"),
    (("Algorithm",), [], "$.Algorithm: expected a list of 1 to 32, got []"),
    (("Algorithm",), {"TrackInterval": 1}, "$.Algorithm: expected a list of 1 to 32, got an object"),
    (("Algorithm",), [{"Type": 1}] * 33, "$.Algorithm: expected a list of 1 to 32, got a list of 33"),
    (("Algorithm",), [1], "$.Algorithm[0]: expected an object, got 1"),
    ((*ALGORITHM, "Type"), GONE, "$.Algorithm[0].Type: is missing"),
    ((*ALGORITHM, "Type"), "1", '$.Algorithm[0].Type: expected an integer, got "1"'),
    ((*ALGORITHM, "Type"), 9, "number 9; this server has: 1 tripwire, 3 yolov5"),
    ((*ALGORITHM, "DetectInterval"), -1, "DetectInterval: expected an integer from 0 to 100000, got -1"),
    ((*ALGORITHM, "DetectInterval"), 100_001, "from 0 to 100000, got 100001"),
    ((*ALGORITHM, "DetectInterval"), 2.5, "expected an integer from 0 to 100000, got 2.5"),
    ((*ALGORITHM, "TrackInterval"), 10**30, "expected an integer from 0 to 1000000"),
    ((*ALGORITHM, "AlarmInterval"), "300", 'from 0 to 1000000, got "300"'),
    ((*ALGORITHM, "threshold"), 0, "expected a number above 0 and at most 100, got 0"),
    ((*ALGORITHM, "threshold"), -0.5, "got -0.5"),
    ((*ALGORITHM, "threshold"), 100.5, "got 100.5"),
    ((*ALGORITHM, "threshold"), True, "got true"),
    ((*ALGORITHM, "threshold"), "0.5", 'got "0.5"'),
    ((*ALGORITHM, "TargetSize"), [], "$.Algorithm[0].TargetSize: expected an object, got []"),
    ((*ALGORITHM, "TargetSize"), {"MinDetect": 250, "MaxDetect": 30}, "MinDetect 250 is larger than MaxDetect 30"),
    ((*ALGORITHM, "DetectInfos"), {}, "$.Algorithm[0].DetectInfos: expected a list of 0 to 64, got {}"),
    ((*ALGORITHM, "DetectInfos"), [{}] * 65, "got a list of 65"),
    ((*ALGORITHM, "DetectInfos"), [None], "$.Algorithm[0].DetectInfos[0]: expected an object, got null"),
    (LINE, {"LineStart": _POINT}, "$.Algorithm[0].DetectInfos[0].TripWire: LineEnd is missing"),
    (LINE, {"LineStart": _POINT, "LineEnd": _POINT}, "LineStart and LineEnd are the same point (5, 5)"),
    (LINE, {"LineStart": {"X": 5}, "LineEnd": _POINT}, "TripWire.LineStart.Y: is missing"),
    (INFO, {"TripleWire": {"LineStart": {"X": 5}}}, "TripWire.LineStart.Y: is missing"),
    (AREA, [ZERO, _POINT], "impossible polygon: 2 different points make no area"),
    (AREA, [_POINT, _POINT, _POINT], "impossible polygon: 1 different point"),
    (AREA, [ZERO, _POINT, {"X": 9, "Y": 9}], "impossible polygon: all points are on one line"),
    (
        AREA,
        [ZERO, {"X": 9, "Y": 9}, {"X": 9, "Y": 0}, {"X": 0, "Y": 9}],
        "impossible polygon: the edge (0, 0) to (9, 9)",
    ),
    (AREA, [ZERO, {"X": 9, "Y": 1e9}, _POINT], "HotArea[1].Y: expected a number from -100 to 100000"),
    (AREA, [ZERO, {"X": -101, "Y": 0}, _POINT], "HotArea[1].X: expected a number from -100 to 100000, got -101"),
    (AREA, [{"x": 1, "Y": 1}], "HotArea[0].X: is missing; there is \"x\": did you mean 'X'?"),
    (AREA, [_POINT] * 1001, "HotArea: expected a list of 0 to 1000, got a list of 1001"),
    (AREA, "0,0 5,5", "HotArea: expected a list of 0 to 1000"),
    ((*ALGORITHM, "Extend"), {"Loop": -1}, "$.Algorithm[0].Extend.Loop: expected an integer from 0"),
    ((*ALGORITHM, "Extend"), {"Loop": "ever"}, 'Extend.Loop: expected an integer from 0 to 2147483647, got "ever"'),
    ((*ALGORITHM, "Extend"), {"Fps": 0}, "$.Algorithm[0].Extend.Fps: expected frames a second above 0"),
    ((*ALGORITHM, "Extend"), {"Detector": "best"}, 'Extend.Detector: unknown detector, got "best"; use auto'),
    (
        (*ALGORITHM, "Extend"),
        {"Classes": [0] * 1001},
        "Extend.Classes: expected a list of 0 to 1000, got a list of 1001",
    ),
    ((*ALGORITHM, "Extend"), {"Note": "x" * 4000, "More": ["x" * 4000] * 64}, "Extend: 260278 characters of JSON are"),
    (("Extend",), [["x" * 4000] * 65], "$.Extend: 260262 characters of JSON are too long; at most 256000"),
    (
        (*ALGORITHM, "Extend"),
        {"Lines": [{"Points": [ZERO] * 501}] * 2},
        "the lines of Extend have 1002 points together",
    ),
    ((*ALGORITHM, "Extend"), {"ExcludeAreas": [[ZERO] * 400] * 3}, "$.Algorithm: the areas have 1204 corners together"),
    ((*ALGORITHM, "Extend"), {"Classes": "car"}, "Extend.Classes: expected a list"),
    ((*ALGORITHM, "Extend"), {"Classes": [0, -1]}, "Extend.Classes: -1 is no class"),
    (("Reporting",), GONE, "$.Reporting.ReportUrlList: there is no address"),
    (("Reporting",), [], "$.Reporting: expected an object, got []"),
    (URLS, [], "$.Reporting.ReportUrlList: there is no address to send alarms to; add one"),
    (URLS, None, "there is no address"),
    (URLS, "http://h/x", 'expected a list, got "http://h/x"; put the address into a list: ["http://…"]'),
    (URLS, "__import__('os')", "expected a list"),
    (URLS, ["ftp://h/x"], "$.Reporting.ReportUrlList[0]: not an http or https address"),
    (URLS, ["http://h/x", "http://"], "$.Reporting.ReportUrlList[1]: not an http"),
    (URLS, ["http://h:99999/x"], "not an http"),
    (URLS, ["http://h/x y"], "not an http"),
    (URLS, [7], "$.Reporting.ReportUrlList[0]: expected text, got 7"),
    (URLS, ["http://h/x"] * 33, "got a list of 33"),
]
