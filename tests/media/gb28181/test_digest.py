"""Digest authentication, against the examples of the RFCs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamserver.media.gb28181.digest import Challenge, answer, parse_challenge
from tests.searching import examples

RFC_2617 = Challenge(
    realm="testrealm@host.com",
    nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",
    opaque="5ccc069c403ebaf9f0171e9517f40e41",
    qop=True,
)


def parameters(header: str) -> dict[str, str]:
    pairs = (pair.split("=", 1) for pair in header.removeprefix("Digest ").split(", "))
    return {name: value.strip('"') for name, value in pairs}


def test_the_example_of_rfc_2617_section_3_5() -> None:
    header = answer(
        RFC_2617, username="Mufasa", password="Circle Of Life", method="GET", uri="/dir/index.html", cnonce="0a4f113b"
    )
    fields = parameters(header)
    assert fields["response"] == "6629fae49393a05397450978507c4ef1"
    assert fields["opaque"] == RFC_2617.opaque
    assert (fields["qop"], fields["nc"], fields["cnonce"]) == ("auth", "00000001", "0a4f113b")


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_examples_of_rfc_7616_section_3_9_1(algorithm: str, response: str) -> None:
    challenge = Challenge(
        realm="http-auth@example.org",
        nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        algorithm=algorithm,
        qop=True,
    )
    header = answer(
        challenge,
        username="Mufasa",
        password="Circle of Life",
        method="GET",
        uri="/dir/index.html",
        cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    )
    assert parameters(header)["response"] == response


def test_without_qop_neither_count_nor_nonce_of_ours_is_sent() -> None:
    challenge = parse_challenge('Digest realm="3402000000",nonce="abc"')
    assert challenge is not None
    fields = parameters(answer(challenge, username="u", password="p", method="REGISTER", uri="sip:a@b"))
    assert set(fields) == {"username", "realm", "nonce", "uri", "response", "algorithm"}


def test_a_session_algorithm_always_tells_our_nonce() -> None:
    challenge = parse_challenge('Digest realm="r", nonce="n", algorithm=MD5-sess')
    assert challenge is not None
    header = answer(challenge, username="u", password="p", method="REGISTER", uri="sip:a@b", cnonce="c")
    assert parameters(header)["cnonce"] == "c"
    assert (
        parameters(header)["response"]
        != parameters(
            answer(
                Challenge(realm="r", nonce="n"),
                username="u",
                password="p",
                method="REGISTER",
                uri="sip:a@b",
                cnonce="c",
            )
        )["response"]
    )


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (r'digest Realm="a \"b\"", NONCE = "x,y" , qop="auth-int,auth", stale=TRUE', ('a "b"', "x,y", True, True)),
        ('Digest nonce=bare, realm=""', ("", "bare", False, False)),
    ],
)
def test_challenges_are_read_however_they_are_written(header: str, expected: tuple[str, str, bool, bool]) -> None:
    challenge = parse_challenge(header)
    assert challenge is not None
    assert (challenge.realm, challenge.nonce, challenge.qop, challenge.stale) == expected


@pytest.mark.parametrize(
    "header",
    ["", 'Basic realm="r"', 'Digest realm="r"', 'Digest nonce="n", algorithm=SM3', 'Digest nonce="n", qop="auth-int"'],
)
def test_challenges_that_we_cannot_answer_are_left_alone(header: str) -> None:
    assert parse_challenge(header) is None


@settings(max_examples=examples(30))
@given(st.text(max_size=200).map(lambda text: text.encode("utf-8").decode("latin-1")))
def test_no_challenge_can_break_us(text: str) -> None:
    for header in (text, f"Digest {text}", f'Digest nonce="n", realm="{text}"'):
        challenge = parse_challenge(header)
        if challenge is not None:
            assert answer(challenge, username="u", password="ö", method="REGISTER", uri="sip:a@b").startswith("Digest ")
