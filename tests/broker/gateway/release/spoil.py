"""Ways to spoil a document: in its bytes, its text, its structure, its conditions. And what a sound one looks like.

`is_sound` is a second, small reading of a policy document that uses nothing of the loader. What the loader accepts must
be sound. It is not complete (conditions and instants are left to the engines), so some of what is sound is refused.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

import yaml

from broker.leaves import LEAVES

if TYPE_CHECKING:
    import random

__all__ = ["is_sound", "spoil_bytes", "spoil_condition", "spoil_structure", "spoil_text"]

TOKENS: Final = (
    *(
        "&a ",
        "*a",
        "!!str ",
        "!!python/object:os.system ",
        "<<: ",
        "? ",
        "- ",
        "---\n",
        "...\n",
        "%YAML 1.1\n",
        "#",
        "'",
    ),
    *('"', "{", "}", "[", "]", ",", ":", ": ", "|\n", ">\n", "\t", "\x00", "\u2028", "\u202e", "\ufeff", "\x85", "\r"),
    *(
        "NO",
        "yes",
        "true",
        "null",
        "~",
        "0x10",
        "1e9",
        "-1",
        "1_000",
        ".inf",
        "2026-01-01",
        "é",
        "\U0001f600",
        "\ud800",
    ),
    *("[" * 20, "{a: " * 20, "  ", "\n", "\n\n", "x" * 3000),
)
WORDS: Final = (
    *("&&", "||", "!", "==", "!=", "<", "<=", ">", ">=", "in", "has(", "(", ")", "[", "]", ",", ".", "-", "+", "?"),
    *("true", "false", "null", "1", "1u", "-1", "0.5", "1e999", "-0.0", '"a"', "'a'", 'r"a"', 'b"a"', '"""a', "// x"),
    *("to", "body", "mode", "precedence", "content", "label", ".track", ".phase", ".caveats", "Phase.PHASE_BOOST", ":"),
    *("content.track.phase", "content.track.confidence", "label.classification", "size(", "(" * 40, "\n", "99"),
)
VALUES: Final[tuple[Any, ...]] = (
    *(
        "",
        "NO",
        "true",
        "~",
        "self",
        "USA",
        "KOR",
        "release",
        "deny",
        "limit",
        "exact",
        "1km",
        "60s",
        "withheld",
        "0",
        "-1",
    ),
    *(
        "1e9",
        "nan",
        "3601",
        "2.5",
        "12",
        "header.observed_at",
        "track.state.valid_at",
        "x" * 60,
        [],
        ["USA"],
        ["USA", "USA"],
    ),
    *({}, {"a": "b"}, [["USA"]], None, True, 3, 2.5),
)
TOP: Final = {"format", "nation", "version", "effective", "expires", "schema", "recipients", "groups", "rules"}
RULE: Final = {"id", "effect", "to", "when", "reason"}
TERMS: Final = {"delay_s", "minimum_interval_s", "caveats", "guard"}
GIVEN: Final = {"release": {"give"} | TERMS, "limit": {"cap"} | TERMS, "deny": {"guard"}}
LEVELS: Final = {"withheld", "exact", *("50km", "10km", "1km", "60s", "10s", "1s"), *("50km/60s", "10km/10s", "1km/1s")}


def spoil_bytes(rng: random.Random, data: bytes) -> bytes:
    """Change, drop, double or insert some bytes."""
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((1, 1, 2, 8, 200)))
    match rng.randrange(4):
        case 0:
            return data[:at] + bytes(rng.randrange(256) for _ in range(end - at)) + data[end:]
        case 1:
            return data[:at] + data[end:]
        case 2:
            return data[:end] + data[at:end] + data[end:]
        case _:
            return data[:at] + bytes([rng.choice((0, 9, 10, 32, 34, 39, 128, 194, 255))]) + data[at:]


def spoil_text(rng: random.Random, text: str) -> str:
    """Move, double, drop or indent lines, or insert what means something to YAML."""
    lines = text.split("\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(7):
        case 0:
            lines[at] = lines[other]
        case 1:
            lines.insert(at, lines[other])
        case 2:
            del lines[at]
        case 3:
            lines[at], lines[other] = lines[other], lines[at]
        case 4:
            lines[at] = rng.choice((" ", "  ", "- ", "    ")) + lines[at]
        case 5:
            lines[at] = lines[at].strip()
        case _:
            place = rng.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:place] + rng.choice(TOKENS) + lines[at][place:]
    return "\n".join(lines)


