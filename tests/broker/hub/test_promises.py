"""The guard against a nation's invariants: what it sees it stops, and what it cannot see it lets pass."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.clock import timestamp
from broker.demo.world import shipped
from broker.gateway.release import Level, Policy, Subject, decide, redact
from broker.gateway.release.engine import Evaluated, Facts
from broker.gateway.release.lattice import level_of
from broker.hub.promises import BrokenPromiseError, Promise, Promises
from broker.hub.when import Condition, NotPlainError
from broker.hub.when import Facts as Seen
from broker.invariants import SELF, Invariants
from broker.leaves import LEAVES, SCHEMA_DIGEST, set_leaves
from broker.limits import SECOND_NS
from broker.refusal import Reason
from tests.broker.gateway.release.conftest import WHENS, Maker
from vedette.v1 import content_pb2, envelope_pb2, measures_pb2

if TYPE_CHECKING:
    from broker.gateway.release import Decision
    from broker.invariants import Invariant

NOW_NS = 1_780_000_000 * SECOND_NS
RADAR = "content.track.source.kind == SensorKind.SENSOR_KIND_AIRBORNE_RADAR"
# Beside those of the policies: what a reader that took a withheld field for its default would judge wrongly.
ASKED = (
    *WHENS,
    "content.track.source.kind != SensorKind.SENSOR_KIND_AIRBORNE_RADAR",
    "!(content.launch.source.kind in [SensorKind.SENSOR_KIND_SEA_RADAR])",
    "!has(content.launch.source) || !has(content.track.state.covariance)",
    "content.launch.confidence < 0.5",
    "!(to in label.releasable_to)",
    'content.header.lineage.kind == LineageKind.LINEAGE_KIND_PARTIAL || "NOFORN" in label.caveats',
    "!content.track.manoeuvre_suspected && !content.impact.overflight_only",
    "content.launch.count.most <= 500u || content.status.reason == StatusReason.STATUS_REASON_UNSPECIFIED",
)


def document(*invariants: str, nation: str = "KOR", version: int = 1) -> Invariants:
    lines = [f"nation: {nation}", f"version: {version}", f"schema: {SCHEMA_DIGEST}", "invariants:"]
    return Invariants.parse("\n".join(["format: vedette-invariants/v1", *lines, *invariants]) + "\n")


def promises(*parts: str) -> Promises:
    return Promises(document(*(f"- {{id: I-{number}, {part}, reason: r}}" for number, part in enumerate(parts))))


def header(
    content: content_pb2.Content, *caveats: str, to: str = "JPN", released_ns: int = NOW_NS
) -> envelope_pb2.RoutingHeader:
    label = envelope_pb2.SecurityLabel(
        policy="KOR", classification=envelope_pb2.CLASSIFICATION_SECRET, releasable_to=[to], caveats=sorted(caveats)
    )
    return envelope_pb2.RoutingHeader(
        origin="KOR",
        recipient=to,
        mode=content.header.mode,
        precedence=envelope_pb2.PRECEDENCE_FLASH,
        label=label,
        released_at=timestamp(released_ns),
    )


def refusal(
    kept: Promises, head: envelope_pb2.RoutingHeader, content: content_pb2.Content, received_ns: int = NOW_NS
) -> BrokenPromiseError | None:
    try:
        kept.check(head, content, received_ns=received_ns)
    except BrokenPromiseError as refused:
        return refused
    return None


def broken(
    kept: Promises, content: content_pb2.Content, *caveats: str, to: str = "JPN", released_ns: int = NOW_NS
) -> Promise | None:
    """Return which promise the guard refuses the message for."""
    refused = refusal(kept, header(content, *caveats, to=to, released_ns=released_ns), content, released_ns)
    if refused is None:
        return None
    assert refused.reason == Reason.REASON_INVARIANT
    assert refused.detail.startswith(refused.invariant_id)
    return refused.promise


def track(*, space_m: float = 0.0, time_s: int = 0) -> content_pb2.Content:
    content = content_pb2.Content()
    content.header.origin, content.header.mode = "KOR", content_pb2.MODE_TEST
    content.track.event_id = content.track.object_id = bytes(16)
    state = content.track.state
    state.frame = measures_pb2.FRAME_ECEF_WGS84
    state.valid_at.CopyFrom(timestamp(NOW_NS - 10 * SECOND_NS))
    state.position_m[:] = (1.0, 2.0, 3.0)
    if space_m or time_s:
        state.cell.space_m = space_m
        state.cell.time.FromSeconds(time_s)
    return content


# --- what it stops ----------------------------------------------------------------------------------------------------


def test_a_leaf_that_may_never_go_is_stopped_towards_those_named_and_nobody_else() -> None:
    kept = promises("to: [JPN, self], never: [track.source.name]")
    content = track()
    assert broken(kept, content) is None
    content.track.source.name = "green-pine.1"
    assert broken(kept, content) is Promise.NEVER
    assert broken(kept, content, to="KOR") is Promise.NEVER, "self: the hub's own picture"
    assert broken(kept, content, to="USA") is None


def test_everything_stops_what_shows_no_leaf_at_all() -> None:
    kept = promises("to: [JPN], never: everything, when: '\"KOR-ONLY\" in label.caveats'")
    content = content_pb2.Content()
    content.track.event_id = content.track.object_id = bytes(16)
    assert list(set_leaves(content)) == []
    assert broken(kept, content, "KOR-ONLY") is Promise.NEVER
    assert broken(kept, content) is None


@pytest.mark.parametrize(
    ("space_m", "time_s", "stopped"),
    [(0.0, 0, True), (1_000.0, 10, True), (10_000.0, 1, True), (10_000.0, 10, False), (50_000.0, 60, False)],
)
def test_a_cell_that_is_too_small_is_stopped(*, space_m: float, time_s: int, stopped: bool) -> None:
    kept = promises("to: [JPN], never: [track.state.position_m, track.state.valid_at], finer_than: 10km")
    content = track(space_m=space_m, time_s=time_s)
    assert broken(kept, content) is (Promise.FINER if stopped else None)


def test_each_area_of_several_is_judged_by_its_own_cell() -> None:
    kept = promises("to: [JPN], never: [notice.hazard_areas], finer_than: 1km")
    content = content_pb2.Content()
    for space_m in (1_000.0, 10_000.0):
        area = content.notice.hazard_areas.add()
        area.ellipse.semi_major_m, area.cell.space_m = 5_000.0, space_m
    assert broken(kept, content) is None
    content.notice.hazard_areas[1].cell.space_m = 500.0
    assert broken(kept, content) is Promise.FINER


@pytest.mark.parametrize(("sigma", "stopped"), [(None, True), (5.0, True), (10.0, False)])
def test_a_direction_is_as_coarse_as_its_spread_says(*, sigma: float | None, stopped: bool) -> None:
    kept = promises("to: [JPN], never: [launch.azimuth_deg], finer_than: 10km")
    content = content_pb2.Content()
    content.launch.azimuth_deg = 85.0
    if sigma is not None:
        content.launch.azimuth_sigma_deg = sigma
    assert broken(kept, content) is (Promise.FINER if stopped else None)


@pytest.mark.parametrize(("confidence", "stopped"), [(0.83, True), (0.8, False), (0.3, False), (1.0, False)])
def test_a_share_is_coarse_in_tenths(*, confidence: float, stopped: bool) -> None:
    kept = promises("to: [JPN], never: [launch.confidence], finer_than: 50km")
    content = content_pb2.Content()
    content.launch.confidence = confidence
    assert broken(kept, content) is (Promise.FINER if stopped else None)


def test_what_has_no_coarse_form_is_too_fine_wherever_it_is_shown() -> None:
    kept = promises("to: [JPN], never: [track.phase, track.source.site], finer_than: 50km")
    content = track(space_m=50_000.0, time_s=60)
    content.track.phase = content_pb2.PHASE_BOOST
    assert broken(kept, content) is Promise.FINER
    content.track.ClearField("phase")
    content.track.source.site.lat_deg = 38.0
    assert broken(kept, content) is Promise.FINER, "no cell can stand beside a site"


def test_a_label_without_its_caveat_is_stopped() -> None:
    kept = promises("to: [JPN], caveats: [NO-ONWARD], when: '\"ORCON\" in label.caveats'")
    assert broken(kept, track(), "ORCON") is Promise.CAVEATS
    assert broken(kept, track(), "ORCON", "NO-ONWARD") is None
    assert broken(kept, track()) is None


def observed(*, synchronized: bool = True, max_error_s: int | None = 1) -> content_pb2.Content:
    content = track()
    content.header.observed_at.CopyFrom(timestamp(NOW_NS))
    content.header.clock.synchronized = synchronized
    if max_error_s is not None:
        content.header.clock.max_error.FromSeconds(max_error_s)
    content.header.stamps.received_at.FromNanoseconds(NOW_NS)
    return content


def test_what_left_before_its_delay_by_every_clock_is_stopped() -> None:
    kept = promises("to: [JPN], delay_s: 5")
    assert broken(kept, observed(), released_ns=NOW_NS + 3 * SECOND_NS) is Promise.DELAY
    assert broken(kept, observed(), released_ns=NOW_NS + 4 * SECOND_NS) is None, "its clock may be wrong by one second"
    ahead = header(observed(), released_ns=NOW_NS)
    kept.check(ahead, observed(), received_ns=NOW_NS + 6 * SECOND_NS)  # the origin's clock may be slow


def test_a_delay_without_a_clock_to_judge_it_by_is_passed_over() -> None:
    kept = promises("to: [JPN], delay_s: 5")
    assert broken(kept, observed(synchronized=False)) is None
    assert broken(kept, observed(max_error_s=None)) is None
    assert broken(kept, track()) is None


def test_a_sensor_whose_clock_is_ahead_loses_no_warning() -> None:
    """It waited its delay from when it came; the sensor's clock says otherwise, and that it is sure of it."""
    kept = promises("to: [JPN], delay_s: 5")
    content = observed(max_error_s=0)
    content.header.stamps.received_at.FromNanoseconds(NOW_NS - 3 * SECOND_NS)
    assert broken(kept, content, released_ns=NOW_NS + 2 * SECOND_NS) is None
    assert broken(kept, content, released_ns=NOW_NS + SECOND_NS) is Promise.DELAY
    content.header.stamps.ClearField("received_at")
    assert broken(kept, content, released_ns=NOW_NS) is None, "nobody but the sensor says when it was"


