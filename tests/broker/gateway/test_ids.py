from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from broker import limits
from broker.gateway.ids import Ids, Kind, Scope, intake_key

SECRET = bytes(range(32))
SCOPE = Scope(mode=2, exercise_id="ex-1", system="aegis-1", session="s")
texts = st.text(st.characters(codec="utf-8"), max_size=6)
scopes = st.builds(Scope, mode=st.integers(1, 3), exercise_id=texts, system=texts, session=texts)
locals_ = st.binary(min_size=1, max_size=8)
names = st.tuples(st.sampled_from(Kind), scopes, texts, locals_)


@given(one=names, other=names)
def test_two_ids_are_equal_only_if_everything_that_went_in_is(
    one: tuple[Kind, Scope, str, bytes], other: tuple[Kind, Scope, str, bytes]
) -> None:
    made = [
        Ids(SECRET).of(kind, scope, recipient=recipient, local=local) for kind, scope, recipient, local in (one, other)
    ]
    assert (made[0] == made[1]) == (one == other)
    assert all(len(found) == limits.ID_BYTES for found in made)


def test_what_one_recipient_calls_a_message_says_nothing_of_what_another_does() -> None:
    ids = Ids(SECRET)
    found = {ids.of(Kind.MESSAGE, SCOPE, recipient=recipient, local=b"m-1") for recipient in ("JPN", "USA", "KOR")}
    assert len(found) == 3


def test_no_part_can_borrow_from_its_neighbour() -> None:
    ids = Ids(SECRET)
    one = ids.of(Kind.MESSAGE, replace(SCOPE, system="ab", session=""), recipient="JPN", local=b"c")
    other = ids.of(Kind.MESSAGE, replace(SCOPE, system="a", session=""), recipient="JPN", local=b"bc")
    assert one != other
    assert intake_key(replace(SCOPE, system="ab"), b"c") != intake_key(replace(SCOPE, system="a"), b"bc")


def test_another_secret_or_salt_makes_other_ids() -> None:
    made = {
        ids.of(Kind.EVENT, SCOPE, recipient="JPN", local=b"e-1")
        for ids in (Ids(SECRET), Ids(bytes(32)), Ids(SECRET, b"salt"))
    }
    assert len(made) == 3


@given(one=st.tuples(scopes, locals_), other=st.tuples(scopes, locals_))
def test_an_intake_key_is_of_one_report_alone(one: tuple[Scope, bytes], other: tuple[Scope, bytes]) -> None:
    assert (intake_key(*one) == intake_key(*other)) == (one == other)
