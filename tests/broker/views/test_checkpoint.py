"""A checkpoint is a convenience: what is not exactly the one that was written leads to the log's beginning."""

from __future__ import annotations

import hashlib
import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from broker.fusion.view import View
from broker.views import checkpoint
from broker.views.picture import Picture
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def made(hub: Any, arrivals: Any) -> Any:
    return hub().feed(arrivals)


def saved(folder: Path, picture: Picture) -> Path:
    checkpoint.save(folder, picture)
    (path,) = folder.iterdir()
    return path


def test_it_goes_on_from_a_checkpoint_with_the_same_bytes_and_folds_nothing_twice(made: Any, tmp_path: Path) -> None:
    begun = Picture("JPN")
    for position, delivery in made.log[:20]:
        begun.take(position, delivery)
    saved(tmp_path, begun)
    after = checkpoint.load(tmp_path, "JPN")
    assert after.cursor == begun.cursor == 20
    for position, delivery in made.log[20:]:
        after.take(position, delivery)
    (one,), (other,) = after.drawings.values(), made.picture.drawings.values()
    assert one.view.checkpoint() == other.view.checkpoint()
    assert not after.pending


def test_what_was_taken_back_first_is_forgotten_first_after_a_restart_too(world: Any) -> None:
    view = View("JPN", content_pb2.MODE_TEST)
    kor = world.nation("KOR")
    for number in range(2):
        cancel = kor.status(f"e{number}", 10.0, content_pb2.EVENT_STATE_DETECTED)
        cancel.header.references.add(message_id=bytes([9 - number]) * 16, relation=content_pb2.RELATION_CANCELS)
        view.fold(position=bytes([number]), content=cancel)
    view.ledger.forget([next(iter(view.ledger.messages))])  # as when its event is packed away: the tombstone stays
    again = View.restore(view.checkpoint())
    assert list(again.ledger.tombstones["KOR"]) == list(view.ledger.tombstones["KOR"])


def test_of_another_recipient_it_is_refused(made: Any, tmp_path: Path) -> None:
    path = saved(tmp_path, made.picture)
    path.rename(path.with_name("KOR.checkpoint"))
    assert checkpoint.load(tmp_path, "KOR") == Picture("KOR")


def test_a_view_of_another_recipient_inside_is_refused_though_the_file_is_whole(made: Any, tmp_path: Path) -> None:
    path = saved(tmp_path, made.picture)
    text = path.read_text(encoding="ascii")[64:].replace('"recipient":"JPN"', '"recipient":"KOR"')
    path.with_name("KOR.checkpoint").write_text(hashlib.sha256(text.encode()).hexdigest() + text, encoding="ascii")
    assert checkpoint.load(tmp_path, "KOR").cursor == 0


@pytest.mark.parametrize("seed", range(8))
def test_any_flipped_or_missing_byte_is_refused(made: Any, tmp_path: Path, seed: int) -> None:
    path, draw = saved(tmp_path, made.picture), random.Random(seed)  # noqa: S311 - where it is damaged
    data = bytearray(path.read_bytes())
    if seed % 2:
        del data[draw.randrange(len(data)) :]
    else:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(7)
    path.write_bytes(data)
    assert checkpoint.load(tmp_path, "JPN").cursor == 0


def _leaves(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return where every value in a document stands, lists and tables included."""
    found = [path] if path else []
    if isinstance(value, dict):
        for name, one in value.items():
            found += _leaves(one, (*path, name))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            found += _leaves(one, (*path, index))
    return found


@pytest.mark.parametrize("seed", range(30))
def test_a_view_whose_checkpoint_says_something_else_is_refused_or_whole(made: Any, seed: int) -> None:
    (drawing,) = made.picture.drawings.values()
    document, draw = json.loads(drawing.view.checkpoint()), random.Random(seed)  # noqa: S311 - what is changed
    *way, last = draw.choice(_leaves(document))
    inner = document
    for name in way:
        inner = inner[name]
    inner[last] = draw.choice([None, -1, "x", [], {}, "////", 1e300, True])
    try:
        view = View.restore(json.dumps(document).encode())
    except ValueError:
        return
    view.tick(position=b"after", time_ns=(view.now_ns or 0) + 1)