def test_a_delay_in_an_exercise_runs_in_its_time() -> None:
    kept = promises("to: [JPN], delay_s: 5")
    content = observed(max_error_s=0)
    base = content.header.exercise
    base.exercise_id, base.rate = "ex-1", 10.0
    base.wall_zero.CopyFrom(timestamp(NOW_NS))
    base.exercise_zero.CopyFrom(timestamp(NOW_NS))
    assert broken(kept, content, released_ns=NOW_NS + SECOND_NS // 4) is Promise.DELAY
    assert broken(kept, content, released_ns=NOW_NS + SECOND_NS // 2) is None


def test_a_guard_that_fails_stops_the_message_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = promises("to: [JPN], never: everything")

    def fail(*_: object) -> bool:
        raise RuntimeError("secret")

    monkeypatch.setattr(Condition, "holds", fail)
    with pytest.raises(BrokenPromiseError) as caught:
        kept.check(header(track()), track(), received_ns=NOW_NS)
    assert caught.value.promise is Promise.FAULT
    assert "secret" not in caught.value.detail


# --- what it lets pass ------------------------------------------------------------------------------------------------


def test_what_only_takes_back_is_never_stopped() -> None:
    kept = promises("to: [JPN], never: everything", "to: [JPN], caveats: [NO-ONWARD]")
    cancel, retraction = content_pb2.Content(), content_pb2.Content()
    cancel.header.references.add(message_id=bytes(16), relation=content_pb2.RELATION_CANCELS)
    retraction.status.event_id, retraction.status.state = bytes(16), content_pb2.EVENT_STATE_NOT_A_LAUNCH
    assert broken(kept, cancel) is None
    assert broken(kept, retraction) is None
    retraction.status.reason = content_pb2.STATUS_REASON_OPERATOR_ERROR
    assert broken(kept, retraction) is Promise.NEVER, "it says more than that"
    retraction.status.ClearField("reason")
    retraction.status.state = content_pb2.EVENT_STATE_ALL_CLEAR
    assert broken(kept, retraction) is Promise.NEVER, "it takes nothing back"


def test_a_canary_is_never_stopped() -> None:
    content = content_pb2.Content()
    content.canary.number = 1
    assert broken(promises("to: [JPN], never: everything"), content) is None


def test_a_covariance_beside_a_cell_may_be_the_cells_own() -> None:
    kept = promises("to: [JPN], never: [track.state.covariance]")
    content = track()
    content.track.state.covariance[:] = (1.0, 0.0, 0.0, 1.0, 0.0, 1.0)
    assert broken(kept, content) is Promise.NEVER
    content.track.state.cell.space_m = 1_000.0
    assert broken(kept, content) is None


ABOUT_TRACKS = {  # text: what the guard knows of it when the source is withheld, and when it is shown
    RADAR: (None, True),
    "content.track.source.kind != SensorKind.SENSOR_KIND_AIRBORNE_RADAR": (None, False),
    f"{RADAR} || true": (True, True),
    f"{RADAR} && false": (False, False),
    f'"NOFORN" in label.caveats && {RADAR}': (False, False),
    f'!("NOFORN" in label.caveats) || {RADAR}': (True, True),
    "has(content.track.source.kind)": (None, True),
    "!has(content.track.source)": (None, False),
    "has(content.track) && !has(content.launch)": (True, True),
    "content.launch.source.kind == SensorKind.SENSOR_KIND_AIRBORNE_RADAR": (False, False),
    f"({RADAR}) || content.launch.source.kind == SensorKind.SENSOR_KIND_OTHER": (None, True),
    "to in label.releasable_to": (None, None),
    "content.track.confidence >= 0.5": (None, None),
    'content.header.origin == "KOR" && mode == Mode.MODE_TEST && body == "track" && to == "JPN"': (True, True),
    "content.track.source.kind in [SensorKind.SENSOR_KIND_AIRBORNE_RADAR, SensorKind.SENSOR_KIND_OTHER]": (None, True),
}


@pytest.mark.parametrize("text", ABOUT_TRACKS)
def test_a_condition_on_what_is_withheld_has_no_answer(text: str) -> None:
    withheld, shown = track(), track()
    shown.track.source.kind = measures_pb2.SENSOR_KIND_AIRBORNE_RADAR
    shown.track.confidence = 0.5
    condition = Condition.parse(text)
    answers = [
        condition.holds(Seen(content, header(content).label, envelope_pb2.PRECEDENCE_FLASH, "JPN"))
        for content in (withheld, shown)
    ]
    assert tuple(answers) == ABOUT_TRACKS[text]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "content",
        "content.track",
        "content.track.phas == Phase.PHASE_BOOST",
        "[content][0].track.manoeuvre_suspected",
        "[content].exists(c, c.track.manoeuvre_suspected)",
        "content // .track\n.track.manoeuvre_suspected",
        "content.`track`.manoeuvre_suspected",
        'r"KOR" == to',
        '"\\x4bOR" == to',
        "size(label.caveats) > 1",
        "label.caveats[0] == to",
        "to.size() == 3",
        "1 / 0 == 1",
        "3 -1 == 2",
        "true ? true : false",
        ".content.track.manoeuvre_suspected",
        "(content).track.manoeuvre_suspected",
        "precedence",
        "hidden_0 == 0 && content.track.manoeuvre_suspected",
    ],
)
def test_a_condition_that_is_not_plain_is_refused_when_it_is_registered(text: str) -> None:
    with pytest.raises(NotPlainError):
        Condition.parse(text)


