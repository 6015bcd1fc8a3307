from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.limits import SECOND_NS
from broker.offset import DRIFT_PPM, PROBES_KEPT, OffsetEstimate

ways = st.integers(0, 5 * SECOND_NS)


def ask(estimate: OffsetEstimate, *, offset_ns: int, there_ns: int, back_ns: int, at_ns: int = 0) -> None:
    """Ask a peer whose clock is `offset_ns` ahead, over a way of these lengths; it takes a microsecond to answer."""
    asked = 1_000 * SECOND_NS + at_ns
    received = asked + there_ns + offset_ns
    estimate.answered(
        asked_ns=asked,
        received_ns=received,
        sent_ns=received + 1_000,
        back_ns=asked + there_ns + 1_000 + back_ns,
        at_monotonic_ns=at_ns,
    )


def test_nothing_is_known_before_the_first_answer() -> None:
    assert OffsetEstimate().best(0) is None


@given(offset_ns=st.integers(-(10**12), 10**12), probes=st.lists(st.tuples(ways, ways), min_size=1, max_size=10))
def test_the_true_offset_lies_within_the_error_however_lopsided_the_way(
    offset_ns: int, probes: list[tuple[int, int]]
) -> None:
    estimate = OffsetEstimate()
    for there_ns, back_ns in probes:
        ask(estimate, offset_ns=offset_ns, there_ns=there_ns, back_ns=back_ns)
    best = estimate.best(0)
    assert best is not None
    assert abs(best.offset_ns - offset_ns) <= best.error_ns + 1
    assert best.error_ns <= min(there_ns + back_ns for there_ns, back_ns in probes) // 2 + 1, "the least round trip"


def test_an_old_probe_is_worth_less_every_second_and_is_forgotten_in_the_end() -> None:
    estimate = OffsetEstimate()
    ask(estimate, offset_ns=0, there_ns=1_000, back_ns=1_000)
    fresh, later = estimate.best(0), estimate.best(100 * SECOND_NS)
    assert fresh is not None
    assert later is not None
    assert later.error_ns - fresh.error_ns == 100 * SECOND_NS * DRIFT_PPM // 1_000_000
    assert estimate.best(600 * SECOND_NS) is None


def test_a_clock_that_was_set_in_between_gives_no_answer() -> None:
    estimate = OffsetEstimate()
    estimate.answered(asked_ns=10, received_ns=5, sent_ns=50, back_ns=11, at_monotonic_ns=0)
    assert estimate.best(0) is None


def test_only_the_recent_probes_are_kept() -> None:
    estimate = OffsetEstimate()
    ask(estimate, offset_ns=7, there_ns=0, back_ns=0)
    for number in range(PROBES_KEPT):
        ask(estimate, offset_ns=9, there_ns=50, back_ns=50, at_ns=number)
    best = estimate.best(0)
    assert best is not None
    assert best.offset_ns == 9
