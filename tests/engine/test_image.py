"""The files people start with: our Dockerfile built, our compose file brought up, for real."""

import time
from pathlib import Path

import pytest

from lab.compose import Compose
from lab.topology import Lab

_CHECKOUT = Path(__file__).resolve().parents[2]
_READY_SECONDS = 40.0
_FALL_BACK_SECONDS = 12.0


def _wait_healthy(lab: Lab, container: str) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while lab.inspect(container)["State"]["Health"]["Status"] != "healthy":
        assert time.monotonic() < deadline, lab.api.logs(container).decode()
        time.sleep(0.2)


@pytest.mark.timeout(600)
def test_the_sidecar_of_the_compose_file(lab: Lab) -> None:
    environment = {
        "CLIENT_IMAGE": lab.images.client(),
        "RESOLVER_IMAGE": lab.images.resolver(),
        "DOCKER_SOCK": lab.url.removeprefix("unix://"),
        "PROD_NETWORK": "lab-prod",
        "DEV_NETWORK": "lab-dev",
    }
    with Compose(lab.url, "lab-sidecar", _CHECKOUT / "docker-compose.yml", environment) as compose:
        app, resolver = compose.container("app"), compose.container("resolver")
        _wait_healthy(lab, resolver)
        prod = {lab.address(compose.container(name), "lab-prod") for name in ("es1", "es2")}
        dev = lab.address(compose.container("es3"), "lab-dev")

        replies = [lab.dig(app, "es", inside=True) for _ in range(4)]
        assert {frozenset(reply.values) for reply in replies} == {frozenset(prod)}
        assert {reply.values[0] for reply in replies} == prod, "each address is first in turn"
        assert lab.dig(app, "es.lab-dev", tcp=True).values == [dev]
        assert set(lab.dig(app, "es.lab-prod").values) == prod
        # The size Docker's own resolver announces is another one: these replies are ours.
        assert all("udp: 1232" in (reply.edns or "") for reply in replies)

        lab.kill(resolver)
        deadline = time.monotonic() + _FALL_BACK_SECONDS
        while lab.dig(app, "hello").rcode != "NOERROR":
            assert time.monotonic() < deadline, "Docker's own resolver did not answer again"
            time.sleep(0.5)


@pytest.mark.timeout(600)
def test_the_image_without_an_engine(lab: Lab) -> None:
    """Nothing is mounted: it forwards, is not ready, and ends at once when told to."""
    resolver = lab.container(image=lab.images.resolver(), command=["serve", "--listen", "127.0.0.1:53"])
    code, said = lab.exec(resolver, ["resolver", "check", "--listen", "127.0.0.1:53"])
    assert code != 0, said
    lab.api.kill(resolver, "SIGTERM")
    assert lab.api.wait(resolver, timeout=10)["StatusCode"] == 0