def test_whatever_a_message_hides_the_hub_compiles_nothing_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A nation that hides its fields in ever new combinations would else keep the hub from the others."""
    condition = Condition.parse(f"{RADAR} || content.track.manoeuvre_suspected || content.header.clock.synchronized")

    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("broker.hub.when._compiled", fail)
    for suspected, synchronized in itertools.product((False, True), (False, True)):
        content = track()
        content.track.source.name = "a radar"
        content.track.manoeuvre_suspected, content.header.clock.synchronized = suspected, synchronized
        seen = Seen(content, header(content).label, envelope_pb2.PRECEDENCE_FLASH, "JPN")
        assert condition.holds(seen) is (True if suspected or synchronized else None)


# --- beside the gateway's own engine ----------------------------------------------------------------------------------


def random_invariant(maker: Maker, number: int) -> str:
    chance = maker.random
    to = chance.sample(("self", "USA", "JPN"), chance.randint(1, 3))
    parts = [f"id: I-{number}", f"to: [{', '.join(to)}]", "reason: r"]
    when = chance.choice(ASKED).replace("'", "''")
    parts.append(f"when: '{when}'")
    some = chance.sample(sorted(LEAVES), chance.randint(1, 30))
    parts.append(f"never: {chance.choice(['everything', '[' + ', '.join(some) + ']'])}")
    if chance.random() < 0.6:
        parts.append(f"finer_than: {chance.choice(('50km', '10km', '1km'))}")
    if chance.random() < 0.3:
        parts.append("caveats: [NO-ONWARD]")
    if chance.random() < 0.3:
        parts.append("delay_s: 10")
    return "- {" + ", ".join(parts) + "}"


def is_broken_at_home(invariant: Invariant, policy: Policy, subject: Subject, decision: Decision, to: str) -> bool:
    """Say whether the release breaks the invariant, by the original and the policy's own levels: what is proved."""
    body = subject.content.WhichOneof("body") or ""
    facts = Facts(subject.content, subject.label, subject.precedence, to, body, subject.content.header.mode)
    if to not in invariant.to or not Evaluated([invariant.when]).matches(facts)[0]:
        return False
    finest = Level.WITHHELD
    if invariant.finer_than is not None:
        finest = level_of(f"{invariant.finer_than.space_m / 1000:g}km") or Level.WITHHELD
    too_fine = any(
        decision.levels[group] > finest
        for group, paths in policy.groups.items()
        for path in paths
        if path in invariant.never
    )
    lacks = not invariant.caveats <= {*subject.label.caveats, *decision.caveats}
    return invariant.is_everything or too_fine or lacks or decision.delay_s < invariant.delay_s


