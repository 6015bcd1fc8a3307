from __future__ import annotations

from urllib.request import urlopen

import pytest
from prometheus_client import generate_latest

from broker.stages import BUCKETS_S, Leg, Metrics, lane_label, mode_label, precedence_label, serve_metrics
from vedette.v1.content_pb2 import Mode
from vedette.v1.envelope_pb2 import Lane, Precedence


def test_two_processes_in_one_interpreter_have_their_own_metrics() -> None:
    one, other = Metrics(), Metrics()
    one.outbox.set(3)
    assert b"vedette_outbox_records 3.0" in generate_latest(one.registry)
    assert b"vedette_outbox_records 0.0" in generate_latest(other.registry)


def test_the_marks_that_people_ask_about_are_boundaries() -> None:
    assert {0.02, 0.5} <= set(BUCKETS_S)
    assert list(BUCKETS_S) == sorted(BUCKETS_S)


def test_each_leg_has_the_number_of_its_step() -> None:
    numbers = [int(leg.value.partition("-")[0]) for leg in Leg]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(1, 10))


@pytest.mark.parametrize(
    ("label", "values"),
    [(mode_label, Mode), (precedence_label, Precedence), (lane_label, Lane)],
    ids=["mode", "precedence", "lane"],  # ids of objects would differ between the workers
)
def test_labels_come_from_closed_sets(label: object, values: object) -> None:
    assert callable(label)
    labels = {label(value) for value in values.values()}  # type: ignore[attr-defined]
    assert len(labels) == len(values.values())  # type: ignore[attr-defined]
    assert all(text.replace("-", "").islower() for text in labels)
    assert label(99) == "unknown"


def test_they_are_served_on_the_address_that_was_asked_for() -> None:
    metrics = Metrics()
    metrics.refusals.labels("5-admit", "KOR", "BAD_SEAL").inc()
    server, thread = serve_metrics(metrics, host="127.0.0.1", port=0, certificate=None, key=None, clients=None)
    try:
        with urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=5) as answer:
            text = answer.read()
    finally:
        server.shutdown()
        server.server_close()
        thread.join(1.0)
    assert b'vedette_refusals_total{origin="KOR",reason="BAD_SEAL",step="5-admit"} 1.0' in text
