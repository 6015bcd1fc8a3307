from __future__ import annotations

from pathlib import Path

import pytest

from broker.document import PolicyError
from broker.invariants import Cell, Invariants
from broker.leaves import LEAVES, SCHEMA_DIGEST

HEAD = f"format: vedette-invariants/v1\nnation: KOR\nversion: 3\nschema: {SCHEMA_DIGEST}\ninvariants:\n"
GOOD = "id: A, to: [JPN], delay_s: 1, reason: r"
SHIPPED = sorted(Path("nations").glob("*/invariants.yaml"))


def document(*items: str, head: str = HEAD) -> str:
    return head + "".join(f"- {{{item}}}\n" for item in items)


def test_a_subtree_stands_for_its_leaves_and_everything_for_all() -> None:
    found = Invariants.parse(
        document(
            "id: A, to: [JPN], never: [track.source], finer_than: 10s, delay_s: 5, reason: r",
            "id: B, to: [self], never: everything, when: 'precedence == Precedence.PRECEDENCE_FLASH', reason: r",
        ),
        nation="KOR",
    )
    first, second = found.invariants
    assert (found.version, found.nation) == (3, "KOR")
    assert first.never == {path for path in LEAVES if path.startswith("track.source.")}
    assert (first.finer_than, first.delay_s, first.when) == (Cell(10_000.0, 10), 5.0, "true")
    assert second.is_everything
    assert second.never == set(LEAVES)


LONG = " || ".join(["content.track.manoeuvre_suspected"] * 54)
REFUSED = {
    "another format": (document(GOOD, head=HEAD.replace("/v1", "/v2")), 1, "unknown format"),
    "another's": (document(GOOD, head=HEAD.replace("KOR", "USA")), 2, "not the code of KOR"),
    "version 0": (document(GOOD, head=HEAD.replace("version: 3", "version: 0")), 3, "not a version"),
    "another schema": (document(GOOD, head=HEAD.replace("sha256:", "sha256:0")), 4, "another version of the messages"),
    "an unknown key": (document("id: A, to: [JPN], nevr: [track], reason: r"), 6, "unknown key"),
    "no promise": (document("id: A, to: [JPN], reason: r"), 6, "promises nothing"),
    "no reason": (document("id: A, to: [JPN], never: [track], reason: ' '"), 6, "needs a reason"),
    "a misspelt leaf": (document("id: A, to: [JPN], never: [track.sorce], reason: r"), 6, "no such leaf"),
    "half a name": (document("id: A, to: [JPN], never: [track.sour], reason: r"), 6, "no such leaf"),
    "no leaf": (document("id: A, to: [JPN], never: [], reason: r"), 6, "names no leaf"),
    "another word": (document("id: A, to: [JPN], never: all, reason: r"), 6, "neither leaves nor everything"),
    "an unknown level": (document("id: A, to: [JPN], never: [track], finer_than: 2km, reason: r"), 6, "unknown level"),
    "finer than what": (document("id: A, to: [JPN], finer_than: 1km, delay_s: 1, reason: r"), 6, "finer than what"),
    "no delay": (document("id: A, to: [JPN], delay_s: 0, reason: r"), 6, "number of seconds"),
    "no caveat": (document("id: A, to: [JPN], caveats: [], reason: r"), 6, "no caveat"),
    "nobody": (document("id: A, to: [], delay_s: 1, reason: r"), 6, "about nobody"),
    "a stranger": (document("id: A, to: [Japan], delay_s: 1, reason: r"), 6, "not a member's code"),
    "the nation itself": (document("id: A, to: [JPN, KOR], delay_s: 1, reason: r"), 6, "KOR itself"),
    "twice": (document(GOOD, GOOD), 7, "twice"),
    "more conditions than a hub can ask": (
        document(*(f"id: A{number}, to: [JPN], delay_s: 1, when: '{LONG}', reason: r" for number in range(5))),
        10,
        "8000 characters",
    ),
}


@pytest.mark.parametrize(("text", "line", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_an_invalid_document_is_refused_with_its_line(text: str, line: int, reason: str) -> None:
    with pytest.raises(PolicyError, match=reason) as refused:
        Invariants.parse(text, nation="KOR")
    assert refused.value.line == line


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_the_shipped_invariants_are_read(path: Path) -> None:
    assert Invariants.parse(path.read_text(), nation=path.parent.name.upper()).invariants
