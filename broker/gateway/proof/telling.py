"""How proofs are told: the message of a witness as short as it can be read, many leaves by few names."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import json_format

from broker.leaves import LEAVES
from broker.limits import SECOND_NS
from vedette.v1 import envelope_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from broker.gateway.release import Policy
    from broker.gateway.release.decide import Subject

__all__ = ["brief_message", "briefly", "message_tree", "outlasts"]

# What every message has and no condition can ask about the value of.
_IN_ALL: Final = frozenset({"message_id", "event_id", "object_id", "notice_id", "origin", "lineage"})


def message_tree(subject: Subject) -> dict[str, Any]:
    """Return the whole message in protobuf's JSON: what `vedette policy explain` reads."""
    precedence = envelope_pb2.Precedence.Name(envelope_pb2.Precedence.ValueType(subject.precedence))
    return {
        "content": json_format.MessageToDict(subject.content, preserving_proto_field_name=True),
        "label": json_format.MessageToDict(subject.label, preserving_proto_field_name=True),
        "precedence": precedence,
    }


def brief_message(subject: Subject) -> str:
    """Return the message in one line, without the ids that every message has. `policy explain` still reads it."""
    tree = message_tree(subject)
    content = {
        name: {key: value for key, value in below.items() if key not in _IN_ALL}
        for name, below in tree["content"].items()
    }
    return json.dumps({**tree, "content": content}, ensure_ascii=False)


def outlasts(old: Policy, new: Policy) -> str:
    """Return that the new policy expires later, if so: no proof speaks of what goes when the old one would deny all."""
    if new.expires_ns <= old.expires_ns:
        return ""
    until, longer = (
        datetime.fromtimestamp(each.expires_ns // SECOND_NS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for each in (old, new)
    )
    return f"in force longer, {until} -> {longer}: what goes in between is new"


def briefly(paths: Iterable[str]) -> str:
    """Return leaves by name, whole subtrees by theirs: `launch.launch_area, launch.confidence`."""
    left = set(paths)
    names: list[str] = []
    for path in LEAVES:
        if path not in left:
            continue
        parts = path.split(".")
        above = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
        name = next(each for each in above if _below(each) <= left)
        names.append(name)
        left -= _below(name)
    return ", ".join([*names, *sorted(left)])


@cache
def _below(name: str) -> frozenset[str]:
    return frozenset(path for path in LEAVES if f"{path}.".startswith(f"{name}."))
