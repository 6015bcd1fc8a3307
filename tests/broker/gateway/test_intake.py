from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from broker import limits
from broker.clock import timestamp
from broker.gateway.intake import ADAPTERS_MAX, Intake
from broker.gateway.load import load_nation
from broker.refusal import Reason, Refused
from certs.identity import Identity, MemberId, Role
from vedette.v1 import content_pb2, envelope_pb2, national_pb2

if TYPE_CHECKING:
    from types import ModuleType

NOW_NS = 1_780_000_000 * limits.SECOND_NS
EXERCISE = content_pb2.MODE_EXERCISE


def sender(name: str = "aegis-1", mode: content_pb2.Mode.ValueType = EXERCISE) -> Identity:
    return Identity(MemberId("KOR"), Role.SYSTEM, mode, name, f"spiffe://kor.vedette/system/exercise/{name}")


@pytest.fixture
def intake() -> Intake:
    return Intake(load_nation("KOR"))


@pytest.fixture
def good(reports: ModuleType) -> national_pb2.ReportRequest:
    content = reports.track(b"t-1", b"e-1", base=reports.exercise())
    return national_pb2.ReportRequest(
        content=content, precedence=envelope_pb2.PRECEDENCE_FLASH, label=reports.label(), session="s-1"
    )


def reason(intake: Intake, request: national_pb2.ReportRequest, identity: Identity | None = None) -> Any:
    with pytest.raises(Refused) as refused:
        intake.take(request, identity or sender(), now_ns=NOW_NS)
    return refused.value.reason


def test_mode_and_origin_are_set_by_us_and_what_is_ours_to_write_is_not_believed(
    intake: Intake, good: national_pb2.ReportRequest
) -> None:
    good.content.header.disclosure.withheld.append("source")
    good.content.header.stamps.sealed_at.CopyFrom(timestamp(5))
    (taken,) = intake.take(good, sender(), now_ns=NOW_NS)
    header = taken.content.header
    assert (header.mode, header.origin) == (EXERCISE, "KOR")
    assert not header.HasField("disclosure")
    assert not header.HasField("stamps")
    assert (taken.body, taken.received_ns, taken.scope.system, taken.scope.session) == (
        "track",
        NOW_NS,
        "aegis-1",
        "s-1",
    )


def test_what_was_given_is_not_changed(intake: Intake, good: national_pb2.ReportRequest) -> None:
    before = good.SerializeToString(deterministic=True)
    intake.take(good, sender(), now_ns=NOW_NS)
    assert good.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("session", ["", "a.B:_-9", "x" * 64])
def test_a_session_is_a_plain_name(session: str, intake: Intake, good: national_pb2.ReportRequest) -> None:
    good.session = session
    assert intake.take(good, sender(), now_ns=NOW_NS)


@pytest.mark.parametrize("session", ["x" * 65, "a b", "a/b", "ä", "a\n"])
def test_any_other_session_is_refused(session: str, intake: Intake, good: national_pb2.ReportRequest) -> None:
    good.session = session
    assert reason(intake, good) == Reason.REASON_OUT_OF_RANGE


def test_the_mode_is_the_certificates_and_cannot_be_chosen(intake: Intake, good: national_pb2.ReportRequest) -> None:
    good.content.header.mode = EXERCISE
    assert intake.take(good, sender(), now_ns=NOW_NS)
    good.content.header.mode = content_pb2.MODE_REAL_WORLD
    assert reason(intake, good) == Reason.REASON_MODE_NOT_ALLOWED
    good.content.header.mode = EXERCISE
    assert reason(intake, good, sender(mode=content_pb2.MODE_TEST)) == Reason.REASON_MODE_NOT_ALLOWED


def test_a_system_speaks_for_its_own_nation_only(intake: Intake, good: national_pb2.ReportRequest) -> None:
    good.content.header.origin = "KOR"
    assert intake.take(good, sender(), now_ns=NOW_NS)
    good.content.header.origin = "JPN"
    assert reason(intake, good) == Reason.REASON_WRONG_ORIGIN


def test_a_request_that_reports_nothing_is_refused(intake: Intake) -> None:
    assert reason(intake, national_pb2.ReportRequest()) == Reason.REASON_MISSING_FIELD


@pytest.mark.parametrize("body", ["fused", "tick", "canary", "operator_ack"])
def test_a_system_does_not_speak_for_the_hub_the_gateway_or_a_person(
    body: str, intake: Intake, good: national_pb2.ReportRequest
) -> None:
    good.content.ClearField("track")
    made = getattr(good.content, body)
    made.SetInParent()
    if body == "fused":
        made.event_id = b"e"
    if body == "operator_ack":
        made.message_id, made.level = b"m", content_pb2.ACK_LEVEL_CONFIRMED
    assert reason(intake, good) == Reason.REASON_BODY_NOT_ALLOWED


def test_what_cancels_says_nothing_else(intake: Intake, good: national_pb2.ReportRequest, reports: ModuleType) -> None:
    good.content.header.references.add(message_id=b"t-0", relation=content_pb2.RELATION_CANCELS)
    assert reason(intake, good) == Reason.REASON_BODY_NOT_ALLOWED
    good.content.CopyFrom(reports.cancel(b"x", b"t-0", base=good.content.header.exercise))
    assert intake.take(good, sender(), now_ns=NOW_NS)[0].body == ""


