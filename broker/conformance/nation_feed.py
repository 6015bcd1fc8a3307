"""What a native feed promises: it reads what its sensors write, and nothing else does any harm.

* Every sample is read, and says what the sample's author wrote beneath it.
* A sighting written as a line and read back is the same sighting (`nation_sightings` says how nearly).
* What is read passes intake: checked content, precedence, label, lineage; neither origin nor mode nor exercise.
* One track number is one event until the sensor has dropped it; then it is another.
* A line that was broken on the way is unreadable or says something else, but raises nothing other than UnreadableLine,
  repeats none of its values in the reason, ends in time, and leaves no trace in the adapter.
* Two adapters that read the same lines say the same, also where one of them is opened anew for every line, over the
  memory that the one before it left; and a line that is sent again says the same again.
"""

from __future__ import annotations

import random
import re
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.conformance.error import ConformanceError
from broker.conformance.nation_broken_lines import broken_lines
from broker.conformance.nation_samples import UNREADABLE, Sample, meaning, read_samples
from broker.conformance.nation_sightings import differences, life_of_a_track
from broker.content import check_content
from broker.plugin import Observation, PlainMemory, UnreadableLine
from broker.refusal import Refused
from vedette.v1 import content_pb2, envelope_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.resources.abc import Traversable

    from broker.plugin import Adapter, Nation, NativeFormat, Reported, Sensor

__all__ = ["FeedReport", "check_feed"]

# What the gateway, the hub and fusion alone may say.
NOT_A_NATIONS: Final = frozenset({"fused", "canary", "tick"})
VALUE: Final = re.compile(rb"[0-9]+\.[0-9]+|[0-9]{6,}|[A-Za-z0-9]+-[0-9]+-[0-9]+")
SEED: Final = 20221003
REUSED: Final = 42  # a track number; the next one goes to another object

Answer = tuple[bytes, ...] | None  # what an adapter made of a line, serialised; None: unreadable


@dataclass(frozen=True, slots=True)
class FeedReport:
    """How much was tried."""

    format: str
    sample_lines: int
    round_trips: int
    broken_lines: int
    broken_lines_read: int  # a flipped digit still makes a line


def check_feed(
    nation: Nation, native: NativeFormat, home: Traversable, *, patience_s: float = limits.CONFORMANCE_FEED_S
) -> FeedReport:
    """Check one format. Raises ConformanceError, also where it has not ended after `patience_s`."""
    return _in_time(lambda: _check_feed(nation, native, home), native.name, patience_s)


def _check_feed(nation: Nation, native: NativeFormat, home: Traversable) -> FeedReport:
    samples = read_samples(home, native.name)
    for sample in samples:
        _check_sample(nation, native, sample)
    sensors = [sensor for sensor in nation.sensors if sensor.format == native.name]
    if not sensors:
        raise ConformanceError(f"{native.name}: every format has a sensor that writes it, for exercises")
    written = [line for sensor in sensors for line in _check_sensor(nation, native, sensor)]
    lines = [line for sample in samples for line in sample.readable()] + written
    tried, read = _check_broken(nation, native, lines)
    for session in (*(sample.readable() for sample in samples), written):
        _check_restarts(native, session)
    return FeedReport(native.name, sum(len(sample.lines) for sample in samples), len(written), tried, read)


def _check_sample(nation: Nation, native: NativeFormat, sample: Sample) -> None:
    adapter = native.open(PlainMemory())
    for line, expected in sample.lines:
        try:
            reports = adapter.read(line)
        except UnreadableLine as unreadable:
            if expected == UNREADABLE:
                continue
            raise ConformanceError(f"{sample.name}: every sample is read, but: {unreadable}") from None
        for reported in reports:
            _check_reported(sample.name, nation, reported)
        said = "; ".join(meaning(reported) for reported in reports)
        if said != expected:
            raise ConformanceError(f"{sample.name}: a sample says what stands beneath it: {expected!r}, but: {said!r}")


