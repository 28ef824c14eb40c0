import pytest

from local.private_broker import free_port
from shared.base.errors import ServiceUnavailable
from shared.queue.broker import wait_until_ready


def test_a_broker_out_of_reach_on_this_machine_is_named() -> None:
    port = free_port()
    with pytest.raises(ServiceUnavailable, match=f"The broker at localhost:{port} is out of reach"):
        wait_until_ready(f"redis://:{port}/0", 0)
