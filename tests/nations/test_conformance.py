"""A nation that breaks a promise is refused by name of the promise."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from broker.conformance import ConformanceError, check_nation
from broker.conformance.nation_policy import check_policy
from broker.plugin import Adapter, Memory, Nation, Observation, PlainMemory, Reported, Sensor, UnreadableLine
from nations.jpn import NATION
from nations.jpn.adapter import parse
from nations.session import Session
from vedette.v1 import content_pb2, envelope_pb2, measures_pb2

FORMAT = NATION.formats["radar-csv"]
NO_KIND = measures_pb2.SENSOR_KIND_UNSPECIFIED
NO_PRECEDENCE = envelope_pb2.PRECEDENCE_UNSPECIFIED
Change = Callable[[Reported], Reported]


class Changed:
    """The Japanese adapter, with something done to each report."""

    def __init__(self, change: Change) -> None:
        self.inner = FORMAT.open(PlainMemory())
        self.change = change

    def read(self, line: bytes) -> Sequence[Reported]:
        return [self.change(reported) for reported in self.inner.read(line)]


class Raising:
    """The Japanese adapter, with another error for what it cannot read."""

    def __init__(self, error: Callable[[bytes], Exception]) -> None:
        self.inner = FORMAT.open(PlainMemory())
        self.error = error

    def read(self, line: bytes) -> Sequence[Reported]:
        try:
            return self.inner.read(line)
        except UnreadableLine:
            raise self.error(line) from None


class Counting:
    """An adapter in which an unreadable line leaves a trace: it counts them into the next message's id."""

    def __init__(self) -> None:
        self.inner = FORMAT.open(PlainMemory())
        self.unreadable = 0

    def read(self, line: bytes) -> Sequence[Reported]:
        try:
            reports = self.inner.read(line)
        except UnreadableLine:
            self.unreadable += 1
            raise
        for reported in reports:
            reported.content.header.message_id += str(self.unreadable).encode()
        return reports


class Forgetful:
    """An adapter that reads every line as if it were the first."""

    def read(self, line: bytes) -> Sequence[Reported]:
        return Session(parse, PlainMemory()).read(line)


def with_adapter(make: Callable[[], Adapter]) -> Nation:
    return with_session(lambda _memory: make())


def with_session(make: Callable[[Memory], Adapter]) -> Nation:
    return replace(NATION, formats={FORMAT.name: replace(FORMAT, open=make)})


def with_change(change: Callable[[Reported], None]) -> Nation:
    def applied(reported: Reported) -> Reported:
        change(reported)
        return reported

    return with_adapter(lambda: Changed(applied))


def with_writer(write: Callable[[Observation, Sensor], bytes]) -> Nation:
    return replace(NATION, formats={FORMAT.name: replace(FORMAT, write=write)})


def broken(nation: Nation, promise: str, *, policy_text: str | None = None, patience_s: float = 60.0) -> None:
    with pytest.raises(ConformanceError, match=promise):
        check_nation(nation, policy_text=policy_text, patience_s=patience_s)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A copy of Japan's folder, to be spoilt."""
    assert isinstance(NATION.home, Path)
    return Path(shutil.copytree(NATION.home, tmp_path / "jpn", ignore=shutil.ignore_patterns("__pycache__")))


# --- the nation as a whole --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nation", "promise"),
    [
        (replace(NATION, code="jp"), "alpha-3"),
        (replace(NATION, formats={}), "at least one native format"),
        (replace(NATION, formats={"csv": FORMAT}), "the name of the format itself"),
        (replace(NATION, home=None), "a nation has a folder"),
        (replace(NATION, sensors=()), "every format has a sensor"),
        (replace(NATION, sensors=(*NATION.sensors, *NATION.sensors)), "a name of its own"),
        (replace(NATION, sensors=(replace(NATION.sensors[0], format="morse"),)), "its format is one of the nation's"),
        (replace(NATION, sensors=(replace(NATION.sensors[0], name="Aegis 1"),)), "a name is lower case"),
        (replace(NATION, sensors=(replace(NATION.sensors[0], kind=NO_KIND),)), "it has a kind"),
        (replace(NATION, sensors=(replace(NATION.sensors[0], dropout=1.5, period_s=0.0),)), "period_s, dropout cannot"),
    ],
)
def test_code_formats_sensors_and_home_fit_together(nation: Nation, promise: str) -> None:
    broken(nation, promise)


