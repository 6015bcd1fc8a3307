"""What a nation promises of its releases, whatever its rules come to say: the invariants, in a document of their own.

    format: vedette-invariants/v1
    nation: KOR
    version: 1                        strictly increasing
    schema: sha256:…                  the agreement that it was written against, as in a release policy
    invariants:
    - id: KOR-I1
      to: [self, USA, JPN]
      never: [track.source]           leaves or whole subtrees, or `everything`: never shown …
      reason: no sensor's name or site leaves
    - id: KOR-I2
      to: [JPN]
      when: 'content.track.source.kind == SensorKind.SENSOR_KIND_AIRBORNE_RADAR'     as in a rule; left out: always
      never: [track.state.position_m]
      finer_than: 10km                … or never finer than this
      delay_s: 5                      what goes waits at least so long,
      minimum_interval_s: 10          no oftener than this,
      caveats: [NO-ONWARD]            and carries these
      reason: hides how well the aircraft sees

The rules of a policy are written by those who release; the invariants are signed by those who guard. They are proved of
a policy for every possible message before it is in force (`broker.gateway.proof`), and the hub checks what it can see
of them on the bytes addressed to each recipient (`broker.hub.guard`), by other code.

Of cancellations no invariant speaks: that something is taken back is owed to whoever was shown it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.document import Listing, Part, Section, read, section_of, text_of, texts_of
from broker.leaves import LEAVES, SCHEMA_DIGEST

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EVERYTHING", "FORMAT", "PAYLOAD_TYPE", "SELF", "Cell", "Invariant", "Invariants"]

FORMAT: Final = "vedette-invariants/v1"
PAYLOAD_TYPE: Final = "application/vnd.vedette.invariants+yaml"
EVERYTHING: Final = "everything"
SELF: Final = "self"

_KEYS: Final = frozenset({"format", "nation", "version", "schema", "invariants"})
_NEEDED: Final = frozenset({"id", "to", "reason"})
_PROMISES: Final = frozenset({"never", "delay_s", "minimum_interval_s", "caveats"})
_OPTIONAL: Final = _PROMISES | {"when", "finer_than"}
_MEMBER: Final = re.compile(r"[A-Z]{3,8}")
_VERSION: Final = re.compile(r"[1-9][0-9]{0,8}")
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9._-]{1,48}")
_CAVEAT: Final = re.compile(r"[A-Z][A-Z0-9-]{0,31}")
_SECONDS: Final = re.compile(r"[0-9]{1,5}(\.[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class Cell:
    """The finest that may be shown: edge of the cell in space, metres; length of the cell in time, seconds."""

    space_m: float
    time_s: int


_CELLS: Final[Mapping[str, Cell]] = {
    name: cell
    for names, cell in (
        (("50km/60s", "50km", "60s"), Cell(50_000.0, 60)),
        (("10km/10s", "10km", "10s"), Cell(10_000.0, 10)),
        (("1km/1s", "1km", "1s"), Cell(1_000.0, 1)),
    )
    for name in names
}


@dataclass(frozen=True, slots=True)
class Invariant:
    """One promise. At least one of `never`, `delay_s`, `minimum_interval_s` and `caveats` is not empty."""

    invariant_id: str
    to: frozenset[str]
    when: str  # as written; "true" where nothing was
    never: frozenset[str]  # leaf paths, subtrees written out; all leaves for `everything`
    is_everything: bool  # nothing may go at all, a message that shows no leaf included
    finer_than: Cell | None  # None: the leaves may not be shown at all
    delay_s: float
    minimum_interval_s: float
    caveats: frozenset[str]
    reason: str
    line: int
    column: int


@dataclass(frozen=True, slots=True, eq=False)
class Invariants:
    """A nation's invariants. Only `parse` makes one."""

    nation: str
    version: int
    digest: str  # sha256:… of the document's bytes
    invariants: tuple[Invariant, ...]

    @classmethod
    def parse(cls, text: str, *, nation: str | None = None) -> Invariants:
        """Return the invariants in the document, `nation`'s if one is named. Raises PolicyError.

        Conditions are kept as text: whoever evaluates them checks their types first, each by its own means.
        """
        section = read(text)
        section.expect(_KEYS)
        entries = section.entries
        if text_of(entries["format"]) != FORMAT:
            raise entries["format"].refuse("unknown format", f"this version reads {FORMAT}")
        if text_of(entries["schema"]) != SCHEMA_DIGEST:
            hint = f"check the leaves, then {SCHEMA_DIGEST}"
            raise entries["schema"].refuse("written against another version of the messages", hint)
        code = text_of(entries["nation"])
        if not _MEMBER.fullmatch(code) or nation not in (None, code):
            raise entries["nation"].refuse(f"not the code of {nation or 'a member'}", "three to eight capital letters")
        version = text_of(entries["version"])
        if not _VERSION.fullmatch(version):
            raise entries["version"].refuse("not a version", "a whole number from 1, greater than every one before")
        digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
        return cls(code, int(version), digest, _listed(entries["invariants"], code))