def test_a_message_corrects_one_other_at_most(intake: Intake, good: national_pb2.ReportRequest) -> None:
    good.content.header.references.add(message_id=b"t-0", relation=content_pb2.RELATION_CORRECTS)
    assert intake.take(good, sender(), now_ns=NOW_NS)
    good.content.header.references.add(message_id=b"t-9", relation=content_pb2.RELATION_CORRECTS)
    assert reason(intake, good) == Reason.REASON_OUT_OF_RANGE


def test_the_lineage_is_stated(intake: Intake, good: national_pb2.ReportRequest) -> None:
    good.content.header.ClearField("lineage")
    assert reason(intake, good) == Reason.REASON_MISSING_FIELD


def test_an_exercise_names_its_time_base_and_nothing_else_does(
    intake: Intake, good: national_pb2.ReportRequest
) -> None:
    assert reason(intake, good, sender(mode=content_pb2.MODE_TEST)) == Reason.REASON_EXERCISE_BASE
    good.content.header.ClearField("exercise")
    assert reason(intake, good) == Reason.REASON_EXERCISE_BASE


def test_one_exercise_has_one_time_base_and_a_refused_report_sets_none(
    intake: Intake, good: national_pb2.ReportRequest
) -> None:
    refused = national_pb2.ReportRequest()
    refused.CopyFrom(good)
    refused.content.header.exercise.rate = 7.0
    refused.ClearField("precedence")
    assert reason(intake, refused) == Reason.REASON_PRECEDENCE
    assert intake.take(good, sender(), now_ns=NOW_NS)
    refused.precedence = envelope_pb2.PRECEDENCE_FLASH
    assert reason(intake, refused) == Reason.REASON_EXERCISE_BASE


def test_bases_and_adapters_are_remembered_within_bounds(intake: Intake, good: national_pb2.ReportRequest) -> None:
    for number in range(limits.EXERCISES_MAX + 2):
        good.content.header.exercise.exercise_id = f"ex-{number}"
        intake.take(good, sender(), now_ns=NOW_NS)
    name = next(iter(load_nation("KOR").formats))
    for number in range(ADAPTERS_MAX + 2):
        request = national_pb2.ReportRequest(session=f"s{number}")
        request.native.format, request.native.line = name, b"{"
        assert reason(intake, request) == Reason.REASON_UNREADABLE_LINE
    assert (len(intake._exercises), len(intake._adapters)) == (limits.EXERCISES_MAX, ADAPTERS_MAX)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("precedence", 0, Reason.REASON_PRECEDENCE),
        ("precedence", 99, Reason.REASON_PRECEDENCE),
        ("policy", "", Reason.REASON_UNLABELLED),
        ("classification", 0, Reason.REASON_UNLABELLED),
        ("classification", 99, Reason.REASON_UNKNOWN_ENUM_VALUE),
    ],
)
def test_precedence_and_label_are_stated(
    field: str, value: Any, expected: int, intake: Intake, good: national_pb2.ReportRequest
) -> None:
    setattr(good if field == "precedence" else good.label, field, value)
    assert reason(intake, good) == expected


def test_the_same_report_has_the_same_key_and_digest_whenever_it_comes(
    intake: Intake, good: national_pb2.ReportRequest
) -> None:
    (one,) = intake.take(good, sender(), now_ns=NOW_NS)
    (again,) = intake.take(good, sender(), now_ns=NOW_NS + 5)
    assert (one.key, one.digest) == (again.key, again.digest)
    good.label.caveats.append("KOR-ONLY")
    (other,) = intake.take(good, sender(), now_ns=NOW_NS)
    assert (one.key, one.digest != other.digest) == (other.key, True)
    (another,) = intake.take(good, sender("aegis-2"), now_ns=NOW_NS)
    assert another.key != one.key


def test_a_line_in_an_unknown_format_or_too_long_is_refused(intake: Intake) -> None:
    request = national_pb2.ReportRequest()
    request.native.format = "morse"
    assert reason(intake, request) == Reason.REASON_UNKNOWN_FORMAT
    request.native.format = next(iter(load_nation("KOR").formats))
    request.native.line = bytes(limits.NATIVE_LINE_BYTES_MAX + 1)
    assert reason(intake, request) == Reason.REASON_TOO_LARGE


def test_an_acknowledgement_names_a_message_of_another_nation(intake: Intake, reports: ModuleType) -> None:
    content = content_pb2.Content()
    content.header.message_id = b"ack"
    content.header.mode = content_pb2.MODE_TEST
    content.operator_ack.message_id, content.operator_ack.level = b"short", content_pb2.ACK_LEVEL_CONFIRMED
    watch = sender(mode=content_pb2.MODE_TEST)
    with pytest.raises(Refused) as refused:
        intake.acknowledged(content, reports.label(), watch, now_ns=NOW_NS)
    assert refused.value.reason == Reason.REASON_OUT_OF_RANGE
    content.operator_ack.message_id = bytes(16)
    content.header.lineage.kind = content_pb2.LINEAGE_KIND_RAW
    assert intake.acknowledged(content, reports.label(), watch, now_ns=NOW_NS).body == "operator_ack"