@pytest.mark.parametrize("name", ["README.md", "release.yaml", "release.test.yaml"])
def test_every_file_is_there(home: Path, name: str) -> None:
    (home / name).unlink()
    broken(replace(NATION, home=home), f"{name} is missing")


# --- samples ----------------------------------------------------------------------------------------------------------


def test_every_format_has_samples(home: Path) -> None:
    shutil.rmtree(home / "samples")
    broken(replace(NATION, home=home), "every format has samples")


def test_a_sample_says_what_stands_beneath_it(home: Path) -> None:
    sample = home / "samples" / "radar-csv" / "corrections.txt"
    sample.write_text(sample.read_text().replace("0042#2", "0042"))
    broken(replace(NATION, home=home), "a sample says what stands beneath it: .* but: .*#2")


def test_every_sample_is_read(home: Path) -> None:
    sample = home / "samples" / "radar-csv" / "launch_over_japan.txt"
    sample.write_text(sample.read_text().replace("ALL_CLEAR", "ALL_OVER"))
    broken(replace(NATION, home=home), "every sample is read, but: state")


# --- reading and writing ----------------------------------------------------------------------------------------------


def test_what_is_written_is_read_back() -> None:
    def shifted(observation: Observation, sensor: Sensor) -> bytes:
        if observation.position_m is not None:
            x, y, z = observation.position_m
            observation = replace(observation, position_m=(x + 50.0, y, z))
        return FORMAT.write(observation, sensor)

    broken(with_writer(shifted), "read back, but track differs in state.position_m")


def test_no_sensor_looks_better_than_it_is() -> None:
    def flattering(observation: Observation, sensor: Sensor) -> bytes:
        halved = tuple(term / 2.0 for term in observation.covariance)
        return FORMAT.write(replace(observation, covariance=halved), sensor)

    broken(with_writer(flattering), "differs in state.covariance")


def test_what_is_written_can_be_read() -> None:
    broken(with_writer(lambda observation, _sensor: observation.sensor.encode()), "what is written can be read")


def test_a_number_used_again_after_a_drop_is_another_event(home: Path) -> None:
    for sample in (home / "samples" / "radar-csv").iterdir():
        sample.write_text(sample.read_text().replace("#2", ""))
    broken(replace(with_adapter(Forgetful), home=home), "the same after a drop, is another event")


def set_origin(reported: Reported) -> None:
    reported.content.header.origin = "JPN"


def set_mode(reported: Reported) -> None:
    reported.content.header.mode = content_pb2.MODE_REAL_WORLD


def clear_lineage(reported: Reported) -> None:
    reported.content.header.ClearField("lineage")


def empty_id(reported: Reported) -> None:
    reported.content.header.message_id = b""


def tick(reported: Reported) -> None:
    reported.content.tick.time.seconds = 1


def other_label(reported: Reported) -> None:
    reported.label.policy = "USA"


def unclassified(reported: Reported) -> None:
    reported.label.classification = envelope_pb2.CLASSIFICATION_UNSPECIFIED


def not_ours(reported: Reported) -> None:
    reported.label.releasable_to.remove("JPN")


def unsorted(reported: Reported) -> None:
    reported.label.releasable_to.append("AUS")


@pytest.mark.parametrize(
    ("change", "promise"),
    [
        (set_origin, "origin, mode and exercise are not the adapter's"),
        (set_mode, "origin, mode and exercise are not the adapter's"),
        (clear_lineage, "the lineage RAW"),
        (empty_id, "passes intake, but: MISSING_FIELD"),
        (tick, "tick is not a nation's to say"),
        (other_label, "has the nation's label"),
        (unclassified, "with a classification"),
        (not_ours, "the nation itself is among"),
        (unsorted, "releasable_to is sorted"),
    ],
)
def test_what_is_read_passes_intake_and_claims_no_more(change: Callable[[Reported], None], promise: str) -> None:
    broken(with_change(change), promise)


def test_every_report_has_a_precedence() -> None:
    nation = with_adapter(lambda: Changed(lambda reported: replace(reported, precedence=NO_PRECEDENCE)))
    broken(nation, "every report has a precedence")


