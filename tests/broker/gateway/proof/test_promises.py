from __future__ import annotations

from pathlib import Path

import pytest

from broker.gateway.proof import Proof, Proved, Refuted, Unknown, Witness, prove
from broker.gateway.proof.promises import breaches
from broker.gateway.release import Level, Policy, PolicyError, decide
from broker.gateway.release.conditions import condition
from broker.invariants import Invariants
from broker.leaves import SCHEMA_DIGEST
from tests.broker.gateway.proof.drawn import (
    KOR,
    edited,
    policy_of,
    random_invariants,
    random_policy,
    seeded,
    valid_subject,
)
from tests.broker.gateway.release.generate import random_subject
from vedette.v1 import envelope_pb2, measures_pb2

NATIONS = Path(__file__).parents[4] / "nations"
PROMISES = (NATIONS / "kor" / "invariants.yaml").read_text()


def _invariants(*lines: str, nation: str = "KOR") -> Invariants:
    listed = "\n".join(f"- {{id: I-{number}, reason: r, {line}}}" for number, line in enumerate(lines))
    return Invariants.parse(
        f"format: vedette-invariants/v1\nnation: {nation}\nversion: 1\nschema: {SCHEMA_DIGEST}\ninvariants:\n{listed}\n"
    )


def _only(found: list[Proof]) -> Proof:
    (one,) = found
    return one


def _refuted(found: list[Proof]) -> dict[tuple[str, str], Refuted]:
    assert not any(isinstance(each.verdict, Unknown) for each in found)
    return {
        (each.invariant.invariant_id, each.recipient): each.verdict
        for each in found
        if isinstance(each.verdict, Refuted)
    }


@pytest.mark.parametrize("nation", ["kor", "usa", "jpn"])
def test_every_invariant_of_every_nation_is_proved_of_its_shipped_policy(nation: str) -> None:
    policy = Policy.parse((NATIONS / nation / "release.yaml").read_text())
    found = prove(policy, Invariants.parse((NATIONS / nation / "invariants.yaml").read_text()))
    assert found
    assert [each for each in found if not each.holds] == []


# --- planted holes ----------------------------------------------------------------------------------------------------


def test_an_opened_limit_is_found_with_the_track_that_goes_through_it() -> None:
    policy = edited(("track_place: 1km\n    motion: 1km", "track_place: exact\n    motion: 1km"))
    found = _refuted(prove(policy, Invariants.parse(PROMISES)))
    assert found.keys() == {("KOR-I5", "JPN")}
    refuted = found["KOR-I5", "JPN"]
    assert refuted.text == "track.state.position_m is shown at exact"
    assert refuted.witness.subject.content.track.state.position_m  # the message has what it is about
    assert "KOR-R8" in refuted.witness.rule_ids


def test_a_dropped_deny_is_found() -> None:
    policy = edited(("""  effect: deny\n  to: [JPN]\n""", """  effect: limit\n  caveats: [ORCON]\n  to: [JPN]\n"""))
    found = _refuted(prove(policy, Invariants.parse(PROMISES)))
    assert found.keys() == {("KOR-I3", "JPN")}
    assert "ORCON" in found["KOR-I3", "JPN"].witness.subject.label.caveats


def test_a_condition_that_names_what_is_open_instead_of_what_is_closed_is_found() -> None:
    """`!=` for `==`: the limit takes all kinds of sensor but the one it was made for."""
    airborne = "content.track.source.kind == SensorKind.SENSOR_KIND_AIRBORNE_RADAR'\n  cap: {when_observed"
    policy = edited(
        (airborne, airborne.replace("== SensorKind.SENSOR_KIND_AIRBORNE", "!= SensorKind.SENSOR_KIND_AIRBORNE"))
    )
    found = _refuted(prove(policy, Invariants.parse(PROMISES)))
    assert found.keys() == {("KOR-I6", "JPN")}
    source = found["KOR-I6", "JPN"].witness.subject.content.track.source
    assert source.kind == measures_pb2.SENSOR_KIND_AIRBORNE_RADAR


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("  delay_s: 5\n", "  delay_s: 4.999\n", "it goes after 4.999 s, not 5 s"),
        ("  minimum_interval_s: 10\n", "  minimum_interval_s: 9\n", "the next may follow after 9 s, not 10 s"),
        (
            "  minimum_interval_s: 10\n  caveats: [NO-ONWARD]\n",
            "  minimum_interval_s: 10\n",
            "it goes without NO-ONWARD",
        ),
        ("track_time: 10s", "track_time: 1s", "track.state.valid_at is shown at 1km/1s"),
    ],
)
def test_each_term_of_a_promise_is_proved(old: str, new: str, text: str) -> None:
    found = _refuted(prove(edited((old, new)), Invariants.parse(PROMISES)))
    assert found.keys() == {("KOR-I6", "JPN")}
    assert text in found["KOR-I6", "JPN"].text


def test_a_caveat_that_the_label_has_already_is_not_missed() -> None:
    rule = "effect: release, give: {all: exact}, to: [USA], reason: r"
    promise = _invariants("""to: [USA], when: '"EYES" in label.caveats', caveats: [EYES]""")
    known = """id: K, effect: limit, caveats: [EYES], to: [JPN], when: 'false', reason: r"""
    assert _only(prove(policy_of(f"id: R, when: 'true', {rule}", known), promise)).holds


