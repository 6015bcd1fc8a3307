"""One officer stops at once; many lift. What is stopped can only be less than before, whatever waits or comes later."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from broker import limits
from broker.gateway.office.stops import PREFIX, Stops, missing_to_lift
from broker.gateway.release import EVERYBODY, Policy, Subject, decide
from broker.limits import SECOND_NS
from broker.orders import RESUME_TYPE, STOP_TYPE, OrderError, ResumeOrder, StopOrder
from broker.refusal import Reason, Refused
from certs import dsse
from certs.approval import PAYLOAD_TYPE
from certs.keyring import load_signer
from certs.signature import sign_document
from tests.broker.gateway.conftest import NOW_NS, members_of
from vedette.v1 import admin_pb2, content_pb2

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from certs.issue import Authority
    from certs.roster import Member
    from tests.broker.gateway.conftest import Origin
    from vedette.v1.journal_pb2 import StopRecord

DETECTED = content_pb2.EVENT_STATE_DETECTED
RULES = """
- id: LATE
  effect: release
  to: [JPN]
  when: 'body == "track"'
  give: {when_observed: exact, track_time: exact, track_place: exact, motion: exact}
  delay_s: 10
  reason: r
- id: ALL
  effect: release
  to: [self, USA]
  when: 'true'
  give: {when_observed: exact, track_time: exact, track_place: exact, motion: exact, status: exact}
  reason: r
- id: STATUS
  effect: release
  to: [JPN]
  when: 'body == "status"'
  give: {when_observed: exact, status: exact}
  reason: r
