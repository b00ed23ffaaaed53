"""Addresses taken apart, given to FFmpeg, and shown without their secrets."""

from __future__ import annotations

from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamserver.core.urls import (
    decoded,
    for_ffmpeg,
    for_urllib,
    has_end,
    is_http_url,
    mask_credentials,
    masked,
    secrets_of,
    source_type,
    take_apart,
)

PASSWORDS = [
    "plain",
    "p@ss",
    "a/b",
    "a?b",
    "a#b",
    "a:b",
    "50%",
    "a b",
    "a&b=c",
    "\"quoted\" 'too'",
    "päß-密码",
    "1/2",
    "12/3@4",
    "p@ss/w?rd#1",
    "://",
    "a://b",
    "@",
    "/",
    "?",
    "#",
    ":",
    "@@//",
    "[x]",
    "a\\b",
    "{}<>|^`~!$*()+,;=._-",
]
HOSTS = ["127.0.0.1:8554", "10.0.0.1", "[::1]:80", "cam.example.org", "localhost"]
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("password", PASSWORDS)
def test_a_password_is_found_whatever_it_holds_and_however_it_is_written(password: str, host: str) -> None:
    ambiguous = password in ("1/2", "12/3@4") and host == "cam.example.org"  # admin:1 may be a host and its port
    for written in (password, quote(password, safe=""))[ambiguous:]:
        for path in ("/live/1", "", "?x=1"):
            parts = take_apart(f"rtsp://admin:{written}@{host}{path}")
            assert parts is not None
            assert (parts.user, parts.password, parts.location) == ("admin", written, f"{host}{path}")
            assert decoded(parts.password or "") == password


@pytest.mark.parametrize(
    ("address", "user", "password", "host", "port"),
    [
        ("http://h/a@b", None, None, "h", None),
        ("http://cam:8080/mail@host.example", None, None, "cam", 8080),
        ("http://10.0.0.1/proxy?url=rtsp://u:p@10.0.0.2/1", None, None, "10.0.0.1", None),
        ("http://proxy:8080/relay?url=rtsp://u:p@10.0.0.2/1", None, None, "proxy", 8080),
        ("rtsp://u:p@10.0.0.1:554/live@10.0.0.2:80", "u", "p", "10.0.0.1", 554),
        ("rtsp://u@h/1", "u", None, "h", None),
        ("rtsp://u:p@cam/live%40example.org", "u", "p", "cam", None),
        ("rtsp://cam:/1", None, None, "cam", None),
        ("rtsp://u:@h/1", "u", "", "h", None),
        ("rtsp://me@x.org:p@h:1/1", "me@x.org", "p", "h", 1),
        ("udp://@239.0.0.1:1234", None, None, "239.0.0.1", 1234),
        ("udp://:1234", None, None, "", 1234),
        ("srt://[::1]:9000?mode=caller", None, None, "::1", 9000),
        ("rtsp://cam:port/1", None, None, "cam", None),
    ],
)
def test_an_address_comes_apart(address: str, user: str | None, password: str | None, host: str, port: int) -> None:
    parts = take_apart(address)
    assert parts is not None
    assert (parts.user, parts.password, parts.host, parts.port) == (user, password, host, port)


def test_a_path_has_no_parts() -> None:
    assert take_apart("/clips/a:b@c.mp4") is None
    assert for_ffmpeg("/clips/a:b@c.mp4") == "/clips/a:b@c.mp4"


@given(ANY_TEXT)
@example("%41")
def test_ffmpeg_gets_credentials_that_it_cannot_misread(password: str) -> None:
    given_to_it = for_ffmpeg(f"rtsp://admin:{password}@10.0.0.1:554/live?x=1#y")
    login, _, rest = given_to_it.removeprefix("rtsp://").rpartition("@")
    assert rest == "10.0.0.1:554/live?x=1#y"
    assert not set(login) & set("/?#@ ")
    assert unquote(login) == f"admin:{decoded(password)}"
    assert for_ffmpeg(given_to_it) == given_to_it


def test_what_is_encoded_already_stays_and_rtmp_gets_it_decoded() -> None:
    assert for_ffmpeg("http://u:a%2Fb@h/1") == "http://u:a%2Fb@h/1"
    assert for_ffmpeg("rtmp://u:a%40b%2F@h/1") == "rtmp://u:a@b%2F@h/1"
    assert for_ffmpeg("rtsp://h/a b") == "rtsp://h/a b"


def test_credentials_of_rtsp_stay_short_enough_for_ffmpeg() -> None:
    long = "密码" * 20
    assert for_ffmpeg(f"rtsp://u:{quote(long)}@h/") == for_ffmpeg(f"rtsp://u:{long}@h/") == f"rtsp://u:{long}@h/"


@given(ANY_TEXT)
def test_the_standard_library_reads_any_report_address(password: str) -> None:
    address = f"http://u:{password}@127.0.0.1:80/x"
    assert is_http_url(address)
    assert unquote(urlsplit(for_urllib(address)).password or "") == decoded(password)


def test_escapes_that_are_no_utf_8_stay_as_they_are() -> None:
    assert decoded("%ff%41") == "%ff%41"
    assert for_ffmpeg("rtsp://u:%ff@h/") == "rtsp://u:%ff@h/"


