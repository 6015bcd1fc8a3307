from __future__ import annotations

from itertools import permutations

import pytest

from broker.fusion.compare import UNKNOWN, VAGUE_KIND, Evidence, Verdict
from broker.fusion.grouping import Grouping, Links, grouped

DIFFERENT = Evidence(Verdict.DIFFERENT)
CONTRARY = Evidence(Verdict.CONTRARY)


def same(score: float, kind: int = 0, count: int = 20) -> Evidence:
    return Evidence(Verdict.SAME, kind, score, count)


def groups_of(
    members: str, said: dict[str, Evidence], same_as: tuple[str, ...] = (), apart: tuple[str, ...] = ()
) -> Grouping[str]:
    """Return how members of one letter each are grouped; what is not said is different."""

    def compare(one: str, two: str) -> Evidence:
        return said.get(one + two) or said.get(two + one) or DIFFERENT

    links = Links(tuple(map(frozenset, same_as)), frozenset(map(frozenset, apart)))
    return grouped(list(members), compare, links)


def words(grouping: Grouping[str]) -> list[str]:
    return ["".join(group) for group in grouping.groups]


def test_the_sum_decides_and_not_the_first_that_fits() -> None:
    # Each of x and y fits a better than b, but x has nowhere else to go.
    said = {"ax": same(20.0), "ay": same(10.0), "bx": same(200.0), "by": same(12.0)}
    assert words(groups_of("abyx", said)) == ["ax", "by"]


def test_a_third_nation_moves_what_two_had_wrong() -> None:
    close = {"ax": same(20.0), "ay": same(19.0), "bx": same(19.0), "by": same(20.0)}
    assert words(groups_of("abxy", close)) == ["ay", "bx"]
    third = {"a1": same(0.0), "b2": same(0.0), "x1": same(0.0), "y2": same(0.0), "x2": same(50.0), "y1": same(50.0)}
    assert words(groups_of("abxy12", {**close, **third, "a2": same(50.0), "b1": same(50.0)})) == ["ax1", "by2"]


def test_the_order_of_equal_members_changes_nothing_but_the_order_of_groups() -> None:
    said = {"ax": same(20.0), "ay": same(40.0), "bx": same(41.0), "by": same(19.0), "a1": same(3.0), "b1": same(9.0)}
    said |= {"x1": UNKNOWN, "y1": UNKNOWN}
    found = {frozenset(frozenset(word) for word in words(groups_of("".join(p), said))) for p in permutations("abxy1")}
    assert found == {frozenset({frozenset("ax1"), frozenset("by")})}


def test_kinematics_go_before_launch_and_launch_before_reach() -> None:
    said = {"ax": same(0.0, 1), "bx": same(100.0), "ay": same(0.0, 2), "by": same(0.0, 2)}
    assert words(groups_of("abx", said)) == ["a", "bx"]
    assert words(groups_of("aby", {"ay": same(20.0, 1), "by": same(0.0, 2)})) == ["ay", "b"]


def test_one_that_contradicts_keeps_another_out() -> None:
    assert words(groups_of("axp", {"ax": same(1.0), "ap": same(2.0)})) == ["ax", "p"]


def test_nothing_known_neither_joins_nor_forbids() -> None:
    assert words(groups_of("ab", {"ab": UNKNOWN})) == ["a", "b"]
    assert words(groups_of("abx", {"ab": UNKNOWN, "ax": same(1.0), "bx": same(1.0, 1)})) == ["abx"]


def test_who_would_be_nearly_as_well_elsewhere_is_open_until_enough_was_compared() -> None:
    near = {"ax": (10.0), "by": (10.0), "ay": (11.0), "bx": (11.0)}
    early = groups_of("abxy", {pair: same(score, count=4) for pair, score in near.items()})
    assert (words(early), early.open) == (["ax", "by"], frozenset("xy"))
    late = groups_of("abxy", {pair: same(score, count=20) for pair, score in near.items()})
    assert (words(late), late.open) == (["ax", "by"], frozenset())
    far = {"ax": 10.0, "by": 10.0, "ay": 40.0, "bx": 40.0}
    assert not groups_of("abxy", {pair: same(score, count=4) for pair, score in far.items()}).open