def test_everything_means_that_no_message_goes_at_all() -> None:
    promise = _invariants("to: [USA], never: everything, when: 'body == \"heartbeat\"'")
    silent = policy_of(
        """id: R, effect: release, give: {all: exact}, to: [USA], when: 'body != "heartbeat"', reason: r"""
    )
    assert _only(prove(silent, promise)).holds
    open_to_all = policy_of("id: R, effect: release, give: {all: exact}, to: [USA], when: 'true', reason: r")
    verdict = _only(prove(open_to_all, promise)).verdict
    assert isinstance(verdict, Refuted)
    assert verdict.witness.body == "heartbeat"


def test_to_somebody_whom_the_policy_does_not_name_everything_is_kept() -> None:
    policy = policy_of("id: R, effect: release, give: {all: exact}, to: [USA], when: 'true', reason: r")
    assert _only(prove(policy, _invariants("to: [FRA], never: everything"))).holds


def test_what_only_says_how_the_rest_is_read_is_no_breach_of_a_cell() -> None:
    policy = policy_of("id: R, effect: release, give: {all: 10km}, to: [USA], when: 'true', reason: r")
    frame_and_place = _invariants("to: [USA], never: [track.state], finer_than: 10km")
    assert _only(prove(policy, frame_and_place)).holds
    assert not _only(prove(policy, _invariants("to: [USA], never: [track.state.frame]"))).holds


# --- conditions and nations that do not fit ---------------------------------------------------------------------------


def test_a_condition_outside_the_language_is_an_error_with_its_place() -> None:
    policy = policy_of("id: R, effect: release, give: {all: exact}, to: [USA], when: 'true', reason: r")
    with pytest.raises(PolicyError, match="I-1: condition, character") as raised:
        prove(policy, _invariants("to: [USA], delay_s: 1", "to: [USA], delay_s: 1, when: 'size(label.caveats) > 1'"))
    assert raised.value.line == 7


def test_the_invariants_of_another_nation_prove_nothing() -> None:
    with pytest.raises(PolicyError, match="USA's"):
        prove(edited(("version: 1\n", "version: 2\n")), _invariants("to: [JPN], delay_s: 1", nation="USA"))


# --- never proved by accident -----------------------------------------------------------------------------------------


def test_without_time_nothing_is_proved_that_needs_the_solver() -> None:
    found = {each.invariant.invariant_id: each for each in prove(KOR, Invariants.parse(PROMISES), within_s=0.0)}
    assert isinstance(found["KOR-I6"].verdict, Unknown)
    assert not found["KOR-I6"].holds


def test_progress_ends_when_all_questions_are_answered() -> None:
    told: list[tuple[int, int]] = []
    prove(KOR, Invariants.parse(PROMISES), progress=lambda done, total: told.append((done, total)))
    assert told == [(done, len(told)) for done in range(1, len(told) + 1)]


# --- against the engine -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [4, pytest.param(400, marks=(pytest.mark.slow, pytest.mark.timeout(1200)))])
def test_what_is_refuted_the_engine_confirms_and_what_is_proved_no_message_breaks(count: int) -> None:
    verdicts: set[type] = set()
    for seed in range(count):
        rng = seeded(f"{seed} of {count}")
        policy = random_policy(rng)
        found = prove(policy, random_invariants(rng))
        subjects = [valid_subject(rng, policy) for _ in range(30)]
        for each in found:
            verdicts.add(type(each.verdict))
            predicate = condition(each.invariant.when)
            if isinstance(each.verdict, Refuted):
                witness = each.verdict.witness
                again = decide(policy, witness.subject, witness.recipient)
                assert again == witness.decision
                assert list(breaches(each.invariant, predicate, witness))
            elif each.recipient in policy.recipients:
                for subject in subjects:
                    body = subject.content.WhichOneof("body") or ""
                    tried = Witness(subject, each.recipient, body, decide(policy, subject, each.recipient))
                    assert list(breaches(each.invariant, predicate, tried)) == []
    assert verdicts == {Proved, Refuted}


def test_a_breach_is_found_on_the_decision_without_any_of_the_model() -> None:
    """`breaches` is what confirms a refutation, so it must see one by itself."""
    policy = policy_of("id: R, effect: release, give: {all: 10km}, to: [self], when: 'true', reason: r")
    (promise,) = _invariants("to: [self], never: [track.state.position_m], finer_than: 50km").invariants
    rng = seeded(1)
    subject = next(each for each in (random_subject(rng) for _ in range(999)) if each.content.HasField("track"))
    subject.label.caveats[:] = []
    subject.label.classification = envelope_pb2.CLASSIFICATION_SECRET
    decision = decide(policy, subject, "self")
    assert decision.shown.levels["track.state.position_m"] is Level.CELL_10KM
    told = list(breaches(promise, condition("true"), Witness(subject, "self", "track", decision)))
    assert told == ["track.state.position_m is shown at 10km/10s"]
