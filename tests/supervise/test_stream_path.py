"""``--stream_path``: a program that speaks CONTRACT 4 as the engine, with the real supervisor and the real client."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamserver.core.states import TaskState
from streamserver.supervise.prepare import prepare
from tests.e2e.harness import ledger
from tests.supervise.house import House, children, wait_until
from tests.supervise.requests import request
from tests.supervise.test_plan import stream_tree

JPEG = bytes.fromhex(
    "ffd8ffe000104a46494600010100000100010000ffdb004300080606070605080707070909080a0c140d0c0b0b0c1912130f141d1a1f1e1d1a"
    "1c1c20242e2720222c231c1c2837292c30313434341f27393d38323c2e333432ffc0000b080008000801011100ffc4001f000001050101010101"
    "0100000000000000000102030405060708090a0bffc400b5100002010303020403050504040000017d01020300041105122131410613516107"
    "227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a3435363738393a434445464748494a535455565758595a63"
    "6465666768696a737475767778797a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9"
    "cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9faffda0008010100003f00fbfe8a28a00fffd9"
)


def test_a_sophon_stream_program_runs_on_what_was_prepared_and_its_alarms_arrive(
    tmp_path: Path, port_base: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "picture.jpg").write_bytes(JPEG)
    (tmp_path / "a.mp4").touch()
    monkeypatch.setenv("PICTURE", str(tmp_path / "picture.jpg"))
    stream = stream_tree(tmp_path / "stream", config_of="tripwire").stream_path
    house = House(tmp_path / "state", port_base=port_base, stream_path=stream)
    house.options.update(prepare=prepare)
    with ledger() as receiver:
        content = request(1, address=str(tmp_path / "a.mp4"), Reporting={"ReportUrlList": [receiver.url]})
        record, _ = house.store.create("t1", "cam1", content, "hash")
        try:
            house.open()
            done = house.wait_for(record.key, TaskState.FINISHED)
            assert done.restarts == 0
            wait_until(lambda: receiver.reports("t1"), "the alarm has arrived")
            wait_until(lambda: children() == [], "the client has delivered and gone")
        finally:
            house.close()
            house.store.close()
    report = receiver.reports("t1")[0]
    assert (report["SrcID"], report["FrameIndex"], report["AnalyzeEvents"][0]["Type"]) == ("cam1", 42, 1)
    assert (house.folder(record.key) / "libraries").read_text().split(":")[0] == f"{stream}/build/lib"
