"""Checkpoints of a Picture: where a fusion process that starts again goes on, instead of at the beginning of the log.

One file per recipient. It is a convenience and never a truth: a file that is missing, damaged, of another version or
of another recipient or log is passed over, and the log is folded from its beginning with the same result.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from typing import TYPE_CHECKING, Any, Final

from broker.fusion.view import View
from broker.labels import Label
from broker.views.picture import Drawing, Picture, Revision, RevisionKey, ViewKey
from vedette.v1.content_pb2 import Exercise, FusedEvent, Mode
from vedette.v1.envelope_pb2 import Classification, SecurityLabel

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

FORMAT: Final = "vedette-picture/v4"
_HASH_CHARS: Final = 64


def save(directory: Path, picture: Picture) -> None:
    """Write a picture's checkpoint in place of the one before."""
    text = json.dumps(_encode(picture), separators=(",", ":"), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    path = _path(directory, picture.recipient)
    fresh = path.with_suffix(".new")
    fresh.write_text(digest + text, encoding="ascii")
    fresh.replace(path)


def load(directory: Path, recipient: str) -> Picture:
    """Return the picture at its newest checkpoint, or an empty one."""
    try:
        text = _path(directory, recipient).read_text(encoding="ascii")
        digest, text = text[:_HASH_CHARS], text[_HASH_CHARS:]
        if hashlib.sha256(text.encode()).hexdigest() == digest:
            return _decode(json.loads(text), recipient)
        log.warning("checkpoint of %s is damaged: folding the log from its beginning", recipient)
    except FileNotFoundError:
        pass
    except Exception:  # noqa: BLE001 - whatever an older version or a damaged file holds, the log has it all
        log.warning("checkpoint of %s cannot be used: folding the log from its beginning", recipient)
    return Picture(recipient)


def _path(directory: Path, recipient: str) -> Path:
    return directory / f"{recipient}.checkpoint"


def _encode(picture: Picture) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "recipient": picture.recipient,
        "cursor": picture.cursor,
        "resume": _text(picture.resume),
        "views": [
            {
                "mode": key.mode,
                "exercise_id": key.exercise_id,
                "exercise": _exercise(drawing.exercise),
                "origin": drawing.origin,
                "heard": [drawing.heard_at, drawing.heard_ns],
                "label": _label_table(drawing.label),
                "view": _text(drawing.view.checkpoint()),
            }
            for key, drawing in picture.drawings.items()
        ],
        "pending": [
            [
                key.view.mode,
                key.view.exercise_id,
                _exercise(one.exercise),
                _text(one.event.SerializeToString()),
                _text(_label(one)),
            ]
            for key, one in picture.pending.items()
        ],
    }


def _decode(made: dict[str, Any], recipient: str) -> Picture:
    if made["format"] != FORMAT or made["recipient"] != recipient:  # one nation's picture is never another's
        raise ValueError(f"{made['format']} of {made['recipient']}")
    cursor = made["cursor"]
    picture = Picture(made["recipient"], cursor, _bytes(made["resume"]), saved=cursor)
    for one in made["views"]:
        exercise, origin, (heard_at, heard_ns) = _exercise_of(one["exercise"]), one["origin"], one["heard"]
        key = ViewKey(Mode.ValueType(one["mode"]), one["exercise_id"])
        view = View.restore(_bytes(one["view"]))
        if (view.recipient, view.mode, view.exercise_id) != (recipient, *key):
            raise ValueError("a View under another name")
        picture.drawings[key] = Drawing(view, exercise, origin, _label_of(one["label"]), heard_at, heard_ns)
    for mode, exercise_id, exercise_text, event_text, label_text in made["pending"]:
        key = ViewKey(Mode.ValueType(mode), exercise_id)
        event, label = FusedEvent.FromString(_bytes(event_text)), SecurityLabel.FromString(_bytes(label_text))
        revision_key = RevisionKey(key, event.event_id, event.revision)
        exercise = _exercise_of(exercise_text)
        picture.pending[revision_key] = Revision(picture.recipient, revision_key, event, exercise, label)
    return picture


def _exercise(exercise: Exercise | None) -> str:
    return "" if exercise is None else _text(exercise.SerializeToString())


def _exercise_of(text: str) -> Exercise | None:
    return Exercise.FromString(_bytes(text)) if text else None


def _label_table(label: Label) -> dict[str, Any]:
    return {
        "classification": label.classification,
        "releasable_to": sorted(label.releasable_to),
        "caveats": sorted(label.caveats),
        "owners": sorted(label.owners),
        "originator_controlled": label.originator_controlled,
    }


def _label_of(table: dict[str, Any]) -> Label:
    return Label(
        classification=Classification.ValueType(table["classification"]),
        releasable_to=frozenset(table["releasable_to"]),
        caveats=frozenset(table["caveats"]),
        owners=frozenset(table["owners"]),
        originator_controlled=table["originator_controlled"],
    )


def _label(revision: Revision) -> bytes:
    return revision.label.SerializeToString()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
