from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from google.protobuf import json_format

from broker.cli.fusion import fusion
from broker.fusion.replay import BadLine, replay
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from pathlib import Path


def lines(world: Any, *, last_s: float = 34.0, exercise: bool = False) -> list[str]:
    """Return a log of two nations."""
    flight, found = world.fly(), []
    for origin in ("KOR", "JPN"):
        nation = world.nation(origin, content_pb2.MODE_EXERCISE if exercise else content_pb2.MODE_TEST)
        nation.exercise_id = "spring" if exercise else ""
        found += nation.radar(flight, "k", seed=1, first_s=26.0, last_s=last_s)
    return [line(world.ns(arrival_s), content) for arrival_s, content in sorted(found, key=lambda one: one[0])]


def line(arrival_ns: int, content: content_pb2.Content) -> str:
    return json.dumps({"arrival_ns": arrival_ns, "content": json_format.MessageToDict(content)})


def test_every_revision_names_the_line_after_which_it_was_published(world: Any) -> None:
    log = lines(world)
    found = [json.loads(one) for one in replay(log, recipient="JPN")]
    assert [one["fused"]["revision"] for one in found] == [str(number) for number in range(1, len(found) + 1)]
    assert [one["after"] for one in found] == sorted(one["after"] for one in found)
    assert {one["after"] for one in found} <= set(range(1, len(log) + 1))
    json_format.ParseDict(found[-1]["fused"], content_pb2.FusedEvent())


def test_ticks_pass_between_the_lines_and_not_after_the_last(world: Any) -> None:
    log = lines(world)
    quiet = [json.loads(one) for one in replay(log, recipient="JPN")]
    assert "EVENT_STATE_TRACK_LOST" not in {one["fused"]["status"]["state"] for one in quiet}
    heartbeat = world.nation("KOR").content(100.0)
    heartbeat.heartbeat.SetInParent()
    longer = [json.loads(one) for one in replay([*log, line(world.ns(100.0), heartbeat)], recipient="JPN")]
    assert longer[: len(quiet)] == quiet
    lost = longer[len(quiet) :]
    assert [one["fused"]["status"]["state"] for one in lost] == ["EVENT_STATE_TRACK_LOST"]
    assert lost[0]["after"] == len(log)


def test_ticks_of_the_log_itself_are_obeyed_instead(world: Any) -> None:
    tick = content_pb2.Content()
    tick.header.mode = content_pb2.MODE_TEST
    tick.tick.time.CopyFrom(world.stamp(70.0))
    log = [*lines(world), line(world.ns(35.0), tick)]
    found = [json.loads(one) for one in replay(log, recipient="JPN")]
    assert found[-1]["after"] == len(log)
    assert found[-1]["fused"]["status"]["state"] == "EVENT_STATE_TRACK_LOST"


def test_a_tick_that_names_no_view_goes_to_every_view_that_it_may_mean(world: Any) -> None:
    def lost(tick: content_pb2.Content) -> set[str]:
        """Return the events that a Tick a minute later says to be lost."""
        tick.tick.time.CopyFrom(world.stamp(95.0))
        log = [*lines(world), *lines(world, exercise=True), line(world.ns(35.0), tick)]
        found = [json.loads(one) for one in replay(log, recipient="JPN")]
        lost = [one for one in found if one["fused"]["status"]["state"] == "EVENT_STATE_TRACK_LOST"]
        assert {one["after"] for one in lost} <= {len(log)}
        return {one["fused"]["eventId"] for one in lost}

    header = content_pb2.ContentHeader
    of_test = lost(content_pb2.Content(header=header(mode=content_pb2.MODE_TEST)))
    spring = content_pb2.Exercise(exercise_id="spring")
    of_spring = lost(content_pb2.Content(header=header(mode=content_pb2.MODE_EXERCISE, exercise=spring)))
    assert (len(of_test), len(of_spring)) == (1, 1)
    assert lost(content_pb2.Content()) == of_test | of_spring
    assert lost(content_pb2.Content(header=header(mode=content_pb2.MODE_EXERCISE))) == of_spring
    assert lost(content_pb2.Content(header=header(exercise=spring))) == of_spring