def test_a_second_name_for_one_launch_joins_what_others_follow() -> None:
    unlikely = Evidence(Verdict.UNLIKELY, 0, 10.0, 20)
    assert words(groups_of("ab", {"ab": unlikely})) == ["a", "b"]
    assert words(groups_of("abx", {"ab": unlikely, "ax": same(9.0), "bx": same(10.0)})) == ["abx"]
    assert words(groups_of("abx", {"ab": unlikely, "ax": same(9.0), "bx": same(10.0, count=3)})) == ["ax", "b"]


def test_where_two_sensors_see_two_there_are_two() -> None:
    unlikely = Evidence(Verdict.UNLIKELY, 0, 10.0, 20)
    said = {"ab": unlikely, "xy": unlikely, "ax": same(9.0), "by": same(9.0), "ay": same(9.5), "bx": same(9.5)}
    assert words(groups_of("abxy", said)) == ["ax", "by"]


def test_names_between_which_no_difference_is_seen_are_one_where_somebody_followed_them_all_as_one() -> None:
    vague = Evidence(Verdict.UNLIKELY, VAGUE_KIND)
    names = {"ab": vague, "ac": vague, "bc": vague}
    said = names | {"ax": same(9.0), "bx": same(9.0), "cx": same(9.0)}
    assert words(groups_of("abcx", said)) == ["abcx"]
    two = {"ab": vague, "xy": vague, "ax": same(9.0), "by": same(9.0), "ay": same(9.5), "bx": same(9.5)}
    assert words(groups_of("abxy", two)) == ["ax", "by"], "nobody sees one"
    one = {"az": same(9.0), "bz": same(9.0), "xz": same(9.0), "yz": same(9.0)}
    assert words(groups_of("abxyz", two | one)) == ["abxyz"]
    seen = two | one | dict.fromkeys(("ab", "xy"), Evidence(Verdict.UNLIKELY))
    assert len(words(groups_of("abxyz", seen))) == 2, "two see a difference"


def in_conflict(members: str, said: dict[str, Evidence]) -> list[str]:
    """Return the groups, where members of one origin are those of one letter, in capitals or not."""

    def compare(one: str, two: str) -> Evidence:
        return said.get(one + two) or said.get(two + one) or DIFFERENT

    return words(grouped(list(members), compare, Links(), None, str.lower))


def test_what_one_says_beside_the_object_of_all_others_is_that_object() -> None:
    said = {"ab": same(9.0), "ax": CONTRARY, "bx": CONTRARY}
    assert in_conflict("abx", said) == ["abx"]
    assert in_conflict("abx", {"ab": same(9.0), "ax": CONTRARY}) == ["ab", "x"], "too far from the other"


def test_who_names_two_objects_at_a_time_means_two() -> None:
    said = {"aX": same(9.0), "ax": CONTRARY}
    assert in_conflict("aXx", said) == ["aX", "x"]
    assert in_conflict("axX", {"ax": CONTRARY, "aX": CONTRARY}) == ["a", "x", "X"], "which of both would it be?"


def test_two_against_two_are_two_launches() -> None:
    said = {"ab": same(9.0), "xy": same(9.0)} | dict.fromkeys(("ax", "ay", "bx", "by"), CONTRARY)
    assert in_conflict("abxy", said) == ["ab", "xy"]


def test_an_operators_word_goes_before_all_evidence() -> None:
    assert words(groups_of("abx", {"ax": same(1.0)}, same_as=("bx",))) == ["a", "bx"]
    assert words(groups_of("ax", {"ax": same(1.0)}, apart=("ax",))) == ["a", "x"]


@pytest.mark.parametrize(("newest_first", "expected"), [(("ab", "bc"), ["ab", "c"]), (("bc", "ab"), ["a", "bc"])])
def test_of_words_that_contradict_each_other_the_newer_holds(
    newest_first: tuple[str, ...], expected: list[str]
) -> None:
    assert words(groups_of("abc", {}, same_as=newest_first, apart=("ac",))) == expected


def test_a_crowd_that_hangs_together_is_grouped_all_the_same() -> None:
    members = [chr(0x4E00 + index) for index in range(120)]
    pairs = {members[k] + members[k + 1]: same(1.0) for k in range(0, 120, 2)}
    pairs |= {members[k] + members[k + 1]: same(50.0) for k in range(1, 119, 2)}
    found = words(groups_of("".join(members), pairs))
    assert sum(len(word) for word in found) == len(members)
    assert max(len(word) for word in found) == 2
