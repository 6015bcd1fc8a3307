"""The shipped Prometheus files: they load, they alert when they must and stay silent when they must."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from broker.hub.metrics import HubMetrics
from broker.stages import Metrics

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Promtool = Callable[..., subprocess.CompletedProcess[str]]

METRIC = re.compile(r"\bvedette_[a-z_]+")
CASES = ("rules_test.yml", "objective_test.yml")


@pytest.fixture
def folder(deploy: Path, tmp_path: Path) -> Path:
    """Return a copy with the certificates that the configuration names: promtool looks for them."""
    copy = tmp_path / "prometheus"
    shutil.copytree(deploy / "prometheus", copy)
    for job in yaml.safe_load((copy / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]:
        for name in ("ca_file", "cert_file", "key_file"):
            path = copy / job["tls_config"][name]
            path.parent.mkdir(exist_ok=True)
            path.touch()
    return copy


def test_the_configuration_loads(promtool: Promtool, folder: Path) -> None:
    done = promtool("check", "config", folder / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_clean(promtool: Promtool, folder: Path) -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", folder / "rules.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_alerts_do_what_their_cases_say(promtool: Promtool, folder: Path) -> None:
    done = promtool("test", "rules", *(folder / name for name in CASES))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case_that_notices_when_it_never_fires(promtool: Promtool, folder: Path) -> None:
    """Positive control: each alert in turn is made deaf, and one of the cases that name it must fail."""
    path = folder / "rules.yml"
    whole = path.read_text(encoding="utf-8")
    for name in sorted(alerts(whole)):
        document = yaml.safe_load(whole)
        for rule in rules(document):
            if rule.get("alert") == name:
                rule["expr"] = "vector(1) > 2"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        assert promtool("test", "rules", cases_of(name, folder)).returncode == 1, f"{name} has no case"


def cases_of(alert: str, folder: Path) -> Path:
    """Write a file with the cases that name an alert: running all of them for each would take long."""
    chosen: dict[str, Any] = {"tests": []}
    for name in CASES:
        document = yaml.safe_load((folder / name).read_text(encoding="utf-8"))
        mine = [case for case in document["tests"] if alert in str(case)]
        if mine:
            chosen = document | {"tests": mine}
    assert chosen["tests"], f"{alert} has no case"
    path = folder / "chosen.yml"
    path.write_text(yaml.safe_dump(chosen), encoding="utf-8")
    return path


def test_every_alert_names_its_urgency_and_what_to_do_first(deploy: Path) -> None:
    text = (deploy / "prometheus" / "rules.yml").read_text(encoding="utf-8")
    manual = (deploy / "README.md").read_text(encoding="utf-8")
    for name, rule in alerts(text).items():
        assert rule["labels"]["severity"] in {"page", "ticket"}, name
        assert set(rule["annotations"]) == {"summary", "action"}, name
        assert f"`{name}`" in manual, f"deploy/README.md does not speak of {name}"


def test_every_metric_that_a_rule_names_exists(deploy: Path) -> None:
    existing = {*exposed(Metrics()), *exposed(HubMetrics())}
    named = set(METRIC.findall((deploy / "prometheus" / "rules.yml").read_text(encoding="utf-8")))
    assert named <= existing, sorted(named - existing)


def alerts(text: str) -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules(yaml.safe_load(text)) if "alert" in rule}


def rules(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for group in document["groups"]:
        yield from group["rules"]


def exposed(metrics: Metrics) -> Iterator[str]:
    """Yield the names of all series, those without samples included."""
    for family in metrics.registry.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(family.type, [""])
        yield from (family.name + suffix for suffix in suffixes)
