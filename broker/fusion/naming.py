"""What the recipient knows objects by, and how a name follows its object when tracks part, join or change places.

A name is a hash of the track number and the object's first track when it was given. It stays with the object that has
that first track, else with the one that has most of the tracks that it had, in whatever event that is. Where two names
come to one object the older stays, and the object says that it was known by the other too. Who parts from a name gets
a new one, and says from which. A name that an object has, or had before, is not given to another.

Values in, values out: names are a part of what follows from the log (`register`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from broker import limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from broker.fusion.contribution import TrackKey

__all__ = ["NO_NAMES", "Named", "Names", "first_name", "renamed"]

OBJECT_CONTEXT: Final = b"vedette/v1/fused-object"
FORMER_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class Named:
    """An object's name, the track that it was given for, the tracks that it has now, and its earlier names."""

    name: bytes
    anchor: TrackKey
    tracks: tuple[TrackKey, ...]
    former: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Names:
    """What a picture calls its objects, by the first track of each, and from which number its event parted."""

    objects: tuple[Named, ...] = ()
    parted_from: bytes = b""

    def of(self, number: bytes, key: TrackKey) -> Named:
        """Return the name of the object whose first track this is."""
        found = next((named for named in self.objects if named.tracks[0] == key), None)
        return found or Named(first_name(number, key), key, (key,))


NO_NAMES: Final = Names()


def renamed(
    before: Iterable[Named], now: Sequence[tuple[bytes, Sequence[tuple[TrackKey, ...]]]]
) -> list[tuple[Named, ...]]:
    """Return the names of the objects of events, each a track number and its objects' tracks, in the same order.

    `before` are all names that these events, and those that became part of them, had until now; the oldest first.
    """
    before = list(before)
    places = [(number, tracks) for number, objects in now for tracks in objects]
    place_of = {track: place for place, (_, tracks) in enumerate(places) for track in tracks}
    taken: dict[int, Named] = {}
    for known in before:
        place = _place(known, place_of)
        if place is None:
            continue
        tracks = places[place][1]
        if place in taken:
            taken[place] = _with_former(taken[place], (*known.former, known.name))
        else:
            anchor = known.anchor if known.anchor in tracks else tracks[0]
            taken[place] = replace(known, anchor=anchor, tracks=tracks)
    used = {name for known in before for name in (known.name, *known.former)}
    for place, (number, tracks) in enumerate(places):
        if place not in taken:
            name = _new_name(number, tracks[0], used)
            used.add(name)
            parted = [known.name for known in before if any(track in known.tracks for track in tracks)]
            taken[place] = _with_former(Named(name, tracks[0], tracks), parted)
    named = iter(range(len(places)))
    return [tuple(taken[next(named)] for _ in objects) for _, objects in now]


def first_name(number: bytes, track: TrackKey, again: int = 0) -> bytes:
    """Return the name of an object that begins with a track."""
    origin, event_id, object_id = track
    digest = hashlib.sha256(OBJECT_CONTEXT)
    parts = [number, origin.encode(), event_id, object_id]
    if again:
        parts.append(again.to_bytes(4, "big"))
    for part in parts:
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.digest()[: limits.ID_BYTES]


def _place(known: Named, place_of: Mapping[TrackKey, int]) -> int | None:
    """Return where a name goes: with its first track, else with most of its tracks; None if they are all gone."""
    if known.anchor in place_of:
        return place_of[known.anchor]
    counts = Counter(place_of[track] for track in known.tracks if track in place_of)
    return min(counts, key=lambda place: (-counts[place], place), default=None)


def _with_former(known: Named, names: Iterable[bytes]) -> Named:
    """Return a name with more of what the object was known by, each once, the newest last."""
    former = dict.fromkeys((*known.former, *names))
    former.pop(known.name, None)
    return replace(known, former=tuple(former)[-FORMER_MAX:])


def _new_name(number: bytes, track: TrackKey, used: set[bytes]) -> bytes:
    """Return a name that nothing else here has, or had."""
    again = 0
    while (name := first_name(number, track, again)) in used:
        again += 1
    return name
