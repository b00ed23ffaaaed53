"""GB28181 addresses: what comes out of them, and what is said of wrong ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamserver.core.errors import AddressError, SourceMissingError
from streamserver.core.gb28181_address import parse_gb28181
from streamserver.core.urls import mask_credentials

PLATFORM = "34020000002000000001"
CAMERA = "32028102001310000001"
LIVE = f"gb28181://{PLATFORM}:secret@10.0.0.1:5060?deviceid={CAMERA}"
RECORDING = (
    f"gb28181_playback://{PLATFORM}:secret@10.0.0.1:15060?deviceid={CAMERA}#devicetype=3"
    "#localid=85736920137981016514#localip=10.0.0.9#localmediaport=20000#begtime=20231024155207#endtime=20231024160810"
)


def test_the_address_of_the_old_manual_says_everything() -> None:
    found = parse_gb28181(RECORDING)
    assert (found.server_id, found.password, found.host, found.port) == (PLATFORM, "secret", "10.0.0.1", 15060)
    assert (found.device_id, found.local_id) == (CAMERA, "85736920137981016514")
    assert (found.local_ip, found.media_port, found.device_type, found.playback) == ("10.0.0.9", 20000, 3, True)
    assert found.begin == datetime(2023, 10, 24, 7, 52, 7, tzinfo=UTC)
    assert found.end == datetime(2023, 10, 24, 8, 8, 10, tzinfo=UTC)
    assert parse_gb28181(RECORDING.replace("#", "&")) == found
    assert "secret" not in repr(found)


def test_a_live_address_needs_no_options_but_the_camera() -> None:
    found = parse_gb28181(f"GB28181://{PLATFORM}@[::1]/?DeviceID={CAMERA}#localip=#begtime=")
    assert (found.host, found.port, found.password) == ("::1", 5060, "")
    assert (found.begin, found.end, found.device_type, found.media_port, found.playback) == (None, None, None, 0, False)


def test_the_made_up_local_id_is_stable_and_belongs_to_the_domain_of_the_platform() -> None:
    first = parse_gb28181(LIVE).local_id
    assert first == parse_gb28181(LIVE.replace("secret", "other")).local_id
    assert first != parse_gb28181(LIVE.replace(CAMERA, "32028102001310000002")).local_id
    assert len(first) == 20 and first.isdigit() and first.startswith(PLATFORM[:10])


@pytest.mark.parametrize(
    "password", ["p@ss", "a/b", "a?b#c", "a:b", "a b", "a&b", "\"'", "50%", "päß密", "x@y?z@w", ""]
)
def test_a_password_may_hold_any_character(password: str) -> None:
    assert parse_gb28181(LIVE.replace("secret", password)).password == password
    assert parse_gb28181(LIVE.replace("secret", quote(password, safe=""))).password == password


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])))
def test_an_encoded_password_comes_out_as_it_was(password: str) -> None:
    assert parse_gb28181(RECORDING.replace("secret", quote(password, safe=""))).password == password


@pytest.mark.parametrize(
    ("zone", "offset"),
    [("Asia/Shanghai", timedelta(hours=8)), ("+05:30", timedelta(hours=5, minutes=30)), ("-0300", timedelta(hours=-3))],
)
def test_times_are_those_of_the_named_zone(zone: str, offset: timedelta) -> None:
    found = parse_gb28181(f"{RECORDING}#timezone={zone}")
    assert found.begin == datetime(2023, 10, 24, 15, 52, 7, tzinfo=timezone(offset))


@pytest.mark.parametrize(
    ("address", "field", "says"),
    [
        (f"gb28181://{PLATFORM}:secret@10.0.0.1:5060", "address", "the platform's id and password before @host:port"),
        (LIVE.replace("10.0.0.1", "not a host"), "address", "form"),
        (LIVE.replace(PLATFORM, "admin"), "platform id", "expected 20 digits, got 'admin'"),
        (LIVE.replace(f"{PLATFORM}:secret@", ""), "platform id", "missing"),
        (LIVE.replace(CAMERA, "cam1"), "deviceid", "got 'cam1'"),
        (LIVE.replace("deviceid", "channel"), "deviceid", "missing"),
        (LIVE.replace("deviceid", "deviceld"), "deviceld", "write deviceid"),
        (f"{LIVE}#deviceid={CAMERA}", "deviceid", "twice"),
        (LIVE.replace("5060", "70000"), "port", "1 to 65535"),
        (LIVE.replace("5060", "0"), "port", "1 to 65535"),
        (f"{LIVE}#localid=12", "localid", "20 digits"),
        (f"{LIVE}#localip=eth0", "localip", "no IP address"),
        (f"{LIVE}#localmediaport=65535", "localmediaport", "0 to 65534"),
        (f"{LIVE}#devicetype=4", "devicetype", "0 to 3"),
        (f"{LIVE}#begtime=20231024155207", "begtime", "gb28181_playback://"),
        (LIVE.replace("gb28181:", "gb28181_playback:"), "begtime", "add #begtime=YYYYMMDDhhmmss"),
        (RECORDING.replace("20231024160810", "20231024155207"), "endtime", "not after begtime"),
        (RECORDING.replace("20231024160810", "20231324160810"), "endtime", "no time"),
        (RECORDING.replace("20231024160810", "1698134890"), "endtime", "no time"),
        (f"{RECORDING}#timezone=Nowhere/Land", "timezone", "Asia/Shanghai"),
        (f"{RECORDING}#timezone=../etc/passwd", "timezone", "unknown"),
        (f"{RECORDING}#timezone=+99:00", "timezone", "unknown"),
    ],
)
def test_a_wrong_address_is_told_the_part_and_the_cure(address: str, field: str, says: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_gb28181(address)
    assert caught.value.field == field
    assert says in str(caught.value)
    assert caught.value.cure
    assert mask_credentials(str(caught.value)) == str(caught.value), (
        "a reply would show *** where the form should stand"
    )
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value, SourceMissingError), "no further try can mend an address"
