from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from broker.fusion import ledger as ledgers
from broker.fusion.contribution import Contribution
from broker.fusion.ledger import Ledger
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    import pytest

names = st.sampled_from("abcdef")


def message(
    name: str, *, origin: str = "KOR", corrects: tuple[str, ...] = (), cancels: tuple[str, ...] = ()
) -> Contribution:
    return Contribution(
        key=(0, origin, 0, 0, 0, name.encode()),
        field="launch",
        event_id=b"event",
        object_id=b"",
        body=None,
        corrects=tuple(one.encode() for one in corrects),
        cancels=tuple(one.encode() for one in cancels),
        same=(),
        not_same=(),
        lineage=content_pb2.LINEAGE_KIND_RAW,
        made_from=(),
        content=name.encode(),
    )


@st.composite
def messages(draw: st.DrawFn) -> list[Contribution]:
    found = {}
    for name in draw(st.lists(names, unique=True)):
        found[name] = message(
            name,
            origin=draw(st.sampled_from(["KOR", "USA"])),
            corrects=tuple(draw(st.sets(names, max_size=2))),
            cancels=tuple(draw(st.sets(names, max_size=1))),
        )
    return list(found.values())


@given(messages(), st.randoms(use_true_random=False))
def test_what_stands_does_not_depend_on_the_order(every: list[Contribution], chance: object) -> None:
    straight, shuffled = Ledger(), Ledger()
    for one in every:
        straight.add(one)
    chance.shuffle(every)  # type: ignore[attr-defined]
    for one in every:
        shuffled.add(one)
    assert shuffled.standing() == straight.standing()


@given(messages())
def test_the_changes_add_up_to_what_stands(every: list[Contribution]) -> None:
    ledger, standing = Ledger(), set()
    for one in every:
        stands, falls = ledger.add(one)
        standing |= {change.message_key for change in stands}
        standing -= {change.message_key for change in falls}
        assert standing == {change.message_key for change in ledger.standing()}


def tombstones(ledger: Ledger) -> set[tuple[str, bytes]]:
    return {(origin, target) for origin, own in ledger.tombstones.items() for target in own}


@given(messages(), messages())
def test_taking_a_message_back_leaves_the_ledger_as_it_was(every: list[Contribution], more: list[Contribution]) -> None:
    ledger = Ledger()
    for one in every:
        ledger.add(one)
    for one in more:
        if one.message_key in ledger.messages:
            continue
        before = (ledger.standing(), tombstones(ledger))
        fresh = [(one.origin, target) for target in one.cancels if not ledger.is_cancelled((one.origin, target))]
        ledger.add(one)
        ledger.retract(one.message_key, fresh)
        assert (ledger.standing(), tombstones(ledger)) == before


def test_a_duplicate_changes_nothing() -> None:
    ledger = Ledger()
    assert len(ledger.add(message("a"))[0]) == 1
    assert ledger.add(message("a")) == ([], [])


def test_a_tombstone_waits_for_its_target_and_its_corrections() -> None:
    ledger = Ledger()
    ledger.add(message("cancel", cancels=("a",)))
    ledger.add(message("a"))
    ledger.add(message("b", corrects=("a",)))
    assert [one.content for one in ledger.standing()] == [b"cancel"]


def test_nobody_takes_back_anothers_word() -> None:
    ledger = Ledger()
    ledger.add(message("a"))
    ledger.add(message("b", origin="USA", corrects=("a",)))
    ledger.add(message("c", origin="USA", cancels=("a",)))
    assert ledger.stands(("KOR", b"a"))


def test_a_ring_of_corrections_ends() -> None:
    ledger = Ledger()
    ledger.add(message("a", corrects=("b",)))
    ledger.add(message("b", corrects=("a",)))
    assert ledger.standing() == []


def test_a_flood_of_cancellations_by_one_origin_makes_nobody_elses_be_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ledgers, "TOMBSTONES_MAX", 4)
    ledger = Ledger()
    ledger.add(message("early", origin="USA", cancels=("a",)))
    for number in range(10):
        ledger.add(message(f"cancel {number}", cancels=(f"{number}", f"also {number}")))
    assert set(ledger.tombstones["KOR"]) == {b"8", b"also 8", b"9", b"also 9"}
    ledger.add(message("a", origin="USA"))
    assert not ledger.stands(("USA", b"a"))
