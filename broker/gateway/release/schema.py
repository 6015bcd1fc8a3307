"""JSON Schemas of release policies and of their tests, for editors: made from what the reader itself checks by.

An editor completes keys, leaves and levels with them, and marks most slips while they are typed. They say less than the
reader, which has the last word: nothing of conditions, of YAML's own traps, of names that must be known. And they read
YAML as editors do, so that a text which looks like a number must be quoted where the reader would take it as text.

Draft 7, because that is what editors know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from google.protobuf.descriptor import FieldDescriptor

from broker import limits
from broker.gateway.release.lattice import LEVEL_NAMES
from broker.gateway.release.policy import FORMAT, GROUP, INSTANT, KEYS, MEMBER, SELF, VERSION, Effect
from broker.gateway.release.policytest import DECISIONS, EXPECTED, MESSAGE_KEYS, NEEDED_OF_TEST
from broker.gateway.release.policytest import NEEDED as NEEDED_OF_TESTS
from broker.gateway.release.rules import CAVEAT, FLAGS, IDENTIFIER, NEEDED, OPTIONAL, SECONDS, TERMS
from broker.leaves import LEAVES, SCHEMA_DIGEST, SINGLE
from vedette.v1 import content_pb2, envelope_pb2

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Mapping

    from google.protobuf.descriptor import Descriptor

__all__ = ["schema_of_policies", "schema_of_tests"]

Json = str | int | float | bool | list["Json"] | dict[str, "Json"]
DRAFT: Final = "http://json-schema.org/draft-07/schema#"


def schema_of_policies() -> dict[str, Json]:
    """Return the schema of a release policy."""
    properties: dict[str, Json] = {
        "format": {"const": FORMAT},
        "nation": _text(MEMBER, "whose policy it is"),
        "version": {
            "type": ["integer", "string"],
            "minimum": 1,
            **_pattern(VERSION),
            "description": "greater than that of every policy before",
        },
        "effective": _text(INSTANT, "from when it releases anything"),
        "expires": _text(INSTANT, "past it nothing is released"),
        "schema": {"const": SCHEMA_DIGEST, "description": "the messages that it was written against"},
        "recipients": {**_list(_ref("recipient")), "minItems": 1, "description": f"{SELF}: the own picture at the hub"},
        "groups": {
            "type": "object",
            "propertyNames": _pattern(GROUP),
            "additionalProperties": _list({"enum": list(LEAVES)}),
            "description": "every leaf in one group; a leaf in none is withheld",
        },
        "rules": {"type": "array", "maxItems": limits.POLICY_RULES_MAX, "items": _ref("rule")},
    }
    return {
        "$schema": DRAFT,
        "title": f"Release policy, {FORMAT}",
        **_object(properties, KEYS),
        "definitions": {"recipient": _recipient(), "level": _level(), "seconds": _seconds(), "rule": _rule()},
    }


def _rule() -> dict[str, Json]:
    levels: dict[str, Json] = {
        "type": "object",
        "propertyNames": _pattern(GROUP),
        "additionalProperties": _ref("level"),
    }
    properties: dict[str, Json] = {
        "id": _text(IDENTIFIER, "what audit and explanations name it by"),
        "effect": {"enum": [*sorted(effect.value for effect in Effect)]},
        "to": {**_list(_ref("recipient")), "minItems": 1},
        "when": {"type": "string", "minLength": 1, "maxLength": limits.CONDITION_CHARS_MAX, "description": "in CEL"},
        "give": {**levels, "minProperties": 1, "description": "by group, how exactly"},
        "cap": {**levels, "description": "by group, no finer than this"},
        "delay_s": _ref("seconds"),
        "minimum_interval_s": _ref("seconds"),
        "caveats": _list(_text(CAVEAT, "added to the label")),
        "guard": {"enum": [*sorted(FLAGS)], "description": "stands for its own sake: may be without effect today"},
        "reason": {"type": "string", "pattern": "\\S", "description": "on whose word, or why"},
    }
    return {**_object(properties, NEEDED), "allOf": [_of_effect(effect) for effect in Effect]}


def _of_effect(effect: Effect) -> dict[str, Json]:
    """Return what a rule of this effect must and must not say."""
    others = frozenset().union(*OPTIONAL.values()) - OPTIONAL[effect]
    then: dict[str, Json] = {"properties": dict.fromkeys(sorted(others), False)}
    if effect is Effect.RELEASE:
        then["required"] = ["give"]
    if effect is Effect.LIMIT:
        then["anyOf"] = [{"required": [key]} for key in sorted({"cap", *TERMS} - {"guard"})]
    return {"if": {"properties": {"effect": {"const": effect.value}}}, "then": then}


def schema_of_tests() -> dict[str, Json]:
    """Return the schema of a policy's tests."""
    names = _list({"type": "string"})
    known: dict[str, Json] = {
        "decision": {"enum": [*sorted(DECISIONS)]},
        "rules": {**names, "description": "all rules that match"},
        "levels": {"type": "object", "propertyNames": _pattern(GROUP), "additionalProperties": _ref("level")},
        "delay_s": _ref("seconds"),
        "minimum_interval_s": _ref("seconds"),
        "caveats": {**names, "description": "all caveats that are added"},
        "shown": {**names, "description": "leaves or subtrees of which something is shown"},
        "withheld": {**names, "description": "leaves or subtrees of which nothing is shown"},
    }
    expected = _object({key: known[key] for key in ("decision", *sorted(EXPECTED))}, {"decision"})
    test = _object(
        {
            "name": {"type": "string", "description": "what is claimed"},
            "with": {**_ref("message"), "description": "merged into base, key by key"},
            "expect": {
                "type": "object",
                "propertyNames": _recipient(),
                "additionalProperties": expected,
                "minProperties": 1,
            },
        },
        NEEDED_OF_TEST,
    )
    root: dict[str, Json] = {
        "policy": {"type": "string"},
        "base": _ref("message"),
        "tests": {"type": "array", "items": test},
    }
    message: dict[str, Json] = {
        "content": _ref(content_pb2.Content.DESCRIPTOR.full_name),
        "label": _ref(envelope_pb2.SecurityLabel.DESCRIPTOR.full_name),
        "precedence": {"enum": list(envelope_pb2.Precedence.keys())},
    }
    of_messages = _messages([content_pb2.Content.DESCRIPTOR, envelope_pb2.SecurityLabel.DESCRIPTOR])
    return {
        "$schema": DRAFT,
        "title": "Tests of a release policy",
        **_object(root, NEEDED_OF_TESTS),
        "definitions": {
            "level": _level(),
            "seconds": _seconds(),
            "message": _object({key: message[key] for key in sorted(MESSAGE_KEYS)}, ()),
            **of_messages,
        },
    }