"""


class House:
    """A nation's stops with its officers' keys."""

    def __init__(self, world: Authority) -> None:
        self.world = world
        self.member: Member = members_of(world).members["KOR"]  # type: ignore[index] # a MemberId
        self.stops = Stops("KOR")

    def sign(self, kind: str, data: bytes, by: str, nation: str = "KOR") -> bytes:
        return sign_document(kind, data, load_signer(self.world.home(nation) / "officers" / f"{by}.key"))

    def order(self, recipient: str = "JPN", *, by: str = "officer-1", **changes: object) -> bytes:
        order = StopOrder("KOR", recipient, 7, NOW_NS, by, "what was sent was passed on")
        return replace(order, **changes).to_bytes()  # type: ignore[arg-type] # by name

    def stop(self, order: bytes, *, caller: str = "officer-1", signature: bytes | None = None) -> StopRecord:
        signed = self.sign(STOP_TYPE, order, caller) if signature is None else signature
        request = admin_pb2.StopRequest(order=order, signature=signed)
        record = self.stops.stop(
            request, self.member, caller, version=7, known={"JPN", "USA"}, now_ns=NOW_NS + 60 * SECOND_NS
        )
        self.stops.keep(record)
        return record

    def resume(self, record: StopRecord, *, caller: str, order: bytes | None = None) -> StopRecord:
        approval = self.sign(RESUME_TYPE, order or self.stops.resume_order(record), caller)
        request = admin_pb2.ResumeRequest(recipient=record.recipient, approval=approval)
        changed = self.stops.resume(request, self.member, caller)
        self.stops.keep(changed)
        return changed


@pytest.fixture
def house(world: Authority) -> House:
    return House(world)


def refuses(reason: str, work: Callable[[], object]) -> None:
    with pytest.raises(Refused) as caught:
        work()
    assert Reason.Name(caught.value.reason) == f"REASON_{reason}", caught.value


# -- orders ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("officer", ["officer-1", "security-2"])
@pytest.mark.parametrize("recipient", ["JPN", "self", "all"])
def test_any_one_officer_stops(house: House, officer: str, recipient: str) -> None:
    record = house.stop(house.order(recipient, by=officer), caller=officer)
    assert record.officer == officer
    assert house.stops.recipients() == {recipient}


def test_a_second_order_changes_nothing(house: House) -> None:
    first = house.stop(house.order())
    assert house.stop(house.order(by="officer-2"), caller="officer-2") is first


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("POLICY_NATION", {"nation": "USA"}),
        ("UNKNOWN_RECIPIENT", {"recipient": "FRA"}),
        ("POLICY_STALE", {"version": 6}),
        ("POLICY_STALE", {"at_ns": NOW_NS - limits.ORDER_AGE_NS}),
        ("POLICY_STALE", {"at_ns": NOW_NS + 2 * limits.ORDER_AGE_NS}),
        ("POLICY_SIGNER", {"officer": "officer-2"}),
        ("MALFORMED", {"reason": ""}),
        ("MALFORMED", {"recipient": "nobody"}),
    ],
)
def test_an_order_says_who_stops_whom_now(house: House, reason: str, changes: dict[str, Any]) -> None:
    refuses(reason, lambda: house.stop(house.order(**changes)))


def test_a_wrong_clock_is_named_with_how_wrong_it_is(house: House) -> None:
    with pytest.raises(Refused, match="360 s behind the gateway's"):
        house.stop(house.order(at_ns=NOW_NS - limits.ORDER_AGE_NS))


def test_all_can_be_stopped_when_there_is_no_room_for_one_more(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RELEASE_STOPS_MAX", 1)
    house.stop(house.order("USA"))
    refuses("POLICY_LIMIT", lambda: house.stop(house.order("JPN")))
    house.stop(house.order("all"))
    assert house.stops.recipients() == {"USA", "all"}


@pytest.mark.parametrize("broken", [b"", b"[]", b"{}", b'{"order":"stop"}', b"{" * 100, b" " * 5_000])
def test_what_is_no_order_is_refused(house: House, broken: bytes) -> None:
    refuses("MALFORMED", lambda: house.stop(broken))


def test_an_order_is_written_in_one_way_only(house: House) -> None:
    order = house.order()
    assert StopOrder.of(order).to_bytes() == order
    with pytest.raises(OrderError, match="canonical"):
        StopOrder.of(order.replace(b'","', b'", "'))


def test_an_order_needs_the_callers_own_signature(house: House) -> None:
    order = house.order()
    refuses("POLICY_UNSIGNED", lambda: house.stop(order, signature=b""))
    refuses("POLICY_SIGNER", lambda: house.stop(order, signature=house.sign(STOP_TYPE, order, "officer-2")))
    refuses("POLICY_SIGNER", lambda: house.stop(order, signature=house.sign(STOP_TYPE, order, "officer-1", "USA")))
    refuses("POLICY_ALTERED", lambda: house.stop(order, signature=house.sign(STOP_TYPE, order + b" ", "officer-1")))
    for other in (PAYLOAD_TYPE, RESUME_TYPE):
        refuses("POLICY_ALTERED", partial(house.stop, order, signature=house.sign(other, order, "officer-1")))


# -- lifting -----------------------------------------------------------------------------------------------------------
def test_lifting_needs_both_duties(house: House) -> None:
    record = house.stop(house.order())
    record = house.resume(record, caller="officer-1")
    assert "0 security-officer" in missing_to_lift(record, house.member)
    refuses("POLICY_SIGNED_TWICE", lambda: house.resume(record, caller="officer-1"))
    record = house.resume(record, caller="officer-2")
    assert missing_to_lift(record, house.member), "two of one duty are not both"
    record = house.resume(record, caller="security-1")
    assert missing_to_lift(record, house.member) == ""
    house.stops.drop(record)
    assert house.stops.recipients() == set()


def test_an_approval_to_lift_one_stop_is_good_for_no_other(house: House) -> None:
    usa = house.stop(house.order("USA"))
    jpn = house.stop(house.order("JPN"))
    order = house.stops.resume_order(usa)
    refuses("POLICY_ALTERED", lambda: house.resume(jpn, caller="officer-1", order=order))
    again = ResumeOrder("KOR", "JPN", "sha256:0").to_bytes()
    refuses("POLICY_ALTERED", lambda: house.resume(jpn, caller="officer-1", order=again))


def test_strangers_signatures_beside_the_callers_are_not_taken_up(house: House) -> None:
    """They would fill the record up, until nobody can lift the stop any more."""
    record = house.stop(house.order())
    order = house.stops.resume_order(record)
    own = dict(dsse.decode(house.sign(RESUME_TYPE, order, "officer-1")).signatures)
    beside = {f"{number:032x}": bytes(64) for number in range(dsse.SIGNATURES_MAX - 1)}
    filled = dsse.encode(RESUME_TYPE, None, [*own.items(), *beside.items()])
    request = admin_pb2.ResumeRequest(recipient="JPN", approval=filled)
    refuses("POLICY_SIGNER", lambda: house.stops.resume(request, house.member, "officer-1"))


def test_what_is_not_stopped_cannot_be_lifted(house: House) -> None:
    refuses("POLICY_UNKNOWN", lambda: house.stops.find("JPN"))


def test_an_officer_who_left_does_not_count(house: House) -> None:
    record = house.resume(house.stop(house.order()), caller="security-1")
    left = {name: officer for name, officer in house.member.officers.items() if name != "security-1"}
    house.member = replace(house.member, officers=left)
    record = house.resume(record, caller="officer-1")
    assert "0 security-officer" in missing_to_lift(record, house.member)


def test_a_restart_finds_every_stop(house: House) -> None:
    record = house.resume(house.stop(house.order()), caller="officer-1")
    again = Stops.of("KOR", house.stops.change(record))
    assert again.listed() == [record]
    assert all(name.startswith(PREFIX) for name in house.stops.change(record))
    assert Stops.of("KOR", house.stops.removal(record)).listed() == []


# -- what it comes to --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("stopped", "denied"),
    [({"JPN"}, {"JPN"}), ({"self"}, {"self"}), ({EVERYBODY}, {"self", "USA", "JPN"}), (set(), set())],
)
def test_a_stop_denies_before_any_rule_and_touches_nobody_else(
    policy_of: Callable[[str], Policy], reports: ModuleType, stopped: set[str], denied: set[str]
) -> None:
    plain = policy_of(RULES)
    policy = plain.stopping(stopped)
    assert (policy.version, policy.digest) == (plain.version, plain.digest)
    subject = Subject(reports.status(b"s", b"e", 7, base=None), reports.label(), 3)
    for recipient in ("self", "USA", "JPN"):
        decision = decide(policy, subject, recipient)
        if recipient in denied:
            assert (decision.released, decision.rule_ids) == (False, ("VEDETTE-STOPPED",))
        else:
            assert decision == decide(plain, subject, recipient)
            assert decision.released
    assert plain.stopped == frozenset(), "the policy itself is as it was"


def test_a_rule_that_denies_what_a_stop_denies_is_proved_to_only_tighten(policy_of: Callable[[str], Policy]) -> None:
    """A stop is no rule: it comes before them. The rule that says the same is what a proof can speak of."""
    from broker.gateway.proof import Proved, only_tightens  # noqa: PLC0415 - it loads the solver

    deny = "\n- {id: STOP, effect: deny, to: [JPN], when: 'true', reason: r}\n"
    assert isinstance(only_tightens(policy_of(RULES), policy_of(RULES + deny)), Proved)
    assert not isinstance(only_tightens(policy_of(RULES + deny), policy_of(RULES)), Proved), "the control"


@pytest.fixture
async def kor(origin: Callable[..., Origin], policy_of: Callable[[str], Policy]) -> Origin:
    return await origin(policy_of(RULES)).start()


async def test_a_stop_catches_what_waits_for_its_delay(kor: Origin, reports: ModuleType) -> None:
    base = reports.exercise("stops")
    label = reports.label()
    await kor.report(reports.track(b"t-1", b"e-1", base=base, at_ns=NOW_NS), label)
    assert len(kor.pipeline.held) == 1
    await kor.pipeline.policy.obey(frozenset({"JPN"}))
    await kor.wait(11)
    assert await kor.outbox("JPN") == []
    assert len(kor.pipeline.held) == 0
    await kor.pipeline.policy.obey(frozenset())
    await kor.wait(60)
    assert await kor.outbox("JPN") == [], "what was caught does not come back when the stop is lifted"
    assert len(await kor.outbox("USA")) == 1


async def test_a_stop_makes_no_correction_a_cancellation(kor: Origin, reports: ModuleType) -> None:
    """What was corrected stands; to tell whoever is stopped that it was nothing would end an alarm over a launch."""
    base = reports.exercise("stops")
    await kor.report(reports.status(b"s-1", b"e-1", DETECTED, base=base), reports.label())
    await kor.pipeline.policy.obey(frozenset({"JPN"}))
    better = reports.status(b"s-2", b"e-1", content_pb2.EVENT_STATE_CONFIRMED, base=base)
    better.header.references.add(message_id=b"s-1", relation=content_pb2.RELATION_CORRECTS)
    await kor.report(better, reports.label())
    assert len(await kor.outbox("JPN")) == 1
    assert len(await kor.outbox("USA")) == 2, "to whoever is not stopped it goes"
    await kor.pipeline.policy.obey(frozenset())
    await kor.report(reports.cancel(b"c-1", b"s-1", base=base), reports.label())
    assert len(await kor.outbox("JPN")) == 2, "the cancellation is owed all the same"


async def test_what_was_shown_can_still_be_taken_back(kor: Origin, reports: ModuleType) -> None:
    base = reports.exercise("stops")
    await kor.report(reports.status(b"s-1", b"e-1", DETECTED, base=base), reports.label())
    await kor.pipeline.policy.obey(frozenset({EVERYBODY}))
    await kor.report(reports.status(b"s-2", b"e-1", DETECTED, base=base), reports.label())
    await kor.report(reports.cancel(b"c-1", b"s-1", base=base), reports.label())
    first, cancel = await kor.outbox("JPN")
    (reference,) = cancel.content.header.references
    assert (reference.relation, reference.message_id) == (
        content_pb2.RELATION_CANCELS,
        first.content.header.message_id,
    )


async def test_a_stop_lies_over_every_later_policy(kor: Origin, policy_of: Callable[[str], Policy]) -> None:
    in_force = kor.pipeline.policy
    await in_force.obey(frozenset({"JPN"}))
    newer = replace(policy_of(RULES + "\n- {id: X, effect: deny, to: [USA], when: 'false', reason: r}\n"), version=2)
    await in_force.take(newer)
    assert in_force.current.version == 2
    assert in_force.current.stopped == {"JPN"}
    await in_force.obey(frozenset())
    assert in_force.current is newer


async def test_who_is_stopped_shows_in_the_metrics(kor: Origin) -> None:
    registry = kor.pipeline.metrics.registry
    await kor.pipeline.policy.obey(frozenset({"JPN"}))
    assert registry.get_sample_value("vedette_policy_stopped", {"recipient": "JPN"}) == 1
    await kor.pipeline.policy.obey(frozenset())
    assert registry.get_sample_value("vedette_policy_stopped", {"recipient": "JPN"}) is None
