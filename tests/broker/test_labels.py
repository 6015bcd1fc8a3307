"""Labels are a lattice: exhaustively over small ones, and over arbitrary ones at random."""

from __future__ import annotations

from itertools import chain, combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.labels import UNLABELLED, Label, dominates, join, readable_by
from vedette.v1 import envelope_pb2
from vedette.v1.envelope_pb2 import Classification, SecurityLabel

SECRET = envelope_pb2.CLASSIFICATION_SECRET
TOP_SECRET = envelope_pb2.CLASSIFICATION_TOP_SECRET
RESTRICTED = envelope_pb2.CLASSIFICATION_RESTRICTED


def subsets(*names: str) -> list[frozenset[str]]:
    return [frozenset(each) for each in chain.from_iterable(combinations(names, n) for n in range(len(names) + 1))]


def label_of(
    level: Classification.ValueType,
    to: frozenset[str],
    caveats: frozenset[str],
    owners: frozenset[str],
    control: bool,  # noqa: FBT001 - one of the parts
) -> Label:
    return Label(level, to, caveats, owners, originator_controlled=control)


SMALL = [
    UNLABELLED,
    *(
        label_of(*parts)
        for parts in product(
            (RESTRICTED, SECRET), subsets("JPN", "USA"), subsets("ORCON"), subsets("KOR"), (False, True)
        )
    ),
]
FEW = SMALL[::4]  # for triples

names = st.frozensets(st.sampled_from(["AUS", "JPN", "KOR", "USA"]))
caveats = st.frozensets(st.sampled_from(["ORCON", "NO-ONWARD", "NOFORN"]))
known = st.sampled_from([value for value in Classification.values() if value])
labels = st.one_of(st.just(UNLABELLED), st.builds(label_of, known, names, caveats, names, st.booleans()))


def test_exhaustively_join_is_the_least_label_that_dominates_both() -> None:
    for a, b in product(SMALL, SMALL):
        joined = join([a, b])
        assert joined == join([b, a])
        assert dominates(joined, a)
        assert dominates(joined, b)
        assert dominates(b, a) == (joined == b)
        for other in SMALL:
            if dominates(other, a) and dominates(other, b):
                assert dominates(other, joined)


def test_exhaustively_dominance_is_a_partial_order() -> None:
    for a, b in product(SMALL, SMALL):
        assert dominates(a, a)
        assert a == b or not (dominates(a, b) and dominates(b, a))
    for a, b, c in product(FEW, FEW, FEW):
        assert dominates(a, c) or not (dominates(a, b) and dominates(b, c))
        assert join([join([a, b]), c]) == join([a, join([b, c])]) == join([a, b, c])


@given(labels, labels, labels)
def test_join_is_idempotent_commutative_and_associative(a: Label, b: Label, c: Label) -> None:
    assert join([a]) == join([a, a]) == a
    assert join([a, b]) == join([b, a])
    assert join([join([a, b]), c]) == join([a, b, c])


@given(labels, labels, labels)
def test_join_is_monotone_and_least(a: Label, b: Label, c: Label) -> None:
    assert dominates(join([a, c]), join([a]))
    if dominates(b, a):
        assert dominates(join([b, c]), join([a, c]))
    if dominates(c, a) and dominates(c, b):
        assert dominates(c, join([a, b]))


@given(labels, labels, st.sampled_from(["AUS", "JPN", "KOR", "USA"]), known, caveats)
def test_whoever_may_read_a_product_may_read_all_that_went_in(
    a: Label, b: Label, member: str, clearance: Classification.ValueType, accepted: frozenset[str]
) -> None:
    may = readable_by(join([a, b]), member, clearance=clearance, caveats=accepted)
    assert may == all(readable_by(each, member, clearance=clearance, caveats=accepted) for each in (a, b))


def test_the_join_takes_the_strictest_of_everything() -> None:
    kor = Label.of(SecurityLabel(policy="KOR", classification=SECRET, releasable_to=["JPN", "USA"], caveats=["ORCON"]))
    usa = Label.of(
        SecurityLabel(policy="USA", classification=TOP_SECRET, releasable_to=["JPN"], originator_controlled=True)
    )
    assert join([kor, usa]) == label_of(
        TOP_SECRET, frozenset({"JPN"}), frozenset({"ORCON"}), frozenset({"KOR", "USA"}), True
    )


@pytest.mark.parametrize(
    "label",
    [
        SecurityLabel(),
        SecurityLabel(policy="KOR", releasable_to=["JPN"]),
        SecurityLabel(classification=SECRET, releasable_to=["JPN"]),
        SecurityLabel(policy="KOR", classification=Classification.ValueType(99), releasable_to=["JPN"]),
        SecurityLabel(policy="KOR", classification=Classification.ValueType(-1), releasable_to=["JPN"]),
    ],
)
def test_what_is_not_labelled_is_nobodys_and_makes_everything_so(label: SecurityLabel) -> None:
    unlabelled = Label.of(label)
    assert unlabelled == UNLABELLED
    assert not readable_by(unlabelled, "JPN", clearance=TOP_SECRET)
    for other in SMALL:
        assert join([unlabelled, other]) == UNLABELLED
        assert dominates(unlabelled, other)
    assert unlabelled.product("HUB") == SecurityLabel()


def test_a_product_of_nothing_is_nobodys() -> None:
    assert join([]) == UNLABELLED


@pytest.mark.parametrize("control", [False, True])
def test_the_owners_of_a_product_keep_control_of_it(control: bool) -> None:  # noqa: FBT001 - the case
    label = SecurityLabel(
        policy="KOR", classification=SECRET, releasable_to=["JPN", "USA"], originator_controlled=control
    )
    made = join([Label.of(label), Label.of(SecurityLabel(policy="USA", classification=RESTRICTED))]).product("HUB")
    assert made.policy == "HUB"
    assert made.originator_controlled
    assert Label.of(label).product("KOR").originator_controlled == control, "its own is the owner's to decide"


def test_a_label_comes_back_from_the_wire_as_it_was() -> None:
    label = SecurityLabel(
        policy="KOR", classification=SECRET, releasable_to=["JPN", "USA"], caveats=["ORCON"], originator_controlled=True
    )
    assert Label.of(label).product("KOR") == label
