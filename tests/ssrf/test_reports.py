"""No report reaches a denied network, however its address is written; a listener there proves it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from streamserver.core.errors import DeliveryError, RefusedAddressError, StreamServerError
from streamserver.core.outgoing import Policy
from streamserver.sinks.http import HttpSink
from streamserver.sinks.sink import Alarm
from tests.ssrf.hosts import (
    ALLOWED,
    DENIED,
    DISGUISED,
    NETWORK,
    REACHING,
    Listener,
    answer_with,
    listening,
    policy,
)

ALARM = Alarm(id="0190-a", body=b'[{"FrameIndex":1}]', created=1_700_000_000.0)


@pytest.fixture
def denied() -> Iterator[Listener]:
    with listening(DENIED) as listener:
        yield listener


def send(url: str, rules: Policy) -> str:
    """What a task that reports to ``url`` is told; empty where the alarm was taken."""
    try:
        sink = HttpSink(url, task_id="t1", connect_timeout_s=30, total_timeout_s=60, policy=rules)
    except StreamServerError as e:
        return str(e)
    problems = []
    for act in (sink.knock, lambda: sink.send(ALARM)):
        try:
            act()
        except DeliveryError as e:
            problems.append(str(e))
        finally:
            sink.close()
    return problems[-1] if problems else ""


@pytest.mark.parametrize("spelling", REACHING)
def test_the_listener_is_reached_where_it_is_not_denied(spelling: str, denied: Listener) -> None:
    url = f"http://{REACHING[spelling]}:{denied.port}/alarm"
    assert send(url, Policy()) == ""
    assert any(head.startswith(b"POST /alarm") for head in denied.arrived)


@pytest.mark.parametrize("spelling", [*REACHING, *DISGUISED])
def test_no_spelling_of_a_denied_address_is_connected_to_and_create_refuses_it(spelling: str, denied: Listener) -> None:
    host = (REACHING | DISGUISED)[spelling]
    url = f"http://{host}:{denied.port}/alarm"
    assert send(url, policy())
    assert denied.arrived == []
    with pytest.raises(RefusedAddressError, match=f"deny_networks forbids {NETWORK}"):
        policy().check(url)


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "srt"])
@pytest.mark.parametrize("spelling", [*REACHING, *DISGUISED])
def test_create_refuses_it_for_streams_too(scheme: str, spelling: str) -> None:
    host = (REACHING | DISGUISED)[spelling]
    with pytest.raises(RefusedAddressError, match="deny_networks"):
        policy().check(f"{scheme}://{host}:9000/live")


def test_a_name_with_one_denied_address_is_refused_at_create(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, {"two.test": lambda: [ALLOWED, DENIED]})
    with pytest.raises(RefusedAddressError) as caught:
        policy().check("http://two.test/alarm")
    assert str(caught.value) == (
        f'"two.test" leads to {DENIED}, and the setting deny_networks forbids {NETWORK}; '
        "use another address, or have an operator change that setting"
    )


def test_of_a_name_with_allowed_and_denied_addresses_only_the_allowed_ones_are_used(
    monkeypatch: pytest.MonkeyPatch, denied: Listener
) -> None:
    answer_with(monkeypatch, {"two.test": lambda: [DENIED, ALLOWED]})
    with listening(ALLOWED, port=denied.port) as allowed:
        assert send(f"http://two.test:{denied.port}/alarm", policy()) == ""
        assert any(b"Host: two.test" in head for head in allowed.arrived)
    assert denied.arrived == []


def test_a_name_that_changes_its_answer_after_the_check_is_refused_when_it_is_used(
    monkeypatch: pytest.MonkeyPatch, denied: Listener
) -> None:
    answers = iter([[ALLOWED]])
    answer_with(monkeypatch, {"flip.test": lambda: next(answers, [DENIED])})
    url = f"http://flip.test:{denied.port}/alarm"
    rules = policy()
    rules.check(url)
    assert send(url, rules).startswith(f'{url}: "flip.test" leads to {DENIED}, and the setting deny_networks forbids')
    assert denied.arrived == []


def test_a_name_that_changes_its_answer_at_every_question_is_never_followed_to_a_denied_address(
    monkeypatch: pytest.MonkeyPatch, denied: Listener
) -> None:
    asked: list[str] = []

    def in_turn() -> list[str]:
        asked.append((ALLOWED, DENIED)[len(asked) % 2])
        return [asked[-1]]

    answer_with(monkeypatch, {"turn.test": in_turn})
    for _ in range(6):
        send(f"http://turn.test:{denied.port}/alarm", policy())
    assert asked.count(DENIED) >= 5
    assert denied.arrived == []


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_not_followed(status: str, denied: Listener) -> None:
    with listening(ALLOWED) as allowed:
        allowed.answer = (
            f"HTTP/1.1 {status}\r\nLocation: http://{DENIED}:{denied.port}/\r\nContent-Length: 0\r\n\r\n".encode()
        )
        assert "redirects are not followed" in send(f"http://{ALLOWED}:{allowed.port}/alarm", policy())
        assert any(head.startswith(b"POST /alarm") for head in allowed.arrived)
    assert denied.arrived == []


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_no_proxy_of_the_environment_is_asked(variable: str, monkeypatch: pytest.MonkeyPatch, denied: Listener) -> None:
    monkeypatch.setenv(variable, f"http://{DENIED}:{denied.port}")
    with listening(ALLOWED) as allowed:
        assert send(f"http://{ALLOWED}:{allowed.port}/alarm", policy()) == ""
    assert denied.arrived == []


@pytest.mark.parametrize("inserted", ["\r\n", "\r", "\n", "\t", " "], ids=["crlf", "cr", "lf", "tab", "blank"])
@pytest.mark.parametrize("place", ["{0}{1}:{2}/", "{1}:{2}{0}/", "{1}:{2}/{0}HTTP/1.1", "127.0.0.1{0}@{1}:{2}/"])
def test_control_characters_open_no_way(inserted: str, place: str, denied: Listener) -> None:
    send("http://" + place.format(inserted, DENIED, denied.port), policy())
    assert denied.arrived == []


def test_an_address_that_nobody_may_reach_counts_as_unreachable(denied: Listener) -> None:
    sink = HttpSink(
        f"http://{DENIED}:{denied.port}/", task_id="t", connect_timeout_s=1, total_timeout_s=1, policy=policy()
    )
    acts: list[Callable[[], None]] = [sink.knock, lambda: sink.send(ALARM)]
    for act in acts:
        with pytest.raises(DeliveryError) as caught:
            act()
        assert caught.value.unreachable
    assert denied.arrived == []


def test_with_allowed_networks_only_these_are_reached(denied: Listener) -> None:
    rules = policy(allow="127.0.0.0/24")
    with listening(ALLOWED) as allowed:
        assert send(f"http://{ALLOWED}:{allowed.port}/alarm", rules) == ""
        assert send(f"http://[::ffff:{ALLOWED}]:{allowed.port}/alarm", rules) == ""
        problem = send(f"http://127.0.1.1:{allowed.port}/alarm", rules)
    assert "127.0.1.1, which lies in no network of the setting allow_networks" in problem
    assert send(f"http://{DENIED}:{denied.port}/", policy(allow="127.0.0.0/8")), "a denied network stays denied"
    assert denied.arrived == []
