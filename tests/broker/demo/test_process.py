"""The ports of a world are its own."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from broker.demo.process import HELD_MAX, free_port


def listening(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gRPC and http.server do
    try:
        made.bind((address, port))
        made.listen()
    except OSError:
        made.close()
        raise
    return made


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_port_that_was_given_out_is_given_to_nobody_by_chance_and_who_names_it_can_listen(
    family: socket.AddressFamily, address: str
) -> None:
    mine = [free_port() for _ in range(HELD_MAX // 4)]
    with ExitStack() as stack:
        by_chance = [stack.enter_context(listening(family, address, 0)).getsockname()[1] for _ in range(500)]
        assert set(mine).isdisjoint(by_chance)
        assert len(set(mine)) == len(mine)
        stack.enter_context(listening(family, address, mine[0]))
        with pytest.raises(OSError, match="in use"):
            listening(family, address, mine[0])