def test_an_exercise_has_a_view_and_a_time_of_its_own(world: Any) -> None:
    base = content_pb2.Exercise(exercise_id="spring", rate=10.0)
    base.wall_zero.CopyFrom(world.stamp(1_000.0))
    base.exercise_zero.CopyFrom(world.stamp(0.0))
    log = []
    for one in lines(world, exercise=True):
        document = json.loads(one)
        content = json_format.ParseDict(document["content"], content_pb2.Content())
        content.header.exercise.CopyFrom(base)
        exercise_ns = document["arrival_ns"] - world.ZERO_NS
        log.append(line(world.ns(1_000.0) + exercise_ns // 10, content))
    mixed = [*log, *lines(world)]
    mixed.sort(key=lambda one: json.loads(one)["arrival_ns"])
    alone = [json.loads(one)["fused"]["tracks"] for one in replay(log, recipient="JPN")]
    both = [json.loads(one)["fused"] for one in replay(mixed, recipient="JPN")]
    assert len({one["eventId"] for one in both}) == 2
    assert alone == [one["tracks"] for one in both if one["eventId"] == both[-1]["eventId"]]


def test_the_same_log_gives_the_same_bytes_in_every_process(world: Any, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(lines(world)) + "\n")
    script = "from broker.cli.fusion import fusion; fusion()"
    outputs = set()
    for seed in ("1", "2"):
        arguments = [sys.executable, "-c", script, "replay", str(log), "--recipient", "JPN"]
        run = subprocess.run(  # noqa: S603 - our own command
            arguments, check=True, capture_output=True, env=os.environ | {"PYTHONHASHSEED": seed}
        )
        outputs.add(run.stdout)
    (output,) = outputs
    assert output.decode().splitlines() == list(replay(lines(world), recipient="JPN"))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "expected"),
        ('{"arrival_ns": 1}', "expected"),
        ('{"arrival_ns": -1, "content": {}}', "arrival_ns"),
        ('{"arrival_ns": true, "content": {}}', "arrival_ns"),
        ('{"arrival_ns": 1.5, "content": {}}', "arrival_ns"),
        ('{"arrival_ns": 1, "content": []}', "content"),
        ('{"arrival_ns": 1, "content": {"nonsense": 1}}', "not a Content"),
        ('{"arrival_ns": 1, "content": {"header": {"mode": "MODE_OF_ANOTHER_KIND"}}}', "not a Content"),
        ('{"arrival_ns": 1800000000000000000, "content": {}}', "more than a week"),
        ('{"arrival_ns": 1, "content": {"header": {"exercise": {"rate": 100.1}}}}', "rate"),
        ('{"arrival_ns": 1, "content": {"header": {"exercise": {"rate": 1e300}}}}', "rate"),
        ('{"arrival_ns": 1, "content": {"header": {"exercise": {"rate": 0.009}}}}', "rate"),
        ('{"arrival_ns": 1, "content": {"header": {"exercise": {"rate": -1}}}}', "rate"),
        ('{"arrival_ns": 1, "content": {"header": {"exercise": {"rate": "NaN"}}}}', "rate"),
    ],
)
def test_a_bad_line_is_named_before_anything_is_printed(world: Any, bad: str, reason: str) -> None:
    log = lines(world)
    log.insert(3, bad)
    with pytest.raises(BadLine, match=rf"line 4: .*{reason}"):
        next(replay(log, recipient="JPN"))
    run = CliRunner().invoke(fusion, ["replay", "-", "--recipient", "JPN"], input="\n".join(log))
    assert run.exit_code == 1
    assert run.stdout == ""
    assert "line 4" in run.stderr


def test_a_gap_with_more_ticks_than_anybody_waits_for_is_refused(world: Any) -> None:
    base = content_pb2.Exercise(exercise_id="spring", rate=100.0)
    base.wall_zero.CopyFrom(world.stamp(0.0))
    base.exercise_zero.CopyFrom(world.stamp(0.0))
    first = world.nation("KOR", content_pb2.MODE_EXERCISE).content(0.0)
    first.heartbeat.SetInParent()
    first.header.exercise.CopyFrom(base)
    day = 24 * 3600.0
    log = [line(world.ns(0.0), first), line(world.ns(day), first)]
    with pytest.raises(BadLine, match=r"line 2: more than 604800 seconds of its Views pass"):
        next(replay(log, recipient="JPN"))
    tick = content_pb2.Content()
    tick.tick.time.CopyFrom(world.stamp(100.0 * day))
    assert list(replay([log[0], line(world.ns(day), tick), log[1]], recipient="JPN")) == []


@pytest.mark.parametrize("recipient", ["", "jpn", "JP", "JPN\n", "1PN", "JPNJPNJPN", "日本国"])
def test_a_recipient_that_is_no_members_code_is_wrong_usage(recipient: str) -> None:
    run = CliRunner().invoke(fusion, ["replay", "-", "--recipient", recipient], input="")
    assert run.exit_code == 2
    assert "--recipient" in run.stderr


def test_numbers_as_protojson_writes_them_are_read(world: Any) -> None:
    log = lines(world)
    text = [one.replace('"arrival_ns": ', '"arrival_ns": "').replace(', "content"', '", "content"', 1) for one in log]
    assert list(replay(text, recipient="JPN")) == list(replay(log, recipient="JPN"))
