"""Whether an invariant's condition holds, as far as the bytes for one recipient tell: yes, no, or it cannot be said.

The condition was written about the original. What reaches the hub was redacted: what is not set may have been withheld,
a number may have been made coarse, the label's list is narrowed. To read such a field as it stands would refuse honest
messages (`source.kind != …` holds of every message that withholds it), and so lose warnings. Therefore such a field has
no value here, and neither has what depends on it: `false && it` is false, `true || it` is true, all else is unknown.

That is how CEL treats an expression that fails, so Google's evaluator does it: a field stands as `[field][hidden_N]`,
which fails where `hidden_N` is 1 and is the field where it is 0. So a condition is compiled once, when it comes, and
whatever a message hides makes the hub compile nothing. Nothing of this is the gateway's code. What is replaced is found
in the text, and so only plain texts are taken, of which that is safe to say: names, literals without escapes,
comparisons, `in`, `has`, `&&`, `||`, `!` and parentheses. None of them can fail by itself.

Of content these have a value: what is set and has no coarse form; what stands below another body than this one's, which
the original did not have either; origin and mode. Of the label all but `releasable_to`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from cel_expr_python import cel
from google.protobuf import descriptor_pool

from broker.leaves import HEADER, LEAVES, body_of
from vedette.v1 import content_pb2, envelope_pb2
from vedette.v1.options_pb2 import Coarsening

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from google.protobuf.message import Message

__all__ = ["Condition", "Facts", "NotPlainError"]

_TOKEN: Final = re.compile(
    r"""\s*(?:
      (?P<text>"[^"\\\n]*"|'[^'\\\n]*')
    | (?P<number>-?\d+(?:\.\d+)?u?)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<mark>&&|\|\||[!=<>]=|[!<>()\[\],.])
    )""",
    re.VERBOSE,
)
_HIDDEN: Final = "hidden_"  # the variable that hides a field, before the number of its mention
_KEPT: Final = frozenset({f"{HEADER}.origin", f"{HEADER}.mode"})  # identities that redaction does not make anew
_AS_IT_WAS: Final = frozenset({Coarsening.COARSENING_UNSPECIFIED, Coarsening.COARSENING_STRUCTURE})


class NotPlainError(ValueError):
    """A condition that this guard does not judge; the text says why."""


@dataclass(frozen=True, slots=True)
class Facts:
    """One message as it is addressed to one recipient: `to` is its code, or "self"."""

    content: content_pb2.Content
    label: envelope_pb2.SecurityLabel
    precedence: int
    to: str


class _Token(NamedTuple):
    kind: str  # text, number, name, mark
    text: str
    start: int
    end: int


class _Mention(NamedTuple):
    """A field that the text names, with the `has(…)` around it."""

    root: str  # content or label
    path: tuple[str, ...]
    start: int
    end: int


@dataclass(slots=True)
class Condition:
    """A condition of one invariant."""

    text: str
    _mentions: tuple[_Mention, ...]
    _plain: cel.Expression  # the text as it stands, for messages that show all that it names
    _hiding: cel.Expression

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Return the condition, its types checked. Raises NotPlainError."""
        mentions = tuple(_mentions(_tokens(text)))
        plain = _compiled(text, _environment(0))
        return cls(text, mentions, plain, _compiled(_hidable(text, mentions), _environment(len(mentions))))

    def holds(self, facts: Facts) -> bool | None:
        """Return whether it holds; None: these bytes do not tell. Raises ValueError where there is no answer at all."""
        hidden = {
            f"{_HIDDEN}{number}": int(not _has_value(mention, facts.content))
            for number, mention in enumerate(self._mentions)
        }
        data = {
            "content": facts.content,
            "label": facts.label,
            "precedence": facts.precedence,
            "mode": facts.content.header.mode,
            "to": facts.to,
            "body": body_of(facts.content),
        }
        is_open = any(hidden.values())
        answer = self._hiding.eval(data=data | hidden) if is_open else self._plain.eval(data=data)
        if answer.type() == cel.Type.BOOL:
            return bool(answer.plain_value())
        if not is_open:
            raise ValueError("CEL did not answer")
        return None


def _hidable(text: str, mentions: Sequence[_Mention]) -> str:
    """Return the text with each field in the form that can be hidden."""
    parts, at = [], 0
    for number, mention in enumerate(mentions):
        parts += [text[at : mention.start], f"[{text[mention.start : mention.end]}][{_HIDDEN}{number}]"]
        at = mention.end
    return "".join([*parts, text[at:]])