def _listed(part: Part, nation: str) -> tuple[Invariant, ...]:
    if not isinstance(part, Listing):
        raise part.refuse("must be a list of invariants")
    if len(part.items) > limits.INVARIANTS_MAX:
        raise part.refuse(f"more than {limits.INVARIANTS_MAX} invariants")
    found: dict[str, Invariant] = {}
    for each in part.items:
        invariant = _invariant(section_of(each), nation)
        if invariant.invariant_id in found:
            first = found[invariant.invariant_id].line
            raise each.refuse(f"{invariant.invariant_id} is there twice", f"first in line {first}")
        found[invariant.invariant_id] = invariant
        if sum(len(each.when) for each in found.values()) > limits.INVARIANTS_CHARS_MAX:
            raise each.refuse(f"more than {limits.INVARIANTS_CHARS_MAX} characters of conditions", "shorten them")
    return tuple(found.values())


def _invariant(section: Section, nation: str) -> Invariant:
    section.expect(_NEEDED, _OPTIONAL)
    entries = section.entries
    if not entries.keys() & _PROMISES:
        raise section.refuse(
            "an invariant that promises nothing", "write never, delay_s, minimum_interval_s or caveats"
        )
    if "finer_than" in entries and "never" not in entries:
        raise entries["finer_than"].refuse("finer than what", "name the leaves under never")
    never, is_everything = _never(entries["never"]) if "never" in entries else (frozenset[str](), False)
    reason = text_of(entries["reason"]).strip()
    if not reason:
        raise entries["reason"].refuse("an invariant needs a reason", "say on whose word, or why")
    return Invariant(
        invariant_id=_matched(entries["id"], _IDENTIFIER, "not an id", "letters, digits, . _ -, at most 48"),
        to=_recipients(entries["to"], nation),
        when=_condition(entries["when"]) if "when" in entries else "true",
        never=never,
        is_everything=is_everything and "finer_than" not in entries,
        finer_than=_cell(entries["finer_than"]) if "finer_than" in entries else None,
        delay_s=_seconds(entries.get("delay_s")),
        minimum_interval_s=_seconds(entries.get("minimum_interval_s")),
        caveats=_caveats(entries.get("caveats")),
        reason=reason,
        line=section.line,
        column=section.column,
    )


def _never(part: Part) -> tuple[frozenset[str], bool]:
    """Return the leaves that are named, and whether they are all there are."""
    if not isinstance(part, Listing):
        if text_of(part) != EVERYTHING:
            raise part.refuse("neither leaves nor everything", f"write [leaf, …] or {EVERYTHING}")
        return frozenset(LEAVES), True
    leaves: set[str] = set()
    for each in texts_of(part):
        below = {path for path in LEAVES if f"{path}.".startswith(f"{each.value}.")}
        if not below:
            raise each.refuse(f"no such leaf: {each.value}", "`vedette policy leaves` lists them all")
        leaves |= below
    if not leaves:
        raise part.refuse("names no leaf", f"write [leaf, …] or {EVERYTHING}")
    return frozenset(leaves), False


def _recipients(part: Part, nation: str) -> frozenset[str]:
    texts = texts_of(part)
    for each in texts:
        if each.value == nation:  # nothing is ever released to it by that name: the promise would hold of every policy
            raise each.refuse(f"{nation} itself", f"its own picture at the hub is written {SELF}")
        if each.value != SELF and not _MEMBER.fullmatch(each.value):
            raise each.refuse("not a member's code", "three to eight capital letters, or self")
    if not texts:
        raise part.refuse("an invariant about nobody", "name recipients")
    return frozenset(each.value for each in texts)


def _condition(part: Part) -> str:
    text = text_of(part)
    if not text.strip() or len(text) > limits.CONDITION_CHARS_MAX:
        raise part.refuse("not a condition", f"1 to {limits.CONDITION_CHARS_MAX} characters; leave it out for always")
    return text


def _cell(part: Part) -> Cell:
    cell = _CELLS.get(text_of(part))
    if cell is None:
        raise part.refuse("unknown level", "50km, 10km, 1km (or 60s, 10s, 1s)")
    return cell


def _seconds(part: Part | None) -> float:
    if part is None:
        return 0.0
    text = text_of(part)
    if not _SECONDS.fullmatch(text) or not 0 < float(text) <= limits.DELAY_MAX_S:
        raise part.refuse("not a number of seconds", f"more than 0, at most {limits.DELAY_MAX_S:g}")
    return float(text)


def _caveats(part: Part | None) -> frozenset[str]:
    texts = texts_of(part) if part is not None else ()
    for each in texts:
        if not _CAVEAT.fullmatch(each.value):
            raise each.refuse("not a caveat", "capital letters, digits and -")
    if part is not None and not texts:
        raise part.refuse("no caveat", "name one, or leave the key out")
    return frozenset(each.value for each in texts)


def _matched(part: Part, pattern: re.Pattern[str], reason: str, hint: str) -> str:
    text = text_of(part)
    if not pattern.fullmatch(text):
        raise part.refuse(reason, hint)
    return text
