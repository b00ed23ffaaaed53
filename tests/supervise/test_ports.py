from __future__ import annotations

import re
import socket

import pytest

from streamserver.core.errors import PortError
from streamserver.supervise.ports import PortPool, can_listen
from tests.supervise.house import OWN_LOOPBACK

HOST = OWN_LOOPBACK


def listener() -> socket.socket:
    return socket.create_server((HOST, 0))


def test_a_port_that_somebody_listens_on_is_passed_over() -> None:
    with listener() as other:
        taken = other.getsockname()[1]
        assert PortPool(HOST, taken).take() > taken


def test_a_port_is_lent_once_and_again_after_its_return() -> None:
    with listener() as other:
        pool = PortPool(HOST, other.getsockname()[1])
        first, second = pool.take(), pool.take()
        assert second > first
        assert pool.lent == {first, second}
        pool.release(first)
        assert pool.take() == first


def test_a_borrower_whose_port_was_taken_gets_one_above_it() -> None:
    with listener() as other:
        pool = PortPool(HOST, other.getsockname()[1])
        first = pool.take()
        pool.release(first)
        assert pool.take(above=first) > first


def test_returning_what_was_not_lent_changes_nothing() -> None:
    pool = PortPool(HOST, 20000)
    pool.release(0)
    assert pool.lent == frozenset()


def test_no_port_left_says_where_was_looked_and_what_to_do() -> None:
    pool = PortPool(HOST, 65535)
    with pytest.raises(PortError, match=rf"from 65536 to 65535 on {re.escape(HOST)}; .*client_port_base"):
        pool.take(above=65535)


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    assert not can_listen("192.0.2.1", 20000)


def test_a_connection_that_was_closed_lately_does_not_block_a_port() -> None:
    with listener() as server:
        port = server.getsockname()[1]
        with socket.create_connection((HOST, port)):
            accepted, _ = server.accept()
            accepted.close()
    assert can_listen(HOST, port)
