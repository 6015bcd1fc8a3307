"""A real Prometheus, with the shipped configuration and rules, scrapes our /metrics over mutual TLS."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from broker.stages import Metrics, serve_metrics
from certs.issue import Authority, authority

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAIT_S = 30.0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("scrape") / "certs", nations=["KOR", "USA"])


@pytest.fixture
def gateway_port(world: Authority) -> Iterator[int]:
    """Serve the metrics of a gateway of KOR that has heard one canary; return the port."""
    metrics = Metrics()
    metrics.hub_connected.set(1)
    metrics.members_expiry.set(time.time() + 30 * 86_400)
    metrics.canary.labels("USA", "real-world").set(time.time())
    home, port = world.home("KOR"), free_port()
    server, thread = serve_metrics(
        metrics,
        host="127.0.0.1",
        port=port,
        certificate=home / "gateway.pem",
        key=home / "gateway.key",
        clients=home / "root.pem",
    )
    yield port
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def prometheus(world: Authority, gateway_port: int, deploy: Path, tmp_path: Path) -> Iterator[str]:
    """Run Prometheus with the shipped files; only the address and the times are this test's."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("Prometheus is not installed (Debian: apt-get install prometheus)")
    folder = tmp_path / "prometheus"
    shutil.copytree(deploy / "prometheus", folder)
    (folder / "certs").mkdir()
    for name in ("root.pem", "metrics.pem", "metrics.key"):
        shutil.copy(world.home("KOR") / name, folder / "certs" / name)
    config = yaml.safe_load((folder / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] |= {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"}
    config["scrape_configs"] = [job for job in config["scrape_configs"] if job["job_name"] == "vedette-gateway"]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [f"localhost:{gateway_port}"]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    command = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:  # noqa: S603
        try:
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait(timeout=10)


def test_prometheus_reads_a_gateway_by_its_certificate_and_no_alert_is_raised(prometheus: str) -> None:
    (up,) = waited_for(prometheus, 'up{job="vedette-gateway"} == 1')
    assert up["value"][1] == "1"
    assert waited_for(prometheus, 'vedette_canary_received_timestamp_seconds{origin="USA"}')
    rules = get(f"{prometheus}/api/v1/rules")["data"]["groups"]
    assert sum(len(group["rules"]) for group in rules) > 20, "the shipped rules are loaded"
    assert {rule["health"] for group in rules for rule in group["rules"]} <= {"ok", "unknown"}
    firing = get(f"{prometheus}/api/v1/alerts")["data"]["alerts"]
    # A policy that was never loaded counts as expired, which is what an operator must hear.
    assert {alert["labels"]["alertname"] for alert in firing} <= {"VedettePolicyExpired"}


@pytest.mark.parametrize("holder", [None, "USA"])
def test_metrics_are_not_read_without_a_certificate_of_the_own_nation(
    world: Authority, gateway_port: int, holder: str | None
) -> None:
    assert b"vedette_hub_connected 1.0" in read_metrics(world, gateway_port, "KOR"), "the control: it can be read"
    with pytest.raises((urllib.error.URLError, OSError)):
        read_metrics(world, gateway_port, holder)


def read_metrics(world: Authority, port: int, holder: str | None) -> bytes:
    """Read /metrics of KOR's gateway with the metrics certificate of a nation, or with none."""
    context = ssl.create_default_context(cafile=str(world.home("KOR") / "root.pem"))
    if holder is not None:
        home = world.home(holder)
        context.load_cert_chain(home / "metrics.pem", home / "metrics.key")
    with urllib.request.urlopen(f"https://localhost:{port}/metrics", context=context, timeout=5) as response:
        page: bytes = response.read()
    return page


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def waited_for(prometheus: str, query: str) -> list[dict[str, Any]]:
    """Return the answer to a query as soon as there is one."""
    deadline = time.monotonic() + WAIT_S
    url = f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    while time.monotonic() < deadline:
        try:
            found: list[dict[str, Any]] = get(url)["data"]["result"]
        except (urllib.error.URLError, OSError):
            found = []  # it is still starting
        if found:
            return found
        time.sleep(0.1)
    pytest.fail(f"no answer to {query} within {WAIT_S} s")


def get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - our own loopback address
        answer: dict[str, Any] = json.load(response)
    return answer