def _check_sensor(nation: Nation, native: NativeFormat, sensor: Sensor) -> list[bytes]:
    """Write and read the lives of two objects with the same number, and of one with another. Return the lines."""
    adapter, lines = native.open(PlainMemory()), []
    lives = [life_of_a_track(sensor, REUSED, 0), life_of_a_track(sensor, REUSED + 1, 0)]
    lives.append(life_of_a_track(sensor, REUSED, 1_000))
    events, messages = [], set()
    for life in lives:
        named = set()
        for seen in life:
            line = native.write(seen, sensor)
            reported = _read_back(native.name, adapter, line, seen)
            _check_reported(native.name, nation, reported)
            body = reported.content.WhichOneof("body") or ""
            named.add(getattr(reported.content, body).event_id)
            messages.add(reported.content.header.message_id)
            lines.append(line)
        if len(named) != 1:
            raise ConformanceError(f"{native.name}: a track number is one event until it is dropped, not {len(named)}")
        events.append(named.pop())
    if len(set(events)) != len(events):
        raise ConformanceError(f"{native.name}: another number, or the same after a drop, is another event")
    if len(messages) != len(lines):
        raise ConformanceError(f"{native.name}: every line has a message id of its own")
    return lines


def _read_back(where: str, adapter: Adapter, line: bytes, seen: Observation) -> Reported:
    try:
        reports = adapter.read(line)
    except UnreadableLine as unreadable:
        raise ConformanceError(f"{where}: what is written can be read, but {seen.sight.value}: {unreadable}") from None
    if len(reports) != 1:
        raise ConformanceError(f"{where}: a {seen.sight.value} is one report, not {len(reports)}")
    if otherwise := differences(seen, reports[0].content):
        raise ConformanceError(
            f"{where}: what is written is read back, but {seen.sight.value} differs in {', '.join(otherwise)}"
        )
    return reports[0]


def _check_reported(where: str, nation: Nation, reported: Reported) -> None:
    """Check what intake will ask of it, and what is not the adapter's to say."""
    content, header = reported.content, reported.content.header
    body = content.WhichOneof("body")
    if header.origin or header.mode or header.HasField("exercise"):
        raise ConformanceError(f"{where}: origin, mode and exercise are not the adapter's to set")
    if body in NOT_A_NATIONS:
        raise ConformanceError(f"{where}: {body} is not a nation's to say")
    try:
        check_content(content, incoming=False)
    except Refused as refused:
        raise ConformanceError(f"{where}: what an adapter returns passes intake, but: {refused}") from None
    if body is not None and header.lineage.kind != content_pb2.LINEAGE_KIND_RAW:
        raise ConformanceError(f"{where}: a sensor's own line has the lineage RAW")
    if reported.precedence not in envelope_pb2.Precedence.values() or not reported.precedence:
        raise ConformanceError(f"{where}: every report has a precedence")
    label = reported.label
    if label.policy != nation.code or not label.classification:
        raise ConformanceError(f"{where}: every report has the nation's label, with a classification")
    for name, words in (("releasable_to", list(label.releasable_to)), ("caveats", list(label.caveats))):
        if words != sorted(set(words)):
            raise ConformanceError(f"{where}: the label's {name} is sorted and without repeats")
    if nation.code not in label.releasable_to:
        raise ConformanceError(f"{where}: the nation itself is among those to whom its label releases")


class _LookUp(Exception):  # noqa: N818 - a question, not an error
    """What a memory raises that must look first."""


class _Recorded(PlainMemory):
    """A memory as a gateway's: what was reported has to be looked up, and then the line is read again."""

    def __init__(self) -> None:
        super().__init__()
        self.looked_up: set[bytes] = set()

    def reported(self, message_id: bytes) -> content_pb2.Content | None:
        if message_id not in self.looked_up:
            self.looked_up.add(message_id)
            raise _LookUp
        return super().reported(message_id)


