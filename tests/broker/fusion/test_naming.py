from __future__ import annotations

from broker.fusion.naming import Named, renamed

ONE, TWO = b"event one", b"event two"


def track(name: str) -> tuple[str, bytes, bytes]:
    return ("KOR", name.encode(), b"")


def objects(*groups: str) -> list[tuple[tuple[str, bytes, bytes], ...]]:
    """Return objects, each the letters of its tracks."""
    return [tuple(track(letter) for letter in group) for group in groups]


def named(*groups: str, number: bytes = ONE) -> tuple[Named, ...]:
    return renamed([], [(number, objects(*groups))])[0]


def test_an_object_keeps_its_name_when_tracks_come_and_go() -> None:
    before = named("a")
    ((one,),) = renamed(before, [(ONE, objects("xab"))])
    assert (one.name, one.former) == (before[0].name, ())
    ((one,),) = renamed([one], [(ONE, objects("a"))])
    assert one.name == before[0].name


def test_where_the_first_track_is_gone_the_name_stays_with_most_of_the_others() -> None:
    before = named("abcd")
    ((one, two),) = renamed(before, [(ONE, objects("b", "cd"))])
    assert two.name == before[0].name
    assert one.name != two.name
    assert one.former == (two.name,)


def test_two_that_turn_out_to_be_one_keep_the_older_name_and_say_the_other() -> None:
    older, younger = named("a", "b")
    ((one,),) = renamed([older, younger], [(ONE, objects("ab"))])
    assert (one.name, one.former) == (older.name, (younger.name,))
    # And when they part again, the name that was given up stays given up.
    ((one, two),) = renamed([one], [(ONE, objects("a", "b"))])
    assert one.name == older.name
    assert two.name not in {older.name, younger.name}
    assert two.former == (older.name,)


def test_a_name_follows_its_object_into_another_event() -> None:
    (first,), (second,) = named("ab"), named("x", number=TWO)
    found = renamed([first, second], [(ONE, objects("b")), (TWO, objects("x", "a"))])
    assert found[1][0].name == second.name
    assert found[1][1].name == first.name
    assert found[0][0].former == (first.name,)


def test_what_changes_places_keeps_both_names() -> None:
    first, second = named("ax", "by")
    ((one, two),) = renamed([first, second], [(ONE, objects("ay", "bx"))])
    assert (one.name, two.name) == (first.name, second.name)
    assert not one.former
    assert not two.former
