"""Addresses that the settings let no task use are refused by create, update and snapshot, with their place."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from streamserver.core.settings import Settings
from tests.web.conftest import body

METADATA = "http://169.254.169.254/latest/"
REPORT = "http://127.0.0.1:8089/api/upload"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "media").mkdir()
    return Settings(state_dir=str(tmp_path / "state"), file_dirs=str(tmp_path / "media"))


def create(client: FlaskClient, address: str, report: str = REPORT) -> tuple[int, str]:
    source = {"SrcID": "cam1", "StreamSrc": {"Address": address}}
    reply = client.post("/task/create", json=body(InputSrc=source, Reporting={"ReportUrlList": [REPORT, report]})).json
    assert reply is not None
    return reply["Code"], reply["Msg"]


def test_a_denied_stream_or_report_address_is_refused_at_create(client: FlaskClient) -> None:
    said = "169.254.169.254, and the setting deny_networks forbids 169.254.0.0/16; use another address, or "
    code, message = create(client, "rtsp://admin:secret@169.254.169.254/1")
    assert (code, message.startswith(f"$.InputSrc.StreamSrc.Address: {said}")) == (4004, True)
    code, message = create(client, "rtsp://127.0.0.1/1", METADATA)
    assert (code, message.startswith(f"$.Reporting.ReportUrlList[1]: {said}")) == (4004, True)
    assert create(client, "rtsp://127.0.0.1/1") == (0, "success")


def test_an_update_to_a_denied_report_address_is_refused(client: FlaskClient) -> None:
    assert create(client, "rtsp://127.0.0.1/1")[0] == 0
    wanted = {"TaskID": body()["TaskID"], "Reporting": {"ReportUrlList": [METADATA]}}
    reply = client.post("/task/update", json=wanted).json
    assert reply is not None
    assert reply["Code"] == 4004
    assert reply["Msg"].startswith("$.Reporting.ReportUrlList[0]: 169.254.169.254")


def test_a_snapshot_of_a_denied_address_is_refused(client: FlaskClient) -> None:
    for asked, path in (
        ({"Address": METADATA}, "$.Address"),
        ({"InputSrc": {"StreamSrc": {"Address": METADATA}}}, "$.InputSrc.StreamSrc.Address"),
        ({"Address": "/etc/passwd"}, "$.Address"),
    ):
        reply = client.post("/task/snapshot", json=asked).json
        assert reply is not None
        assert reply["Code"] == 4004
        assert reply["Msg"].startswith(f"{path}: ")


def test_nobody_learns_whether_a_file_outside_exists(client: FlaskClient, tmp_path: Path) -> None:
    (tmp_path / "there.mp4").touch()
    (tmp_path / "media" / "clip.mp4").touch()
    replies = [create(client, f"{tmp_path}/{name}.mp4") for name in ("there", "other")]
    assert replies[0][1].replace("there", "other") == replies[1][1]
    assert replies[0][0] == replies[1][0] == 4004
    assert f"copy it below one of {tmp_path}/media, or add its directory to the setting file_dirs" in replies[0][1]
    assert create(client, f"{tmp_path}/media/clip.mp4") == (0, "success")
    assert "no readable file or folder" in create(client, f"{tmp_path}/media/none.mp4")[1]