def _check_restarts(native: NativeFormat, lines: Sequence[bytes]) -> None:
    """Read lines with one adapter, and with a new one for each over one memory. Twice each, and then all again."""
    steady, memory = native.open(PlainMemory()), _Recorded()
    twice = [line for line in lines for _ in range(2)]
    for line in (*twice, *lines):
        memory.looked_up.clear()
        reports = _read_anew(native, memory, line)
        if [reported.content for reported in reports] != [reported.content for reported in steady.read(line)]:
            raise ConformanceError(f"{native.name}: a session goes on over a restart, but a line was read otherwise")
        for reported in reports:
            memory.contents.setdefault(reported.content.header.message_id, reported.content)


def _read_anew(native: NativeFormat, memory: _Recorded, line: bytes) -> Sequence[Reported]:
    adapter = native.open(memory)
    for _ in range(limits.FIELD_ITEMS_MAX):
        with suppress(_LookUp):
            return adapter.read(line)
    raise ConformanceError(f"{native.name}: a line depends on a few earlier reports, not on more and more of them")


def _check_broken(nation: Nation, native: NativeFormat, lines: Sequence[bytes]) -> tuple[int, int]:
    """Read good lines with broken ones between them, and the same without: the good ones must say the same."""
    quiet, noisy = native.open(PlainMemory()), native.open(PlainMemory())
    dice, read = random.Random(SEED), 0  # noqa: S311 - the same lines each time
    between = max(1, limits.CONFORMANCE_LINES // len(lines))
    noise = broken_lines(lines, dice, limits.CONFORMANCE_LINES)
    tried = 0
    for line in lines:
        for _, broken in zip(range(between), noise, strict=False):
            tried += 1
            answer = _answer(native.name, nation, noisy, broken)
            if answer is not None:  # it was a line after all: both have read it
                read += 1
                _must_agree(native.name, answer, _answer(native.name, nation, quiet, broken))
        _must_agree(native.name, _answer(native.name, nation, noisy, line), _answer(native.name, nation, quiet, line))
    return tried, read


def _answer(where: str, nation: Nation, adapter: Adapter, line: bytes) -> Answer:
    try:
        reports = adapter.read(line)
    except UnreadableLine as unreadable:
        reason = str(unreadable)
        if not reason or len(reason) > limits.DETAIL_CHARS_MAX:
            raise ConformanceError(f"{where}: an unreadable line has a reason, of a few words") from None
        if set(VALUE.findall(reason.encode())) & set(VALUE.findall(line)):
            raise ConformanceError(f"{where}: a reason repeats no value of the line: {reason}") from None
        return None
    except Exception as error:
        # Whatever it is: that is the finding.
        raise ConformanceError(f"{where}: an adapter raises UnreadableLine only, not {type(error).__name__}") from error
    for reported in reports:
        _check_reported(where, nation, reported)
    return tuple(
        reported.content.SerializeToString(deterministic=True)
        + reported.label.SerializeToString(deterministic=True)
        + bytes([reported.precedence])
        for reported in reports
    )


def _must_agree(where: str, noisy: Answer, quiet: Answer) -> None:
    if noisy != quiet:
        raise ConformanceError(f"{where}: an unreadable line leaves no trace, but what followed was read otherwise")


def _in_time(check: Callable[[], FeedReport], where: str, patience_s: float) -> FeedReport:
    """Run the check in a thread, so that an adapter that never returns is a finding and not a hang."""
    done: list[FeedReport | BaseException] = []

    def run() -> None:
        try:
            done.append(check())
        except BaseException as error:  # noqa: BLE001 - carried to the caller, whatever it is
            done.append(error)

    thread = threading.Thread(target=run, name=f"conformance {where}", daemon=True)
    thread.start()
    thread.join(patience_s)
    if not done:
        raise ConformanceError(f"{where}: an adapter is done with any line in time, but after {patience_s:g} s is not")
    if isinstance(done[0], BaseException):
        raise done[0]
    return done[0]