def as_sent(subject: Subject, decision: Decision, to: str) -> tuple[envelope_pb2.RoutingHeader, content_pb2.Content]:
    content = redact(subject.content, decision, released_ns=NOW_NS)
    recipient = "KOR" if to == SELF else to
    head = header(content, *{*subject.label.caveats, *decision.caveats}, to=recipient)
    head.label.classification = subject.label.classification
    head.precedence = envelope_pb2.Precedence.ValueType(subject.precedence)
    return head, content


def differ(seed: int, counted: dict[str, int]) -> None:
    """Compare guard and home over one policy, some invariants and some messages."""
    maker = Maker(seed)
    policy = maker.policy()
    kept = Promises(document(*(random_invariant(maker, number) for number in range(4))))
    for _ in range(4):
        subject = maker.subject()
        for to in policy.recipients:
            decision = decide(policy, subject, to)
            if not decision.released:
                continue
            wrong = {
                each.invariant_id
                for each in kept.document.invariants
                if is_broken_at_home(each, policy, subject, decision, to)
            }
            counted["broken"] += bool(wrong)
            head, content = as_sent(subject, decision, to)
            refused = refusal(kept, head, content)
            if refused is not None:
                assert refused.promise is not Promise.FAULT
                assert refused.invariant_id in wrong, f"seed {seed}: {refused}"
                counted["stopped"] += 1


