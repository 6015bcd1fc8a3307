"""Pictures: folded from the log alone, published once each, by a process that may die at any time."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from prometheus_client import generate_latest

from broker import geodesy, limits
from broker.clock import SystemClock, timestamp
from broker.hub.publish import Publisher
from broker.hub.server import serving
from broker.hub.views import Views
from broker.limits import SECOND_NS
from broker.members import MembersInForce
from broker.views import checkpoint
from broker.views.picture import Picture
from certs.keyring import Keyring
from certs.signature import leaf_hash, verify_seal
from vedette.v1 import content_pb2, envelope_pb2, exchange_pb2, measures_pb2
from vedette.v1.exchange_pb2_grpc import ExchangeStub

import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from broker.hub.server import Hub
    from broker.hub.settings import HubSettings
    from broker.views.picture import RevisionKey
    from certs.issue import Authority
    from tests.broker.hub.conftest import Following, Line, Speaker

    LineTo = Callable[..., AbstractAsyncContextManager[Line]]
    Speakers = Callable[..., Speaker]
    Changed = Callable[[envelope_pb2.RoutingHeader], None]

BEGAN_NS = time.time_ns()
WAIT_S = 20.0


def seen_at(second: int) -> Callable[[content_pb2.Content], None]:
    """Return what makes a content the sighting of one climbing object at a second."""

    def change(content: content_pb2.Content) -> None:
        content.track.event_id, content.track.object_id = b"e" * 16, b"o" * 16
        content.track.phase = content_pb2.PHASE_COAST
        state = content.track.state
        state.frame = measures_pb2.FRAME_ECEF_WGS84
        state.valid_at.CopyFrom(timestamp(BEGAN_NS + second * SECOND_NS))
        state.position_m.extend(geodesy.ecef(39.0, 127.0 + 0.02 * second, 50_000.0 + 1_500.0 * second))
        state.velocity_mps.extend([-1800.0, 200.0, 1400.0])
        diagonal = {0: 1e4, 6: 1e4, 11: 1e4, 15: 1e2, 18: 1e2, 20: 1e2}
        state.covariance.extend(diagonal.get(term, 0.0) for term in range(21))

    return change


def log_of_two(speaker: Speakers, seconds: int) -> list[exchange_pb2.Delivery]:
    """Return JPN's log: KOR and USA see the same object, second by second, with Ticks in between."""
    kor, usa = speaker("KOR"), speaker("USA")
    records = []
    for second in range(seconds):
        for one in (kor, usa):
            sealed = one.envelope("JPN", content=seen_at(second), precedence=envelope_pb2.PRECEDENCE_FLASH)
            records.append(exchange_pb2.Delivery(envelope=sealed))
        tick = exchange_pb2.HubTick(mode=content_pb2.MODE_TEST)
        tick.tick.time.CopyFrom(timestamp(BEGAN_NS // SECOND_NS * SECOND_NS + second * SECOND_NS))
        records.append(exchange_pb2.Delivery(tick=tick))
    return records


def drawn(picture: Picture) -> list[bytes]:
    return [revision.event.SerializeToString(deterministic=True) for revision in picture.pending.values()]


def fold(picture: Picture, records: list[exchange_pb2.Delivery]) -> None:
    for record in records:
        picture.take(picture.cursor + 1, record)


def as_published(picture: Picture, speaker: Speaker, count: int) -> list[exchange_pb2.Delivery]:
    """Return the first pending revisions as they would come back in the log."""
    records = []
    for revision in list(picture.pending.values())[:count]:
        content = speaker.content(origin="HUB")
        content.fused.CopyFrom(revision.event)
        records.append(
            exchange_pb2.Delivery(envelope=speaker.seal(speaker.header("JPN", content), content.SerializeToString()))
        )
    return records


def test_the_same_log_draws_the_same_picture(speaker: Speakers) -> None:
    records = log_of_two(speaker, 5)
    one, other = Picture("JPN"), Picture("JPN")
    fold(one, records)
    fold(other, records)
    assert drawn(one)
    assert drawn(one) == drawn(other)


@pytest.mark.parametrize("cut", [0, 1, 6, 14])
def test_a_picture_goes_on_from_its_checkpoint_as_if_nothing_had_been(
    cut: int, speaker: Speakers, tmp_path: Path
) -> None:
    records = log_of_two(speaker, 5)
    whole, before = Picture("JPN"), Picture("JPN")
    fold(whole, records)
    fold(before, records[:cut])
    before.resume = b"a token of the hub's"
    checkpoint.save(tmp_path, before)
    after = checkpoint.load(tmp_path, "JPN")
    assert (after.cursor, after.resume, drawn(after)) == (before.cursor, before.resume, drawn(before))
    fold(after, records[cut:])
    assert drawn(after) == drawn(whole)
    assert [one.label for one in after.pending.values()] == [one.label for one in whole.pending.values()]


def test_what_stands_in_the_log_is_not_published_again(speaker: Speakers) -> None:
    picture = Picture("JPN")
    fold(picture, log_of_two(speaker, 5))
    total = len(picture.pending)
    published = as_published(picture, speaker("HUB"), 3)
    fold(picture, published)
    assert len(picture.pending) == total - 3


def test_a_log_with_its_pictures_in_it_is_folded_again_without_publishing(speaker: Speakers) -> None:
    records = log_of_two(speaker, 5)
    first = Picture("JPN")
    fold(first, records)
    published = as_published(first, speaker("HUB"), len(first.pending))
    again = Picture("JPN")
    fold(again, [*records, *published])
    assert not again.pending


@pytest.mark.parametrize("damage", [b"", b"rubbish", b"0" * 64 + b"{}"])
def test_a_checkpoint_that_cannot_be_used_is_passed_over(damage: bytes, speaker: Speakers, tmp_path: Path) -> None:
    picture = Picture("JPN")
    fold(picture, log_of_two(speaker, 2))
    checkpoint.save(tmp_path, picture)
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage or path.read_bytes()[:-1])
    assert checkpoint.load(tmp_path, "JPN").cursor == 0


def test_a_record_that_a_view_cannot_digest_is_passed_over_and_nothing_else(speaker: Speakers) -> None:
    records = log_of_two(speaker, 4)
    kor = speaker("KOR")
    content = kor.content(mode=content_pb2.MODE_REAL_WORLD)
    header = kor.header("JPN", content)
    header.mode = content_pb2.MODE_TEST  # as no guard would let it pass: the View raises
    poison = exchange_pb2.Delivery(envelope=kor.seal(header, content.SerializeToString()))
    plain, poisoned = Picture("JPN"), Picture("JPN")
    fold(plain, records)
    fold(poisoned, [*records[:5], poison, *records[5:]])
    assert poisoned.faults == 1
    shapes = [(one.event.revision, one.event.tracks) for one in poisoned.pending.values()]
    assert [shape[0] for shape in shapes] == [one.event.revision for one in plain.pending.values()]


def of_an_exercise(speaker: Speaker, exercise_id: str) -> exchange_pb2.Delivery:
    """Return a launch of an exercise."""
    content = speaker.content(mode=content_pb2.MODE_EXERCISE)
    content.header.exercise.exercise_id, content.header.exercise.rate = exercise_id, 1.0
    return exchange_pb2.Delivery(envelope=speaker.seal(speaker.header("JPN", content), content.SerializeToString()))


def tick_of(exercise_id: str, second: int) -> exchange_pb2.Delivery:
    mode = content_pb2.MODE_EXERCISE if exercise_id else content_pb2.MODE_TEST
    tick = exchange_pb2.HubTick(mode=mode, exercise_id=exercise_id)
    tick.tick.time.FromSeconds(1_700_000_000 + second)
    return exchange_pb2.Delivery(tick=tick)


def exercises_of(picture: Picture) -> set[str]:
    return {key.exercise_id for key in picture.drawings}


def test_the_view_of_an_exercise_that_is_over_is_forgotten_and_real_ones_are_not(
    speaker: Speakers, tmp_path: Path
) -> None:
    silent_s = limits.EXERCISE_FORGOTTEN_NS // SECOND_NS
    picture = Picture("JPN")
    kor = speaker("KOR")
    fold(picture, [exchange_pb2.Delivery(envelope=kor.envelope("JPN")), of_an_exercise(kor, "spring")])
    fold(picture, [tick_of("", 0), tick_of("spring", 0), of_an_exercise(kor, "spring"), tick_of("spring", silent_s)])
    assert exercises_of(picture) == {"", "spring"}
    fold(picture, [of_an_exercise(kor, "spring"), tick_of("spring", silent_s + 10)])
    assert exercises_of(picture) == {"", "spring"}, "what was heard again goes on"
    fold(picture, [tick_of("", 3 * silent_s), tick_of("spring", 3 * silent_s)])
    assert exercises_of(picture) == {""}
    checkpoint.save(tmp_path, picture)
    after = checkpoint.load(tmp_path, "JPN")
    assert after.cursor == picture.cursor
    assert drawn(after) == drawn(picture), "what is pending of it is still published"
    assert [one.exercise for one in after.pending.values()] == [one.exercise for one in picture.pending.values()]


def test_an_origin_that_begins_exercise_upon_exercise_fills_no_memory_and_displaces_nobody(speaker: Speakers) -> None:
    picture = Picture("JPN")
    kor, usa = speaker("KOR"), speaker("USA")
    fold(picture, [of_an_exercise(usa, "theirs"), of_an_exercise(kor, "first")])
    for number in range(20):
        fold(picture, [of_an_exercise(kor, f"more-{number}"), of_an_exercise(kor, "first")])
    last = {f"more-{19 - back}" for back in range(limits.EXERCISES_TICKING_MAX - 1)}
    assert exercises_of(picture) == {"theirs", "first", *last}


def test_a_revision_that_is_lost_is_counted(speaker: Speakers) -> None:
    picture = Picture("JPN")
    fold(picture, log_of_two(speaker, 1))
    settled: list[RevisionKey] = []
    publisher = Publisher(speaker("HUB").keyring, SystemClock(), lambda _, key: settled.append(key))
    first, *_ = picture.pending.values()
    first.event.launch.launch_area.iso_3166_2.extend(["KP-01"] * limits.BODY_BYTES_MAX)
    publisher.offer([first])
    assert publisher.seal_some(1) == []
    assert settled == [first.key]
    assert publisher.lost == {"JPN": 1}


def labelled(level: envelope_pb2.Classification.ValueType, to: list[str], *caveats: str) -> Changed:
    """Return what gives an envelope's header a label."""

    def change(header: envelope_pb2.RoutingHeader) -> None:
        header.label.classification = level
        header.label.releasable_to[:] = to
        header.label.caveats.extend(caveats)

    return change


def test_a_picture_carries_the_join_of_what_went_in(speaker: Speakers) -> None:
    kor, usa = speaker("KOR"), speaker("USA")
    picture = Picture("JPN")
    mild = labelled(envelope_pb2.CLASSIFICATION_RESTRICTED, ["JPN", "USA"])
    strict = labelled(envelope_pb2.CLASSIFICATION_SECRET, ["AUS", "JPN", "USA"], "ORCON")
    narrow = labelled(envelope_pb2.CLASSIFICATION_CONFIDENTIAL, ["AUS", "JPN"], "NO-ONWARD")
    labels = []
    for second, (one, header) in enumerate(((kor, mild), (usa, strict), (kor, narrow), (usa, mild))):
        fold(picture, [exchange_pb2.Delivery(envelope=one.envelope("JPN", content=seen_at(second), header=header))])
        labels.append(list(picture.pending.values())[-1].label)
    assert [label.classification for label in labels] == [
        envelope_pb2.CLASSIFICATION_RESTRICTED,
        *[envelope_pb2.CLASSIFICATION_SECRET] * 3,
    ]
    assert [list(label.releasable_to) for label in labels] == [["JPN", "USA"], ["JPN", "USA"], ["JPN"], ["JPN"]]
    assert [list(label.caveats) for label in labels] == [[], ["ORCON"], *[["NO-ONWARD", "ORCON"]] * 2]
    assert all(label.policy == "HUB" and label.originator_controlled for label in labels), "the owners keep control"


def test_a_picture_of_what_was_released_to_one_alone_names_nobody_else(speaker: Speakers) -> None:
    picture = Picture("JPN")
    fold(picture, log_of_two(speaker, 2))
    assert picture.pending
    assert {tuple(revision.label.releasable_to) for revision in picture.pending.values()} == {("JPN",)}


def test_what_is_not_labelled_makes_a_picture_that_nobody_gets(speaker: Speakers) -> None:
    def bare(header: envelope_pb2.RoutingHeader) -> None:
        header.label.Clear()

    picture = Picture("JPN")
    fold(picture, [exchange_pb2.Delivery(envelope=speaker("KOR").envelope("JPN", content=seen_at(0)))])
    fold(picture, [exchange_pb2.Delivery(envelope=speaker("USA").envelope("JPN", content=seen_at(1), header=bare))])
    assert list(picture.pending.values())[-1].label == envelope_pb2.SecurityLabel(), "5b.3 refuses it"


def test_a_label_survives_a_restart(speaker: Speakers, tmp_path: Path) -> None:
    picture = Picture("JPN")
    header = labelled(envelope_pb2.CLASSIFICATION_SECRET, ["JPN", "USA"], "ORCON")
    sealed = speaker("KOR").envelope("JPN", content=seen_at(0), header=header)
    fold(picture, [exchange_pb2.Delivery(envelope=sealed)])
    checkpoint.save(tmp_path, picture)
    again = checkpoint.load(tmp_path, "JPN")
    assert [one.label for one in again.drawings.values()] == [one.label for one in picture.drawings.values()]
    assert again.cursor == picture.cursor


# --- the process ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def picturing(world: Authority, settings_of: Callable[[Authority], HubSettings]) -> AsyncIterator[Hub]:
    async with serving(replace(settings_of(world), pictures=True)) as hub:
        yield hub


async def pictures(log: Following, events: dict[tuple[bytes, int], int], *, until: int) -> list[envelope_pb2.Envelope]:
    """Read until so many revisions came; count each."""
    found = []
    async with asyncio.timeout(WAIT_S):
        while len(events) < until:
            response = await log.read()
            if response.deliveries:
                await log.call.write(exchange_pb2.FollowRequest(credits=len(response.deliveries)))
            for data in response.deliveries:
                envelope = envelope_pb2.Envelope.FromString(exchange_pb2.Delivery.FromString(data).envelope)
                fused = content_pb2.Content.FromString(envelope.body).fused
                if fused.revision:
                    events[fused.event_id, fused.revision] = events.get((fused.event_id, fused.revision), 0) + 1
                    found.append(envelope)
    return found


async def picture_ready(hub: Hub) -> None:
    async with asyncio.timeout(WAIT_S):
        while not hub.readiness.ready.get("picture"):  # noqa: ASYNC110 - the health service has no event
            await asyncio.sleep(0.05)


def views_processes() -> list[int]:
    """Return the fusion processes that this process has started."""
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            with open(f"/proc/{entry.name}/cmdline", "rb") as file:  # noqa: PTH123
                command = file.read()
            with open(f"/proc/{entry.name}/stat", "rb") as file:  # noqa: PTH123
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"broker.hub.views" in command and parent == os.getpid():
            found.append(int(entry.name))
    return found


async def test_pictures_come_sealed_by_the_hub_and_once_each_though_their_process_is_killed(
    picturing: Hub, world: Authority, speaker: Speakers, line_to: LineTo
) -> None:
    kor, usa = speaker("KOR"), speaker("USA")
    counted: dict[tuple[bytes, int], int] = {}
    async with (
        line_to(picturing.address, world, "KOR") as from_kor,
        line_to(picturing.address, world, "USA") as from_usa,
        line_to(picturing.address, world, "JPN") as jpn,
        from_kor.submitting() as kor_up,
        from_usa.submitting() as usa_up,
        jpn.following() as log,
    ):

        async def report(second: int) -> None:
            for one, up in ((kor, kor_up), (usa, usa_up)):
                (receipt,) = await up.submit(one.envelope("JPN", content=seen_at(second)))
                assert receipt.outcome == exchange_pb2.SUBMIT_OUTCOME_STORED

        await report(0)
        (first, *others) = await pictures(log, counted, until=1)
        header = envelope_pb2.RoutingHeader.FromString(first.header)
        keys = world.members().seal_keys("HUB", header.mode, time.time_ns())
        leaf = leaf_hash(first.header, first.body)
        verify_seal(first.seal, leaf, origin="HUB", recipient="JPN", mode=header.mode, keys=keys)
        assert list(header.label.releasable_to) == ["JPN"]
        for second in range(1, 3):
            await report(second)
        for killed in views_processes():
            os.kill(killed, signal.SIGKILL)
        for second in range(3, 6):
            await report(second)
        sealed = [first, *others, *await pictures(log, counted, until=10)]
        numbers = [envelope_pb2.RoutingHeader.FromString(envelope.header).sequence for envelope in sealed]
        assert numbers == list(range(1, len(numbers) + 1)), "no number is burnt"
        page = generate_latest(picturing.parts.metrics.registry).decode()
        assert 'origin="HUB",reason=' not in page, "and nothing was offered twice"
        assert set(counted.values()) == {1}, "nothing is published twice"
        revisions = sorted(revision for _, revision in counted)
        assert revisions == list(range(1, len(revisions) + 1)), "and nothing is left out"
        await picture_ready(picturing)


async def test_no_picture_is_ready_before_its_kernels_are_and_no_warning_waits_for_them(
    world: Authority,
    settings_of: Callable[[Authority], HubSettings],
    speaker: Speakers,
    line_to: LineTo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A compiler that takes as long as we like, and then turns out to be none.
    began, go = tmp_path / "began", tmp_path / "go"
    slow = f"import pathlib, time\npathlib.Path({str(began)!r}).touch()\n"
    slow += f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.02)\nraise ImportError"
    (tmp_path / "numba.py").write_text(slow)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("VEDETTE_JIT", "on")
    async with serving(replace(settings_of(world), pictures=True)) as hub:
        async with asyncio.timeout(WAIT_S):
            while not began.exists():  # noqa: ASYNC110 - a file has no event
                await asyncio.sleep(0.02)
        assert hub.readiness.ready["routing"]
        async with line_to(hub.address, world, "KOR") as kor, kor.submitting() as up:
            (receipt,) = await up.submit(speaker("KOR").envelope("JPN", content=seen_at(0)))
            assert receipt.outcome == exchange_pb2.SUBMIT_OUTCOME_STORED
        await hub.readiness.look()
        assert not hub.readiness.ready["picture"]
        go.touch()
        await picture_ready(hub)


async def test_the_fusion_process_ends_with_its_hub(
    world: Authority, settings_of: Callable[[Authority], HubSettings]
) -> None:
    async with serving(replace(settings_of(world), pictures=True)) as hub:
        await picture_ready(hub)
        assert len(views_processes()) == 1
    assert views_processes() == []


async def test_a_disk_that_takes_no_checkpoint_does_not_end_the_pictures(
    world: Authority, speaker: Speakers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    members = MembersInForce.start(world.directory / "members.json", world.digest(), SystemClock())
    async with grpc.aio.insecure_channel("localhost:1") as channel:
        views = Views(ExchangeStub(channel), Keyring.load(world.home("HUB")), members, tmp_path / "views")
        picture = views.pictures["JPN"] = Picture("JPN")
        fold(picture, log_of_two(speaker, 2))
        views._save()
        assert "no checkpoint of JPN" in caplog.text
        (tmp_path / "views").mkdir()
        views._save()
    assert picture.saved == picture.cursor > 0