# --- broken lines -----------------------------------------------------------------------------------------------------


def without_unreadable_samples(home: Path) -> Path:
    (home / "samples" / "radar-csv" / "refused.txt").unlink()
    return home


def test_nothing_but_unreadable_line_is_raised(home: Path) -> None:
    nation = with_adapter(lambda: Raising(lambda _line: KeyError("record")))
    broken(replace(nation, home=without_unreadable_samples(home)), "raises UnreadableLine only, not KeyError")


def test_a_reason_repeats_no_value() -> None:
    nation = with_adapter(lambda: Raising(lambda line: UnreadableLine(f"cannot read {line[:40]!r}")))
    broken(nation, "a reason repeats no value")


def test_an_unreadable_line_has_a_reason() -> None:
    broken(with_adapter(lambda: Raising(lambda _line: UnreadableLine(""))), "an unreadable line has a reason")


def test_an_unreadable_line_leaves_no_trace() -> None:
    broken(with_adapter(Counting), "leaves no trace")


def test_a_session_goes_on_over_a_restart() -> None:
    broken(with_session(lambda _memory: FORMAT.open(PlainMemory())), "goes on over a restart")


class Deaf(PlainMemory):
    """A memory that does not let pass what the real one raises: nothing was ever reported."""

    def __init__(self, inner: Memory) -> None:
        self.inner = inner

    def noted(self) -> Mapping[str, bytes]:
        return self.inner.noted()

    def note(self, name: str, value: bytes) -> None:
        self.inner.note(name, value)

    def reported(self, message_id: bytes) -> content_pb2.Content | None:
        found = None
        with suppress(Exception):
            found = self.inner.reported(message_id)
        return found


def test_what_looking_up_an_earlier_report_raises_passes_through_the_adapter() -> None:
    broken(with_session(lambda memory: FORMAT.open(Deaf(memory))), "goes on over a restart")


def test_an_adapter_that_never_returns_is_found_out() -> None:
    released = threading.Event()

    class Stuck:
        def read(self, line: bytes) -> Sequence[Reported]:
            released.wait(30.0)
            return FORMAT.open(PlainMemory()).read(line)

    try:
        broken(with_adapter(Stuck), "done with any line in time", patience_s=0.2)
    finally:
        released.set()


# --- policy -----------------------------------------------------------------------------------------------------------


def text_of(name: str) -> str:
    assert NATION.home is not None
    return (NATION.home / name).read_text("utf-8")


def broken_policy(promise: str, before: str, after: str) -> None:
    policy = text_of("release.yaml")
    assert before in policy
    with pytest.raises(ConformanceError, match=promise):
        check_policy("JPN", policy.replace(before, after), text_of("release.test.yaml"))


@pytest.mark.parametrize(
    ("before", "after", "promise"),
    [
        ("nation: JPN", "nation: KOR", "a policy can be read, but"),
        ("effect: deny", "effect: dny", "a policy can be read, but line .* unknown effect"),
        ("  status_reason: [status.reason]\n", "  status_reason: []\n", "every leaf stands in a group, but not status"),
        ("track_place: 1km", "track_place: 10km", "every test passes, but a ship's track"),
    ],
)
def test_the_policy_is_read_placed_and_tested(before: str, after: str, promise: str) -> None:
    broken_policy(promise, before, after)


def test_every_rule_is_tried() -> None:
    more = """rules:
- id: JPN-D9
  effect: deny
  to: [KOR]
  when: 'body == "notice" && content.notice.reference == "never tried"'
  reason: nobody tests this
"""
    broken_policy("every rule is tried, but not JPN-D9", "rules:\n", more)


def test_the_tests_can_be_read() -> None:
    with pytest.raises(ConformanceError, match="tests can be read, but"):
        check_policy("JPN", text_of("release.yaml"), "tests: 5\n")


def test_another_policy_can_be_checked_in_place_of_the_nations_own() -> None:
    one_sensor = replace(NATION, sensors=NATION.sensors[:1])
    assert check_nation(one_sensor, policy_text=text_of("release.yaml")).code == "JPN"
    broken(one_sensor, "a policy can be read, but", policy_text=text_of("release.yaml").replace("nation: JPN", ""))
