"""A View as bytes: the messages it holds, what was published, and the few numbers that do not follow from those.

Everything else is computed from the messages when it is read back, so a checkpoint cannot disagree with the code. The
form is JSON: floats are written so that the same float is read back, bytes as base64, keys in a fixed order. It is our
own file, read by the same version; anything else in it raises ValueError.
"""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError

from broker import limits
from broker.fusion.board import Forecast
from broker.fusion.contribution import Place, contribution_of, unusable
from broker.fusion.impact import Prediction
from broker.fusion.influence import Share
from broker.fusion.naming import Named
from broker.fusion.register import Published
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from broker.fusion.board import Board, Event
    from broker.fusion.contribution import Contribution, TrackKey
    from broker.fusion.view import View

__all__ = ["Packed", "load", "pack", "put_back", "save", "unpack"]

FORMAT: Final = "vedette-view/2"
TIED_END: Final = b"\xff" * limits.LOCAL_ID_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Packed:
    """An event that is over: its messages, compressed, and their ids one behind the other.

    First, up to TIED_END, stand those that name another event and are tied to it by a correction: hardly ever one.
    """

    ids: bytes
    blob: bytes

    def holds(self, message_id: bytes) -> bool:
        """Say whether a message of that id is in it."""
        return _holds(self.ids, message_id)

    def holds_tied(self, message_id: bytes) -> bool:
        """Say whether a message of that id is in it that names another event. Asked of every message, so cheap."""
        if self.ids.startswith(TIED_END):
            return False
        return _holds(self.ids[: max(self.ids.find(TIED_END), 0)], message_id)


def pack(contributions: Sequence[Contribution], event: Event) -> Packed:
    """Put the messages of an event away."""
    members = {*event.nodes, *event.retracted}
    tied = b"".join(_padded(one.key[5]) for one in contributions if one.node_key not in members)
    own = b"".join(_padded(one.key[5]) for one in contributions if one.node_key in members)
    document = {
        "messages": _messages(contributions),
        "objects": _objects({one.key: one.forecast for one in event.objects}),
    }
    return Packed(tied + TIED_END + own, zlib.compress(_bytes(document)))


def unpack(packed: Packed) -> list[Contribution]:
    """Return the messages that were put away."""
    return [_contribution(line) for line in json.loads(zlib.decompress(packed.blob))["messages"]]


def put_back(packed: Packed, board: Board) -> None:
    """Give the objects of an unpacked event the predictions that they had."""
    board.set_forecasts(_forecasts(json.loads(zlib.decompress(packed.blob))["objects"]))


def save(view: View) -> bytes:
    """Return a View as bytes."""
    return _bytes(
        {
            "format": FORMAT,
            "recipient": view.recipient,
            "mode": view.mode,
            "exercise_id": view.exercise_id,
            "now_ns": view.now_ns,
            "position": _text(view.position),
            "digest": _text(view.digest),
            "messages": _messages(view.ledger.messages.values()),
            "tombstones": [
                [origin, _text(identity)] for origin, own in view.ledger.tombstones.items() for identity in own
            ],
            "objects": _objects(view.board.forecasts()),
            "published": [
                [
                    _text(one.number),
                    _node(one.anchor),
                    [_node(member) for member in sorted(one.members)],
                    one.revision,
                    _text(one.shown),
                    list(one.outcome),
                    one.is_confirmed,
                    one.over_since_ns,
                    [_text(number) for number in one.merged],
                    one.is_merged,
                    _text(one.parted_from),
                    [_named(named) for named in one.objects],
                ]
                for one in view.register.entries.values()
            ],
            "packed": [[_text(number), _text(one.ids), _text(one.blob)] for number, one in view.packed.items()],
            "forgotten": [[_node(node), _text(number), last] for node, (number, last) in view.forgotten.items()],
        }
    )


def load(data: bytes) -> View:
    """Return the View of a checkpoint. Raises ValueError if it is none of this version's."""
    from broker.fusion.view import View  # noqa: PLC0415 - each knows the other

    try:
        document = json.loads(data)
        if document["format"] != FORMAT:
            raise ValueError(f"a checkpoint of another version: {document['format']}")
        view = View(document["recipient"], document["mode"], document["exercise_id"])
        view.now_ns = document["now_ns"]
        view.position, view.digest = _raw(document["position"]), _raw(document["digest"])
        for line in document["messages"]:
            view.ledger.add(_contribution(line))
        view.ledger.tombstones.clear()  # in the order in which they were set: the oldest is forgotten first
        for origin, identity in document["tombstones"]:
            view.ledger.tombstones.setdefault(origin, {})[_raw(identity)] = None
        view.board.apply(view.ledger.standing(), [])
        view.board.set_forecasts(_forecasts(document["objects"]))
        for line in document["published"]:
            number, anchor, members, revision, shown, state, confirmed, over_ns, merged, is_merged, *names = line
            view.register.entries[_raw(number)] = Published(
                number=_raw(number),
                anchor=_node_key(anchor),
                members=frozenset(_node_key(member) for member in members),
                revision=revision,
                shown=_raw(shown),
                outcome=(state[0], state[1]),
                is_confirmed=confirmed,
                over_since_ns=over_ns,
                merged=tuple(_raw(one) for one in merged),
                is_merged=is_merged,
                parted_from=_raw(names[0]),
                objects=tuple(_named_of(named) for named in names[1]),
            )
        view.packed = {_raw(number): Packed(_raw(ids), _raw(blob)) for number, ids, blob in document["packed"]}
        view.forgotten = {_node_key(node): (_raw(number), last) for node, number, last in document["forgotten"]}
    except (LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, DecodeError) as error:
        raise ValueError("not a checkpoint of a View") from error
    return view


