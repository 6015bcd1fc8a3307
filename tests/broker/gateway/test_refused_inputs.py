"""What no policy may ever look at is refused at intake, each for its own reason, and nothing of it goes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker import limits
from broker.clock import timestamp
from broker.gateway.release import Policy, PolicyError
from broker.refusal import Reason, Refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from tests.broker.gateway.conftest import Origin
    from vedette.v1 import content_pb2

NOW_NS = 1_780_000_000 * limits.SECOND_NS  # as the clock stands


def an_enum_below_all(content: content_pb2.Content) -> None:
    content.track.source.kind = -1  # type: ignore[assignment] # proto3 keeps any number


def an_enum_above_all(content: content_pb2.Content) -> None:
    content.track.phase = 99  # type: ignore[assignment]


def not_a_number(content: content_pb2.Content) -> None:
    content.track.confidence = float("nan")


def infinite(content: content_pb2.Content) -> None:
    content.track.apogee_m.value = float("inf")


def not_a_number_among_many(content: content_pb2.Content) -> None:
    content.track.state.covariance[7] = float("nan")


def an_unknown_field(content: content_pb2.Content) -> None:
    content.track.MergeFromString(b"\xc0\x3e\x01")


def the_greatest_integer(content: content_pb2.Content) -> None:
    content.launch.event_id = b"e-1"
    content.launch.count.least = content.launch.count.most = 2**32 - 1


def an_overflow_of_time(content: content_pb2.Content) -> None:
    content.track.state.valid_at.seconds = 2**63 - 1


BAD = [
    (an_enum_below_all, Reason.REASON_UNKNOWN_ENUM_VALUE),
    (an_enum_above_all, Reason.REASON_UNKNOWN_ENUM_VALUE),
    (not_a_number, Reason.REASON_NOT_FINITE),
    (infinite, Reason.REASON_NOT_FINITE),
    (not_a_number_among_many, Reason.REASON_NOT_FINITE),
    (an_unknown_field, Reason.REASON_UNKNOWN_FIELD),
    (the_greatest_integer, Reason.REASON_OUT_OF_RANGE),
    (an_overflow_of_time, Reason.REASON_OUT_OF_RANGE),
]


@pytest.mark.parametrize(("spoil", "reason"), BAD)
async def test_a_bad_value_is_refused_for_its_own_reason_and_nothing_goes_out(
    spoil: Callable[[content_pb2.Content], None],
    reason: int,
    origin: Callable[..., Origin],
    reports: ModuleType,
) -> None:
    kor = await origin().start()
    base = reports.exercise("test-1")
    base.wall_zero.CopyFrom(timestamp(NOW_NS))
    base.exercise_zero.CopyFrom(base.wall_zero)
    bad = reports.track(b"m-1", b"e-1", base=base, at_ns=NOW_NS)
    spoil(bad)
    with pytest.raises(Refused) as refused:
        await kor.report(bad, reports.label())
    assert refused.value.reason == reason
    assert await kor.outbox() == []
    assert await kor.report(reports.track(b"m-1", b"e-1", base=base, at_ns=NOW_NS), reports.label()), "the control"
    assert await kor.outbox("USA")


def test_a_misspelt_field_in_a_deny_rule_is_no_policy(kor_policy: str) -> None:
    """It would be a rule that silently never matches."""
    misspelt = kor_policy.replace(
        "'\"KOR-ONLY\" in label.caveats'\n  reason", "'\"KOR-ONLY\" in label.caveat'\n  reason"
    )
    assert misspelt != kor_policy
    with pytest.raises(PolicyError, match="undefined field 'caveat' not found in struct"):
        Policy.parse(misspelt)