@cache
def _environment(hidable: int) -> cel.Env:
    """Return what conditions may name, and what hides so many fields, which no registered text may name."""
    variables = {
        "content": cel.Type(content_pb2.Content.DESCRIPTOR.full_name),
        "label": cel.Type(envelope_pb2.SecurityLabel.DESCRIPTOR.full_name),
        "precedence": cel.Type.INT,
        "mode": cel.Type.INT,
        "to": cel.Type.STRING,
        "body": cel.Type.STRING,
        **{f"{_HIDDEN}{number}": cel.Type.INT for number in range(hidable)},
    }
    return cel.NewEnv(descriptor_pool.Default(), variables=variables, container="vedette.v1")


def _compiled(text: str, environment: cel.Env) -> cel.Expression:
    try:
        expression = environment.compile(text)
    except RuntimeError as error:  # what the binding raises for whatever is wrong with a text
        raise NotPlainError(str(error).partition("\n")[0]) from None
    if expression.return_type() != cel.Type.BOOL:
        raise NotPlainError("must be true or false")
    return expression


# --- what a text names ------------------------------------------------------------------------------------------------


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    text, at = text.rstrip(), 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise NotPlainError(f"character {at + 1}: not in the conditions that the hub judges")
        kind = found.lastgroup or ""
        token = _Token(kind, found[kind], found.start(kind), found.end())
        _check_neighbours(tokens[-1] if tokens else None, token)
        tokens.append(token)
        at = found.end()
    return tokens


def _check_neighbours(before: _Token | None, token: _Token) -> None:
    """Refuse what would make of harmless parts something else: r"…", f(x), list[1], 2 -1, .name."""
    after = before.text if before is not None else ""
    after_name = before is not None and before.kind == "name" and after != "in"
    after_value = after_name or after in {")", "]"} or (before is not None and before.kind in {"text", "number"})
    is_value = token.kind != "mark" and token.text != "in"
    wrong = (
        (after_value and (is_value or token.text == "["))
        or (token.text == "(" and after_value and after != "has")
        or (token.text == "." and not after_name)
        or (after == "." and token.kind != "name")
    )
    if wrong:
        raise NotPlainError(f"character {token.start + 1}: not in the conditions that the hub judges")


def _mentions(tokens: Sequence[_Token]) -> Iterator[_Mention]:
    for number, token in enumerate(tokens):
        if token.text not in {"content", "label"} or token.kind != "name" or _is_at(tokens, number - 1, "."):
            continue
        last = number
        while _is_at(tokens, last + 1, "."):
            last += 2
        path = tuple(each.text for each in tokens[number + 2 : last + 1 : 2])
        if not path:
            raise NotPlainError(f"character {token.start + 1}: name one of its fields")
        first = number
        if _is_at(tokens, number - 1, "(") and _is_at(tokens, number - 2, "has"):
            first, last = number - 2, last + 1
        yield _Mention(token.text, path, tokens[first].start, tokens[min(last, len(tokens) - 1)].end)


def _is_at(tokens: Sequence[_Token], number: int, text: str) -> bool:
    return 0 <= number < len(tokens) and tokens[number].kind != "text" and tokens[number].text == text


# --- what the bytes tell ----------------------------------------------------------------------------------------------


def _has_value(mention: _Mention, content: content_pb2.Content) -> bool:
    """Say whether a field is here as it was in the original."""
    if mention.root == "label":
        return mention.path != ("releasable_to",)
    first, name = mention.path[0], ".".join(mention.path)
    if first not in {HEADER, body_of(content)}:
        return True
    return name in _KEPT or mention.path == (body_of(content),) or (_is_as_it_was(name) and _is_set(content, mention))


@cache
def _is_as_it_was(name: str) -> bool:
    """Say whether redaction, where it shows this leaf or something below this message, shows what was there."""
    leaf = LEAVES.get(name)
    if leaf is not None:
        return leaf.coarsening in _AS_IT_WAS
    return any(path.startswith(f"{name}.") for path in LEAVES)


def _is_set(content: content_pb2.Content, mention: _Mention) -> bool:
    message: Message = content
    for name in mention.path:
        if not any(each.name == name for each, _ in message.ListFields()):
            return False
        value = getattr(message, name)
        if name != mention.path[-1]:
            message = value
    return True