def test_the_guard_stops_nothing_that_the_proof_at_home_allows() -> None:
    counted = {"broken": 0, "stopped": 0}
    for seed in range(120):
        differ(seed, counted)
    assert counted["stopped"] > counted["broken"] / 3 > 50, "it would be easy to stop nothing"


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=2_000, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_nor_over_many_more_policies(seed: int) -> None:
    differ(seed, {"broken": 0, "stopped": 0})


@pytest.mark.parametrize("nation", ["KOR", "USA", "JPN"])
def test_what_the_shipped_policies_release_passes_the_shipped_invariants(nation: str) -> None:
    texts: Any = [shipped(nation, name) for name in ("release.yaml", "invariants.yaml")]
    policy, kept = Policy.parse(texts[0]), Promises(Invariants.parse(texts[1]))
    passed = 0
    for seed in range(400):
        maker = Maker(seed)
        subject = maker.subject()
        subject.label.releasable_to[:] = sorted(each for each in policy.recipients if each != SELF)
        subject.label.caveats[:] = maker.random.choice(
            ([], [], ["ORCON"], ["NOFORN"], ["KOR-ONLY"], ["JPN-ONLY"], ["NO-ONWARD"])
        )
        for to in policy.recipients:
            decision = decide(policy, subject, to)
            if decision.released:
                head, content = as_sent(subject, decision, to)
                head.origin, head.recipient = nation, nation if to == SELF else to
                kept.check(head, content, received_ns=NOW_NS)
                passed += 1
    assert passed > 100