def _messages(contributions: Iterable[Contribution]) -> list[list[object]]:
    """Return messages as lines: epoch, lane, sequence, whether the numbers count, content."""
    return [[*one.key[2:5], one.body is not None, _text(one.content)] for one in contributions]


def _contribution(line: list[Any]) -> Contribution:
    """Return a message of a line."""
    epoch, lane, sequence, counts, content = line
    found = contribution_of(content_pb2.Content.FromString(_raw(content)), epoch=epoch, lane=lane, sequence=sequence)
    if found is None:
        raise ValueError("a checkpoint with a message that is never folded")
    return found if counts else unusable(found)


def _objects(forecasts: Mapping[TrackKey, Forecast]) -> list[list[object]]:
    """Return what of the objects does not follow from the messages: when an impact was predicted, and which."""
    return [
        [
            [origin, _text(event_id), _text(object_id)],
            one.is_stale,
            one.tried_ns,
            one.doubt_m2ps2,
            _prediction(one.prediction),
            [[share.origin, share.influence_m, _place(share.alone)] for share in one.shares],
            [list(one.overflown), one.home, one.is_ballistic, one.silent_ns],
        ]
        for (origin, event_id, object_id), one in forecasts.items()
    ]


def _forecasts(lines: list[Any]) -> dict[TrackKey, Forecast]:
    """Return forecasts of lines."""
    return {
        (origin, _raw(event_id), _raw(object_id)): Forecast(
            None if prediction is None else _prediction_of(prediction),
            is_stale,
            tried_ns,
            doubt,
            tuple(Share(who, influence_m, None if at is None else Place(*at)) for who, influence_m, at in shares),
            overflown=tuple(overflown),
            home=home,
            is_ballistic=is_ballistic,
            silent_ns=silent_ns,
        )
        for (origin, event_id, object_id), is_stale, tried_ns, doubt, prediction, shares, (
            overflown,
            home,
            is_ballistic,
            silent_ns,
        ) in lines
    }


def _prediction(one: Prediction | None) -> list[object] | None:
    """Return a prediction as a line."""
    if one is None:
        return None
    return [one.time_ns, one.time_sigma_s, _place(one.place), one.apogee_m, one.based_on_ns]


def _place(place: Place | None) -> list[float] | None:
    """Return a place as a line."""
    return None if place is None else [place.lat_deg, place.lon_deg, place.east_m2, place.east_north_m2, place.north_m2]


def _prediction_of(line: list[Any]) -> Prediction:
    """Return a prediction of a line."""
    time_ns, time_sigma_s, at, apogee_m, based_on_ns = line
    return Prediction(time_ns, time_sigma_s, Place(*at), apogee_m, based_on_ns)


def _named(one: Named) -> list[object]:
    """Return an object's name as a line."""
    return [
        _text(one.name),
        _track(one.anchor),
        [_track(track) for track in one.tracks],
        [_text(name) for name in one.former],
    ]


def _named_of(line: list[Any]) -> Named:
    """Return an object's name of a line."""
    name, anchor, tracks, former = line
    return Named(
        _raw(name), _track_key(anchor), tuple(_track_key(track) for track in tracks), tuple(_raw(one) for one in former)
    )


def _holds(ids: bytes, message_id: bytes) -> bool:
    start = ids.find(_padded(message_id))
    while start >= 0:
        if start % limits.LOCAL_ID_BYTES_MAX == 0:
            return True
        start = ids.find(_padded(message_id), start + 1)
    return False


def _padded(message_id: bytes) -> bytes:
    """Return an id at the length that all have in `ids`."""
    return message_id.ljust(limits.LOCAL_ID_BYTES_MAX, b"\0")


def _bytes(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _raw(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _node(key: tuple[str, bytes]) -> list[str]:
    return [key[0], _text(key[1])]


def _node_key(line: list[str]) -> tuple[str, bytes]:
    return (line[0], _raw(line[1]))


def _track(key: TrackKey) -> list[str]:
    return [key[0], _text(key[1]), _text(key[2])]


def _track_key(line: list[str]) -> TrackKey:
    return (line[0], _raw(line[1]), _raw(line[2]))
