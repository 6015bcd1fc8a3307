"""Random policies: every leaf in some group, conditions of the whole subset of CEL that `conditions` allows."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from google.protobuf.descriptor import FieldDescriptor

from broker.leaves import BODIES_UNDER_POLICY, LEAVES, SCHEMA_DIGEST
from tests.broker.gateway.release.generate_content import NATION, TEXTS, bounds_of, value_of
from vedette.v1 import content_pb2, envelope_pb2

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from google.protobuf.descriptor import Descriptor

__all__ = ["CAVEATS", "RECIPIENTS", "random_condition", "random_policy_text"]

RECIPIENTS: Final = ("self", "USA", "JPN")
CAVEATS: Final = ("NOFORN", "ORCON", "EYES-ONLY")
LEVELS: Final = ("withheld", "50km", "10km", "1km", "exact")
ODD_TEXTS: Final = ('a"b', "back\\slash", "é日本", "it's", "# no comment", "// none")
PLAIN: Final = {
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_UINT32: "uint",
    FieldDescriptor.TYPE_UINT64: "uint",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_STRING: "string",
}
CONTENT: Final = content_pb2.Content.DESCRIPTOR
LABEL: Final = envelope_pb2.SecurityLabel.DESCRIPTOR
ENUMS: Final = {"precedence": envelope_pb2.Precedence.DESCRIPTOR, "mode": content_pb2.Mode.DESCRIPTOR}


def random_policy_text(rng: random.Random, *, rules: int, recipients: Sequence[str] = RECIPIENTS) -> str:
    """Return a document that `Policy.parse` reads, of so many rules. The first makes the caveats of labels known."""
    names = [f"group_{number}" for number in range(rng.randint(2, 10))]
    groups: dict[str, list[str]] = {name: [] for name in names}
    together: dict[str, str] = {}
    for path, leaf in LEAVES.items():
        owner = leaf.fields[-1].containing_type
        above = path.rpartition(".")[0] if owner is not None and owner.name == "TimeWindow" else path
        groups[together.setdefault(above, rng.choice(names))].append(path)
    everybody = ", ".join(recipients)
    lines = [
        "format: vedette-release/v1",
        f"nation: {NATION}",
        "version: 3",
        "effective: 2026-01-01T00:00:00Z",
        "expires: 2028-01-01T00:00:00Z",
        f"schema: {SCHEMA_DIGEST}",
        f"recipients: [{everybody}]",
        "groups:",
        *(f"  {name}: [{', '.join(paths)}]" for name, paths in groups.items()),
        "rules:" if rules else "rules: []",
    ]
    known = f"caveats: [{', '.join(CAVEATS)}]"
    lines += [f"- {{id: KNOWN, effect: limit, to: [{everybody}], when: 'false', {known}, reason: r}}"][:rules]
    lines += [_rule(rng, number, names, recipients) for number in range(1, rules)]
    return "\n".join(lines) + "\n"


def _rule(rng: random.Random, number: int, groups: list[str], recipients: Sequence[str]) -> str:
    effect = rng.choices(("release", "limit", "deny"), (7, 3, 1))[0]
    to = rng.sample(recipients, rng.randint(1, len(recipients)))
    when = random_condition(rng, recipients=recipients).replace("'", "''")
    parts = [f"id: R-{number}", f"effect: {effect}", f"to: [{', '.join(to)}]", f"when: '{when}'", "reason: r"]
    if effect != "deny":
        levels = {each: rng.choice(LEVELS) for each in rng.sample(groups, rng.randint(1, len(groups)))}
        if effect == "release":
            levels[rng.choice(groups)] = rng.choice(LEVELS[1:])
        given = ", ".join(f"{group}: {level}" for group, level in levels.items())
        parts.append(f"{'give' if effect == 'release' else 'cap'}: {{{given}}}")
        parts.append(f"delay_s: {rng.choice((0, 0, 2.5, 30))}")
        parts.append(f"minimum_interval_s: {rng.choice((0, 0, 10))}")
        parts.append(f"caveats: [{', '.join(rng.sample((*CAVEATS, 'NO-ONWARD'), rng.choice((0, 0, 1, 2))))}]")
    return "- {" + ", ".join(parts) + "}"


def random_condition(
    rng: random.Random, *, body: str | None = None, depth: int = 2, recipients: Sequence[str] = RECIPIENTS
) -> str:
    """Return a condition of the whole subset, mostly about one kind of body."""
    body = body or rng.choice(BODIES_UNDER_POLICY)
    inner = rng.random()
    if depth and inner < 0.55:
        parts = [
            random_condition(rng, body=body, depth=depth - 1, recipients=recipients) for _ in range(rng.randint(2, 3))
        ]
        return f" {rng.choice(('&&', '||'))} ".join(f"({part})" for part in parts)
    if inner > 0.85:
        return f"!({random_condition(rng, body=body, depth=max(0, depth - 1), recipients=recipients)})"
    return _atom(rng, body, recipients)


def _atom(rng: random.Random, body: str, recipients: Sequence[str]) -> str:
    match rng.choices(("field", "label", "variable", "truth"), (10, 3, 5, 1))[0]:
        case "field":
            # Now and then about another body, or one that no policy places: its fields have their defaults then.
            root = rng.choices((body, "header", rng.choice([field.name for field in CONTENT.fields])), (8, 2, 1))[0]
            path, field = rng.choice(_fields(CONTENT.fields_by_name[root].message_type, ("content", root)))
            return _about(rng, ".".join(path), field, recipients)
        case "label":
            path, field = rng.choice(_fields(LABEL, ("label",)))
            return _about(rng, ".".join(path), field, recipients)
        case "variable":
            return _variable(rng, body, recipients)
        case _:
            return rng.choice(("true", "false"))


def _variable(rng: random.Random, body: str, recipients: Sequence[str]) -> str:
    match rng.choice(("to", "body", "enum")):
        case "to":
            return _compared(rng, "to", [_quoted(each) for each in recipients], ordered=False)
        case "body":
            bodies = [body, body, *rng.sample(BODIES_UNDER_POLICY, 2)]
            return _compared(rng, "body", [_quoted(each) for each in bodies], ordered=False)
        case _:
            name, enum = rng.choice(list(ENUMS.items()))
            return _compared(rng, name, [f"{enum.name}.{value.name}" for value in enum.values], ordered=True)


@cache
def _fields(descriptor: Descriptor, above: tuple[str, ...]) -> tuple[tuple[tuple[str, ...], FieldDescriptor], ...]:
    """Return every field that a condition may name, with its path."""
    found: list[tuple[tuple[str, ...], FieldDescriptor]] = []
    for field in descriptor.fields:
        path = (*above, field.name)
        found.append((path, field))
        inner = field.message_type
        if inner is not None and not field.is_repeated and inner.file.package == "vedette.v1":
            found += _fields(inner, path)
    return tuple(found)


def _about(rng: random.Random, term: str, field: FieldDescriptor, recipients: Sequence[str]) -> str:
    kind = PLAIN.get(field.type, "enum" if field.enum_type is not None else "")
    if field.is_repeated and kind == "string":
        texts = [_quoted(each) for each in (*TEXTS[bounds_of(field).pattern], *recipients, *CAVEATS, *ODD_TEXTS)]
        return rng.choice((f"has({term})", f"{rng.choice(texts)} in {term}", f"{rng.choice(('to', 'body'))} in {term}"))
    may_ask = kind != "double" or field.has_presence  # of a plain double, nobody can: it may be set to minus zero
    if field.is_repeated or not kind or (may_ask and rng.random() < 0.15):
        return f"has({term})"
    if kind == "bool":
        return term
    if kind == "enum" and field.enum_type is not None:
        values = [f"{field.enum_type.name}.{value.name}" for value in field.enum_type.values]
        return _compared(rng, term, values, ordered=True)
    if kind == "string":
        texts = [*(_quoted(each) for each in (*TEXTS[bounds_of(field).pattern], *ODD_TEXTS)), "to", "body"]
        return _compared(rng, term, texts, ordered=False)
    value = value_of(field)
    numbers = [repr(float(value(rng))) if kind == "double" else f"{value(rng)}u" for _ in range(5)]
    return _compared(rng, term, [*numbers, "0.0" if kind == "double" else "0u"], ordered=True)


def _compared(rng: random.Random, term: str, literals: Sequence[str], *, ordered: bool) -> str:
    if rng.random() < 0.3:
        several = rng.sample(literals, rng.randint(0, min(3, len(literals))))
        return f"{term} in [{', '.join(several)}]"
    operator = rng.choice(("==", "!=", "<", "<=", ">", ">=") if ordered else ("==", "!="))
    literal = rng.choice(literals)
    if rng.random() < 0.3:
        return f"{literal} {_TURNED[operator]} {term}"
    return f"{term} {operator} {literal}"


_TURNED: Final = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').encode("ascii", "backslashreplace").decode()
    return f'"{escaped}"'