# --- messages, as protobuf's JSON -------------------------------------------------------------------------------------


def _messages(waiting: list[Descriptor]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    while waiting:
        one = waiting.pop()
        if one.full_name not in found:
            found[one.full_name] = _object({field.name: _field(field) for field in one.fields}, ())
            inner = (field.message_type for field in one.fields)
            waiting += [each for each in inner if each is not None and each.full_name not in SINGLE]
    return dict(sorted(found.items()))


def _field(field: FieldDescriptor) -> Json:
    value: dict[str, Json]
    if field.message_type is not None and field.message_type.full_name not in SINGLE:
        value = _ref(field.message_type.full_name)
    elif field.enum_type is not None:
        value = {"enum": [each.name for each in field.enum_type.values]}
    elif field.type == FieldDescriptor.TYPE_BOOL:
        value = {"enum": [*sorted(FLAGS)]}
    else:
        value = {"type": ["string", "number"]}
    return {"type": "array", "items": value} if field.is_repeated else value


# --- parts ------------------------------------------------------------------------------------------------------------


def _object(properties: Mapping[str, Json], needed: Iterable[str]) -> dict[str, Json]:
    made: dict[str, Json] = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    return {**made, "required": [*sorted(needed)]} if needed else made


def _list(item: Json) -> dict[str, Json]:
    return {"type": "array", "items": item, "uniqueItems": True}


def _ref(name: str) -> dict[str, Json]:
    return {"$ref": f"#/definitions/{name}"}


def _pattern(pattern: re.Pattern[str]) -> dict[str, Json]:
    return {"pattern": f"^(?:{pattern.pattern})$"}


def _text(pattern: re.Pattern[str], description: str) -> dict[str, Json]:
    return {"type": "string", **_pattern(pattern), "description": description}


def _recipient() -> dict[str, Json]:
    return {"anyOf": [{"const": SELF}, {"type": "string", **_pattern(MEMBER)}]}


def _level() -> dict[str, Json]:
    return {"enum": list(LEVEL_NAMES), "description": "withheld < 50km/60s < 10km/10s < 1km/1s < exact"}


def _seconds() -> dict[str, Json]:
    return {"type": ["number", "string"], "minimum": 0, "maximum": limits.DELAY_MAX_S, **_pattern(SECONDS)}