def spoil_structure(rng: random.Random, text: str) -> str:
    """Change one value, key or item of the document's tree, anywhere; write it anew."""
    tree = yaml.load(text, yaml.CBaseLoader)  # noqa: S506 - it makes nothing but texts
    nodes = list(_nodes(tree))
    node = rng.choice(nodes)
    keys: list[Any] = list(node) if isinstance(node, dict) else list(range(len(node)))
    key = rng.choice(keys) if keys else 0
    other = rng.choice(nodes)
    match rng.randrange(6):
        case 0 if keys:
            node[key] = rng.choice(VALUES)
        case 1 if keys:
            node[key] = copy.deepcopy(
                rng.choice(list(other.values()) if isinstance(other, dict) else other) if other else ""
            )
        case 2 if keys:
            del node[key]
        case 3 if isinstance(node, dict) and keys:
            node[rng.choice((f"{key}s", str(key)[1:], "NO", "levels", *RULE, *TERMS, *TOP))] = node.pop(key)
        case 4 if isinstance(node, list):
            node.append(rng.choice((*VALUES, *LEAVES, *(copy.deepcopy(each) for each in node))))
        case _ if isinstance(node, dict):
            node[rng.choice((*sorted(RULE), *sorted(TERMS), "give", "cap", "extra"))] = rng.choice(VALUES)
        case _:
            pass
    return str(
        yaml.dump(
            tree,
            Dumper=yaml.CSafeDumper,
            sort_keys=rng.random() < 0.5,
            width=rng.choice((40, 1000)),
            allow_unicode=True,
        )
    )


def spoil_condition(rng: random.Random, text: str) -> str:
    """Change a condition by a word or a character."""
    at = rng.randrange(len(text) + 1)
    match rng.randrange(4):
        case 0:
            return text[:at] + text[at + 1 :]
        case 1:
            return text[:at] + rng.choice((" ", "", "_", "\\")) + rng.choice(WORDS) + " " + text[at:]
        case 2:
            words = text.split(" ")
            words[rng.randrange(len(words))] = rng.choice(WORDS)
            return " ".join(words)
        case _:
            return text[:at] + text[rng.randrange(len(text) + 1) :]


def _nodes(tree: Any) -> Any:
    if isinstance(tree, dict | list):
        yield tree
        for each in tree.values() if isinstance(tree, dict) else tree:
            yield from _nodes(each)


# --- a second reading -------------------------------------------------------------------------------------------------


def is_sound(text: str, *, reader: Any = yaml.CSafeLoader) -> str:
    """Return "" for a document that may be accepted, or what is wrong with it.

    The loader uses libyaml; PyYAML's own reader (`yaml.SafeLoader`, ten times slower) must see the same in it.
    """
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) or getattr(event, "tag", None):
            return "an anchor, alias or tag"
    root = yaml.compose(text, Loader=reader)
    if root is None:
        return "nothing"
    for node in _yaml_nodes(root):
        if isinstance(node, yaml.MappingNode):
            names = [key.value for key, _ in node.value]
            if len(names) != len(set(names)):
                return "a key stands twice"
        elif isinstance(node, yaml.ScalarNode) and node.tag.endswith((":bool", ":null", ":merge")):
            return f"{node.value!r} is no text to YAML"
    tree = _tree(root)
    return _head(tree) or next(filter(None, (_rule(rule, tree) for rule in tree["rules"])), "")


def _tree(node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {key.value: _tree(value) for key, value in node.value}
    return [_tree(each) for each in node.value] if isinstance(node, yaml.SequenceNode) else node.value


def _yaml_nodes(node: yaml.Node) -> Any:
    yield node
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _yaml_nodes(key)
            yield from _yaml_nodes(value)
    elif isinstance(node, yaml.SequenceNode):
        for each in node.value:
            yield from _yaml_nodes(each)


def _head(tree: Any) -> str:
    if not isinstance(tree, dict) or set(tree) != TOP:
        return "other keys than a policy has"
    if not tree["version"].isascii() or not tree["version"].isdigit() or not 1 <= int(tree["version"]) < 10**9:
        return "no version"
    if not tree["effective"] < tree["expires"]:  # both written alike, so that texts are in the order of time
        return "expires first"
    recipients, placed = tree["recipients"], [leaf for leaves in tree["groups"].values() for leaf in leaves]
    if not _is_texts(recipients) or tree["nation"] in recipients:
        return "bad recipients"
    if len(placed) != len(set(placed)) or not set(placed) <= set(LEAVES):
        return "a leaf that is not there, or stands twice"
    ids = [rule["id"] for rule in tree["rules"]]
    return "an id stands twice" if len(ids) != len(set(ids)) else ""


def _rule(rule: Any, tree: Any) -> str:
    effect = rule.get("effect")
    if effect not in GIVEN or not set(rule) >= RULE or not set(rule) <= RULE | GIVEN[effect]:
        return "other keys than such a rule has"
    if not _is_texts(rule["to"]) or not rule["to"] or not set(rule["to"]) <= set(tree["recipients"]):
        return "for nobody, or for a stranger"
    if not all(isinstance(rule[key], str) and rule[key].strip() for key in RULE - {"to"}):
        return "something is empty"
    levels = {**rule.get("give", {}), **rule.get("cap", {})}
    if not set(levels) <= set(tree["groups"]) or not set(levels.values()) <= LEVELS:
        return "a group or level that is not there"
    seconds = [float(rule[key]) for key in ("delay_s", "minimum_interval_s") if key in rule]
    if not all(0 <= each <= 3600 for each in seconds) or rule.get("guard", "true") not in {"true", "false"}:
        return "a term out of bounds"
    return "" if _is_texts(rule.get("caveats", [])) else "bad caveats"


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value) and len(set(value)) == len(value)
