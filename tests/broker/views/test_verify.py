"""What a recipient finds when it draws again what it was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from broker.fusion import view
from broker.views import verify as verify_module
from broker.views.verify import Outcome, Verifier
from vedette.v1 import content_pb2, envelope_pb2, exchange_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from broker.views.verify import Finding

Log = list[tuple[int, exchange_pb2.Delivery]]


def verified(log: Iterable[tuple[int, exchange_pb2.Delivery]], **options: Any) -> tuple[Verifier, list[Finding]]:
    """Return what is found of a log; a hole in the positions is told as the logbook does."""
    verifier, last, findings = Verifier("JPN", **options), 0, []
    for position, delivery in log:
        if last and position != last + 1:
            verifier.note_hole()
        findings += verifier.take(position, delivery)
        last = position
    return verifier, findings


def is_picture(delivery: exchange_pb2.Delivery) -> bool:
    return delivery.envelope != b"" and content_of(delivery).WhichOneof("body") == "fused"


def content_of(delivery: exchange_pb2.Delivery) -> content_pb2.Content:
    return content_pb2.Content.FromString(envelope_pb2.Envelope.FromString(delivery.envelope).body)


def pictures(log: Log) -> list[int]:
    """Return where pictures stand, as indices."""
    return [index for index, (_, delivery) in enumerate(log) if is_picture(delivery)]


def changed(delivery: exchange_pb2.Delivery, change: Callable[[content_pb2.FusedEvent], object]) -> bytes:
    """Return the envelope with another picture in it."""
    envelope = envelope_pb2.Envelope.FromString(delivery.envelope)
    content = content_pb2.Content.FromString(envelope.body)
    change(content.fused)
    envelope.body = content.SerializeToString()
    return envelope.SerializeToString()


def copied(log: Log) -> Log:
    found = []
    for position, delivery in log:
        copy = exchange_pb2.Delivery()
        copy.CopyFrom(delivery)
        found.append((position, copy))
    return found


@pytest.fixture(scope="module")
def honest(hub: Any, arrivals: Any) -> Log:
    found: Log = hub().feed(arrivals).log
    return found


@pytest.fixture
def log(honest: Log) -> Log:
    return copied(honest)


def test_every_picture_of_an_honest_hub_agrees(log: Log) -> None:
    verifier, findings = verified(log)
    assert findings == []
    assert verifier.counts[Outcome.AGREED] == len(pictures(log)) > 12
    assert verifier.to_come == 0


def test_pictures_that_come_long_after_what_they_were_drawn_from_agree(hub: Any, arrivals: Any) -> None:
    late = hub()
    late.feed(arrivals, publish=False)
    late.publish(5)
    verifier, findings = verified(late.log)
    assert findings == []
    assert verifier.counts[Outcome.AGREED] == 5
    assert verifier.to_come == len(late.picture.pending) > 5


TAMPERING: dict[str, tuple[Callable[[content_pb2.FusedEvent], object], str]] = {
    "state": (lambda fused: fused.status.__setattr__("state", content_pb2.EVENT_STATE_ALL_CLEAR), "status.state"),
    "place": (
        lambda fused: fused.launch.launch_area.ellipse.centre.__setattr__("lat_deg", 1.0),
        "launch.launch_area.ellipse.centre.lat_deg",
    ),
    "a word left out": (lambda fused: fused.contributions.__delitem__(0), "contributions"),
    "another basis": (lambda fused: fused.basis.ClearField("position"), "other records"),
    "an invented digest": (lambda fused: fused.basis.__setattr__("digest", bytes(32)), "other records"),
    "another event": (lambda fused: fused.__setattr__("event_id", bytes(16)), "no such revision"),
}


@pytest.mark.parametrize("how", TAMPERING)
def test_a_tampered_picture_is_found_and_says_where(log: Log, how: str) -> None:
    change, told = TAMPERING[how]
    index = pictures(log)[-3]
    log[index][1].envelope = changed(log[index][1], change)
    _, findings = verified(log)
    differing = [finding for finding in findings if finding.outcome is Outcome.DIFFERS]
    assert [finding.position for finding in differing] == [log[index][0]]
    assert told in differing[0].reasons[0]


def test_an_invented_picture_is_found(hub: Any, arrivals: Any) -> None:
    made = hub().feed(arrivals)
    content = content_of(made.log[pictures(made.log)[-1]][1])
    content.fused.revision += 100
    made.write(made.sealed("HUB", content))
    _, findings = verified(made.log)
    assert [finding.outcome for finding in findings] == [Outcome.DIFFERS]
    assert findings[0].reasons == ("this log leads to no such revision",)


def test_a_label_that_is_not_the_join_is_found(log: Log) -> None:
    index = pictures(log)[4]
    envelope = envelope_pb2.Envelope.FromString(log[index][1].envelope)
    header = envelope_pb2.RoutingHeader.FromString(envelope.header)
    header.label.classification = envelope_pb2.CLASSIFICATION_UNCLASSIFIED
    envelope.header = header.SerializeToString()
    log[index][1].envelope = envelope.SerializeToString()
    _, (finding,) = verified(log)
    assert finding.outcome is Outcome.DIFFERS
    assert finding.reasons[0].startswith("label.classification")


def test_a_revision_that_was_left_out_is_told_once_the_next_is_there(hub: Any, arrivals: Any) -> None:
    withheld = hub(publishes=lambda revision: revision.event.revision != 7).feed(arrivals)
    _, findings = verified(withheld.log)
    assert [finding.outcome for finding in findings] == [Outcome.PASSED_OVER]
    assert findings[0].key.revision == 7


def test_a_picture_made_from_what_this_nation_was_not_sent_is_found(hub: Any, arrivals: Any, world: Any) -> None:
    """The hub folded a record and kept it from the log: positions have no hole, and digests tell."""
    made = hub().feed(arrivals[:10])
    secret = made.sealed("USA", world.nation("USA").launch("x", 20.0, launched_s=0.0, place=(41.0, 127.0), name="x"))
    made.picture.take(made.first + len(made.log) - 1, secret)
    made.picture.pending.clear()
    made.feed([arrivals[-2]])
    _, findings = verified(made.log)
    assert findings
    assert {finding.outcome for finding in findings} == {Outcome.DIFFERS}
    assert findings[-1].reasons[:1] == ("it was made from other records than this log has",)


def test_of_a_log_that_begins_in_the_middle_nothing_is_claimed(log: Log) -> None:
    verifier, findings = verified(log[9:], is_partial=True)
    assert {finding.outcome for finding in findings} == {Outcome.UNCHECKED}
    assert verifier.counts[Outcome.AGREED] == 0


def test_a_view_that_began_within_a_partial_log_is_checked_all_the_same(hub: Any, arrivals: Any) -> None:
    verifier, findings = verified(hub(first=77).feed(arrivals).log, is_partial=True)
    assert findings == []
    assert verifier.counts[Outcome.AGREED] > 12


def test_after_a_hole_that_mattered_nothing_is_claimed_and_after_one_that_did_not_all_is_checked(log: Log) -> None:
    inputs = [index for index, (_, delivery) in enumerate(log) if not is_picture(delivery)]
    mattered = copied(log)
    del mattered[inputs[12]]
    _, findings = verified(mattered)
    assert findings
    assert {finding.outcome for finding in findings} == {Outcome.UNCHECKED}
    harmless = copied(log)
    del harmless[pictures(log)[-1]]
    verifier, findings = verified(harmless)
    assert findings == []
    assert verifier.counts[Outcome.AGREED] == len(pictures(log)) - 1


def test_another_nation_that_draws_pictures_is_found(hub: Any, arrivals: Any) -> None:
    made = hub().feed(arrivals, publish=False)
    (revision, *_) = made.picture.pending.values()
    made.write(made.sealed("USA", view.fused_content(revision.event, recipient="JPN", mode=revision.key.view.mode)))
    _, findings = verified(made.log)
    assert [finding.outcome for finding in findings] == [Outcome.DIFFERS]


def test_what_was_drawn_and_never_sent_fills_no_memory(
    hub: Any, arrivals: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_module, "DRAWN_MAX", 8)
    monkeypatch.setattr(verify_module, "DIGESTS_MAX", 8)
    late = hub().feed(arrivals, publish=False)
    late.publish()
    verifier, findings = verified(late.log)
    assert verifier.overflowed == len(pictures(late.log)) - 8
    assert {finding.outcome for finding in findings} == {Outcome.UNCHECKED}
    assert verifier.counts[Outcome.AGREED] == 8