@pytest.mark.parametrize(
    ("address", "kind", "ends"),
    [
        ("udp://239.0.0.1:1234", "UDP", False),
        ("SRT://h:1", "SRT", False),
        ("base64://127.0.0.1:1/x", "BASE64", False),
        ("rtmps://h/a", "RTMP", False),
        ("/dev/video0", "CAMERA", False),
        ("gb28181://1:2@h?deviceid=1", "GB28181", False),
        ("GB28181_playback://1:2@h?deviceid=1", "GB28181", True),
        ("/clips/a.mp4", "VIDEO", True),
        ("file:///clips", "VIDEO", True),
    ],
)
def test_every_kind_of_address_has_a_type_and_an_end_or_none(address: str, kind: str, ends: bool) -> None:
    assert source_type(address) == kind
    assert has_end(address) is ends


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("sentence", ["{}", "cannot open {}: refused", "'{}' and bob@example.org", "{}, {}"])
def test_a_password_in_an_address_is_masked_wherever_it_stands(sentence: str, password: str) -> None:
    if len(password) < 2:
        return
    for written in (password, quote(password, safe="")):
        address = f"rtsp://admin:{written}@10.0.0.1:554/live"
        shown = mask_credentials(sentence.format(address, address))
        assert written not in shown.replace("rtsp://***@10.0.0.1:554/live", "")
        assert "admin" not in shown
        assert "10.0.0.1:554/live" in shown


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("rtsp://admin:p/w@10.0.0.1/x failed", "rtsp://***@10.0.0.1/x failed"),
        ("rtsp://admin:a b@10.0.0.1/x failed", "rtsp://***@10.0.0.1/x failed"),
        ("rtsp://u:12 34@10.0.0.1/s", "rtsp://***@10.0.0.1/s"),
        ("rtsp://u:pw@", "rtsp://***@"),
        ("http://proxy:8080/r?u=rtsp://u:pw@10.0.0.1/x", "http://proxy:8080/r?u=rtsp://***@10.0.0.1/x"),
        ("write http://host:port/x or rtsp://u:p@10.0.0.1", "write http://host:port/x or rtsp://***@10.0.0.1"),
        ("http://127.0.0.1:8089/x: told bob@10.0.0.1", "http://127.0.0.1:8089/x: told bob@10.0.0.1"),
        ("rtsp://u:a\nb@10.0.0.1", "rtsp://u:a\nb@10.0.0.1"),
        ("udp://@239.0.0.1:1234", "udp://@239.0.0.1:1234"),
        ("admin:pw@10.0.0.1/1", "admin:***@10.0.0.1/1"),
        ("rtsp:/admin:pw@h/x", "rtsp:***@h/x"),
        ("sip:34020000002000000001@3402000000", "sip:34020000002000000001@3402000000"),
        ("srt://h:1?passphrase=longenough&mode=x", "srt://h:1?passphrase=***&mode=x"),
        ("rtmp://h/live/a?txSecret=1a2b&txTime=5", "rtmp://h/live/a?txSecret=***&txTime=5"),
        ("rtsp://h:554/user=admin&password=x1&channel=1", "rtsp://h:554/user=admin&password=***&channel=1"),
        ("rtsp://h/user=admin_password=x1_channel=1.sdp", "rtsp://h/user=admin_password=***"),
        ("json.dumps(x, sort_keys=True)", "json.dumps(x, sort_keys=True)"),
    ],
)
def test_rather_too_much_is_masked_than_too_little(text: str, masked: str) -> None:
    assert mask_credentials(text) == masked


@given(ANY_TEXT, st.sampled_from(HOSTS))
def test_no_password_survives_the_mask(password: str, host: str) -> None:
    address = f"rtsp://admin:X{password}X@{host}/live"
    assert mask_credentials(f"cannot open {address}") == f"cannot open rtsp://***@{host}/live"


@given(ANY_TEXT, ANY_TEXT, st.sampled_from([*HOSTS, "cam"]))
@example("us er", "p@ss:w/o#r?d%&+ \"'ä", "host")
def test_a_whole_address_is_masked_exactly_as_it_is_read(user: str, password: str, host: str) -> None:
    address = f"rtsp://{user}:{password}@{host}/live"
    parts = take_apart(address)
    assert parts is not None
    if parts.location == f"{host}/live":
        assert masked(address) == f"rtsp://***@{host}/live"
    else:
        assert masked(address) == masked(masked(address))


def test_what_is_no_address_with_a_user_is_masked_as_text_is() -> None:
    assert masked("HTTP://h/a?token=abc&x=1") == "HTTP://h/a?token=***&x=1"
    assert masked("RTSP://u:p@h/a?token=abc") == "RTSP://***@h/a?token=***"
    assert masked("rtsp:/admin:pw@h/x") == "rtsp:***@h/x"
    assert masked("/clips/a.mp4") == "/clips/a.mp4"


def test_masking_a_long_line_takes_no_more_than_its_length_allows() -> None:
    for piece in ("a:@", "rtsp://u:p@", "a.b-", "://", "@", "rtsp://a:b c@h "):
        assert mask_credentials(piece * 500)
    assert mask_credentials("?" + "key" * 20_000) == "?" + "key" * 20_000


def test_the_secrets_of_an_address_are_its_password_and_its_secret_options() -> None:
    assert secrets_of("http://u:p%2F@h/x?token=abc&user=7#key=k") == ["p%2F", "abc", "k"]
    assert secrets_of("rtsp://h/user=admin_password=tlJw_channel=1.sdp") == ["tlJw_channel=1.sdp"]
    assert secrets_of("/clips/a.mp4") == secrets_of("rtsp://u@h") == []
