"""Questions are answered over HTTP to this machine alone."""

from __future__ import annotations

import pytest

from deploy.mcp.server import NotLoopbackError, loopback


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        pytest.param("127.0.0.1:8091", ("127.0.0.1", 8091), id="version 4"),
        pytest.param("[::1]:8091", ("::1", 8091), id="version 6"),
        pytest.param("localhost:8091", ("127.0.0.1", 8091), id="by name"),
    ],
)
def test_an_address_of_this_machine_is_read(address: str, expected: tuple[str, int]) -> None:
    assert expected == loopback(address)


@pytest.mark.parametrize(
    "address", ["0.0.0.0:8091", "192.0.2.1:8091", "shop.example:8091", "127.0.0.1", "127.0.0.1:0", "[::]:8091"]
)
def test_any_other_address_is_refused(address: str) -> None:
    with pytest.raises(NotLoopbackError):
        loopback(address)
