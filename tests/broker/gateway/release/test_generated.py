"""The text that is generated from conditions: what it was, made of nothing but names, literals and operators."""

from __future__ import annotations

import builtins

import pytest

from broker.gateway.release.conditions import Compare, Contains, Flag, Not, Predicate, Term, condition
from broker.gateway.release.engine import Facts, settle
from broker.gateway.release.generated import function_of, source_of
from vedette.v1 import content_pb2, envelope_pb2

KNOWN: dict[str, str | int] = {"to": "JPN", "body": "track", "mode": 1}
CONDITIONS = (
    'body == "launch" || precedence >= Precedence.PRECEDENCE_FLASH',
    '"NOFORN" in label.caveats && !label.originator_controlled',
    "content.track.source.kind in [SensorKind.SENSOR_KIND_SEA_RADAR, SensorKind.SENSOR_KIND_OTHER]",
    "has(content.track.state.velocity_mps) && has(content.track.confidence) && content.track.confidence < 0.5",
    'to in content.impact.nations_affected || content.header.origin == to || content.track.source.name != "it\'s"',
    "content.track.manoeuvre_suspected",
    'body == "track" && content.track.manoeuvre_suspected',
    'body == "launch"',
    'content.track.source.name in ["a"] && !(content.track.source.name in [])',
)
GOLDEN = """\
def matches(facts):
    v0 = facts.precedence
    v1 = facts.label
    v2 = v1.caveats[:]
    v3 = facts.content
    v4 = v3.track
    v5 = v4.source
    v6 = v4.state
    v7 = v3.impact
    v8 = v7.nations_affected[:]
    v9 = v3.header
    v10 = v4.manoeuvre_suspected
    return (v0 >= 4, ('NOFORN' in v2) and (not (v1.originator_controlled)), v5.kind in (4, 6, ), \
((not not v6.velocity_mps) and (v4.HasField('confidence'))) and (v4.confidence < 0.5), \
(('JPN' in v8) or (v9.origin == 'JPN')) or (v5.name != "it's"), v10, v10, False, \
(v5.name in ('a', )) and (not (v5.name in ())), )
"""


def settled(texts: tuple[str, ...]) -> list[Predicate]:
    return [settle(condition(text), KNOWN) for text in texts]


def test_the_text_is_what_it_was() -> None:
    assert source_of(settled(CONDITIONS)) == GOLDEN
    assert source_of([]) == "def matches(facts):\n    return ()\n"


def test_it_answers_with_a_tuple_and_finds_no_builtin() -> None:
    facts = Facts(content_pb2.Content(), envelope_pb2.SecurityLabel(), 4, "JPN", "track", 1)
    function = function_of(settled(CONDITIONS))
    assert function(facts) == (True, False, False, False, True, False, False, False, False)
    assert function.__globals__["__builtins__"] == {}
    assert not set(function.__globals__) & set(dir(builtins))
    assert function_of([])(facts) == ()


NAME = Term("content", ("track", "source", "name"), "string", None)


@pytest.mark.parametrize(
    "part",
    [
        Compare(NAME, "; import os", ("a",)),
        Compare(NAME, "==", ("a", "b")),
        Compare(NAME, "==", (NAME,)),
        Compare(NAME, "==", (float("nan"),)),
        Compare(NAME, "in", (float("inf"),)),
        Contains(NAME, NAME),
        Flag(Term("content", ("__class__",), "bool", None)),
        Flag(Term("content", ("a b",), "bool", None)),
        Flag(Term("content", ("import",), "bool", None)),
        Not(Flag(Term("content", ("Track",), "bool", None))),
    ],
)
def test_what_no_checked_condition_can_hold_is_never_written(part: Predicate) -> None:
    with pytest.raises(ValueError, match="not"):
        source_of([part])


def test_a_literal_stays_a_literal_whatever_stands_in_it() -> None:
    facts = Facts(content_pb2.Content(), envelope_pb2.SecurityLabel(), 4, "JPN", "track", 1)
    for text in ("'", '"', "\\", "')]()#", "\n", "{facts}", "é"):
        part = Compare(NAME, "==", (text,))
        facts.content.track.source.name = text
        assert function_of([part])(facts) == (True,)
        facts.content.track.source.name = text + "x"
        assert function_of([part])(facts) == (False,)
