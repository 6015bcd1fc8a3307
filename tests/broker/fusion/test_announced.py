"""The public launches of `broker/exercise/data/launches.csv`, each nation's announcements folded into one picture.

A case is a row of the table: its column `source` cites where the figures come from, `disagreement` how they differ.
What a nation announced becomes what it would have sent: a launch with time, site, direction, class and count, and where
the announced range leads. Announcements came after the event and to the minute; what was revised, was revised later
still, which is what is tried here: that the picture keeps every nation's word, says where they differ for as long as
they do, takes a revision however late, and leaves no alarm standing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from broker import geodesy
from broker.exercise.announcements import AnnouncedLaunch, Span, read_launches
from broker.fusion.outcome import OVER
from broker.fusion.view import View
from broker.instant import timestamp
from broker.limits import SECOND_NS
from vedette.v1 import content_pb2, measures_pb2
from vedette.v1.measures_pb2 import MissileClass

if TYPE_CHECKING:
    from collections.abc import Iterable

LAUNCHES = read_launches()
MEMBERS = ("KOR", "USA", "JPN")
SITE_M, RANGE_M = 10_000.0, 25_000.0  # what an announced site and an announced range are good for, 95 %
MINUTE_NS, HOUR_NS = 60 * SECOND_NS, 3_600 * SECOND_NS


class Case(NamedTuple):
    """What a picture must show of a row."""

    row: str
    speakers: str
    missiles: tuple[int, int] | None  # least and most that anybody announced
    differ: frozenset[str] = frozenset()  # in which fields they contradict each other


COUNT, PLACE = "count", "area.ellipse.centre"
CASES = (
    Case("L01", "KOR JPN", None),
    Case("L02", "KOR JPN", None),
    Case("L03", "KOR JPN", None),
    Case("L04", "KOR USA JPN", None),  # 45 and 47.2 minutes of flight, but the same range
    Case("L05", "KOR USA", (2, 3), frozenset({COUNT})),  # "several" and three
    Case("L06", "KOR USA JPN", (1, 3), frozenset({COUNT})),  # a break-up seen as three
    Case("L07", "KOR", None),
    Case("L11", "KOR JPN", (2, 2)),  # two minutes apart
    Case("L13", "KOR JPN", None),  # the same class under two names
    Case("L15", "KOR JPN", (6, 8), frozenset({COUNT})),  # eight and six
    Case("L16", "KOR JPN", None, frozenset({PLACE})),  # 600 and 400 km
    Case("L17", "KOR JPN", None, frozenset({PLACE})),  # 4500 and 4600 km
    Case("L18", "KOR JPN", None),  # 760 and 750 km; before that, an overflight
    Case("L21", "KOR JPN", (1, 1)),
    Case("L23", "KOR JPN", (1, 1)),
    Case("L25", "KOR JPN", (1, 1)),
    Case("L26", "KOR JPN", (1, 1), frozenset({PLACE})),  # 570 and 400 km
    Case("L28", "KOR JPN", (1, 1), frozenset({PLACE})),  # 1000 and at least 500 km: it manoeuvred
)


class Announcer:
    """One nation's announcements of one launch, as its gateway would release them."""

    def __init__(self, code: str, row: AnnouncedLaunch) -> None:
        self.code, self.row = code, row
        self.said = row.statements[code]
        self.time_ns = row.time_ns if self.said.time_ns is None else self.said.time_ns
        self.numbers = 0

    def content(self, after_s: float, corrects: content_pb2.Content | None = None) -> content_pb2.Content:
        """Return a message without its body."""
        self.numbers += 1
        content = content_pb2.Content()
        header = content.header
        header.message_id, header.origin = f"{self.code}/{self.numbers}".encode().ljust(16, b"."), self.code
        header.mode = content_pb2.MODE_TEST
        header.lineage.kind = content_pb2.LINEAGE_KIND_RAW
        header.observed_at.CopyFrom(timestamp(self.row.time_ns + round(after_s * SECOND_NS)))
        if corrects is not None:
            header.references.add(message_id=corrects.header.message_id, relation=content_pb2.RELATION_CORRECTS)
        return content

    def launch(
        self,
        after_s: float,
        *,
        missile_class: MissileClass.ValueType | None = None,
        count: int | None = None,
        corrects: content_pb2.Content | None = None,
    ) -> content_pb2.Content:
        """Return the launch; with another class or count than the table's where one is given."""
        content, row = self.content(after_s, corrects), self.row
        launch = content.launch
        launch.event_id = self.code.encode()
        launch.launch_time.best.CopyFrom(timestamp(self.time_ns))
        launch.launch_time.cell.time.FromNanoseconds(MINUTE_NS)
        circle(launch.launch_area, row.lat_deg, row.lon_deg, SITE_M)
        launch.azimuth_deg, launch.azimuth_sigma_deg = row.azimuth_deg, 5.0
        launch.classes.add(missile_class=missile_class or row.missile_class, probability=1.0)
        number = count if count is not None else self.said.count
        if number is not None:
            launch.count.least = launch.count.most = number
        return content

    def impact(
        self, after_s: float, *, range_m: float, passes: bool = False, corrects: content_pb2.Content | None = None
    ) -> content_pb2.Content:
        """Return where a range leads along the row's azimuth."""
        content, row = self.content(after_s, corrects), self.row
        content.impact.event_id = self.code.encode()
        circle(content.impact.area, *geodesy.destination(row.lat_deg, row.lon_deg, row.azimuth_deg, range_m), RANGE_M)
        content.impact.overflight_only = passes
        content.impact.time.best.CopyFrom(timestamp(self.time_ns + round(flown_s(row) * SECOND_NS)))
        content.impact.time.cell.time.FromNanoseconds(MINUTE_NS)
        return content

    def status(self, after_s: float, state: content_pb2.EventState.ValueType) -> content_pb2.Content:
        """Return a word on the whole."""
        content = self.content(after_s)
        content.status.event_id, content.status.state = self.code.encode(), state
        return content

    def announced(self, after_s: float = 900.0) -> list[content_pb2.Content]:
        """Return all that the table has of this nation."""
        found = [self.launch(after_s)]
        if self.said.range_m is not None and self.said.range_m.single:
            found.append(self.impact(after_s + 1.0, range_m=self.said.range_m.least))
        return found


def circle(area: measures_pb2.Area, lat_deg: float, lon_deg: float, radius_m: float) -> None:
    ellipse = area.ellipse
    ellipse.centre.lat_deg, ellipse.centre.lon_deg = lat_deg, lon_deg
    ellipse.semi_major_m = ellipse.semi_minor_m = radius_m
    ellipse.probability = 0.95


def flown_s(row: AnnouncedLaunch) -> float:
    """Return the announced time of flight, or what the apogee says of a thrown stone."""
    apogees = [said.apogee_m.least for said in row.statements.values() if said.apogee_m is not None]
    return row.flight_time_s or 2.1 * math.sqrt(2.0 * max(apogees, default=5e5) / 9.8)


class Story:
    """A recipient's View of a row: its log's time is that of the world."""

    def __init__(self, row: AnnouncedLaunch, recipient: str = "JPN") -> None:
        self.row = row
        self.view = View(recipient, content_pb2.MODE_TEST)
        self.records = 0
        self.newest: dict[bytes, content_pb2.FusedEvent] = {}
        self.revisions: list[content_pb2.FusedEvent] = []
        self.wait(0.0)

    def wait(self, until_s: float) -> None:
        """Let the time since the launch be this."""
        self.records += 1
        time_ns = self.row.time_ns + round(until_s * SECOND_NS)
        self._note(self.view.tick(position=self.records.to_bytes(8, "big"), time_ns=time_ns))

    def take(self, *contents: content_pb2.Content) -> None:
        """Take messages in when they were true."""
        for content in contents:
            after_ns = content.header.observed_at.ToNanoseconds() - self.row.time_ns
            self.wait(max(after_ns / SECOND_NS, 0.0))
            self.records += 1
            self._note(self.view.fold(position=self.records.to_bytes(8, "big"), content=content))

    def _note(self, revisions: Iterable[content_pb2.FusedEvent]) -> None:
        for event in revisions:
            self.newest[event.event_id] = event
            self.revisions.append(event)

    def only(self) -> content_pb2.FusedEvent:
        """Return the one event that there is."""
        merged = {number for event in self.newest.values() for number in event.merged_event_ids}
        (event,) = (event for number, event in self.newest.items() if number not in merged)
        return event


def announcers(row: AnnouncedLaunch) -> dict[str, Announcer]:
    """Return the members that announced anything of a launch."""
    nothing = (None, None, None, None)
    said = {code: row.statements[code] for code in MEMBERS}
    return {
        code: Announcer(code, row)
        for code, one in said.items()
        if (one.time_ns, one.count, one.range_m, one.apogee_m) != nothing
    }


def differing(event: content_pb2.FusedEvent) -> dict[str, float]:
    """Return the fields in which nations differ, with the greatest distance."""
    found: dict[str, float] = {}
    for one in event.disagreements:
        found[one.field_path] = max(found.get(one.field_path, 0.0), one.normalized_distance)
    return found


def words(event: content_pb2.FusedEvent) -> dict[str, content_pb2.Contribution]:
    return {one.origin: one for one in event.contributions}


def test_every_row_of_the_table_is_a_case() -> None:
    assert [case.row for case in CASES] == list(LAUNCHES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.row)
def test_what_nations_announced_of_a_launch_is_one_event_that_keeps_and_shows_how_they_differ(case: Case) -> None:
    row = LAUNCHES[case.row]
    speaking = announcers(row)
    assert " ".join(speaking) == case.speakers
    story = Story(row)
    contents = [content for one in speaking.values() for content in one.announced()]
    story.take(*sorted(contents, key=lambda content: content.header.observed_at.ToNanoseconds()))
    event = story.only()
    for content in contents:
        kept = words(event)[content.header.origin]
        body = content.WhichOneof("body")
        assert body in {"launch", "impact"}
        assert getattr(kept, body) == getattr(content, body), "every nation's word stands as it said it"
    assert differing(event).keys() == case.differ, row.disagreement
    fused = event.launch
    assert ((fused.count.least, fused.count.most) if fused.HasField("count") else None) == case.missiles
    assert [(one.missile_class, one.probability) for one in fused.classes] == [(row.missile_class, 1.0)]


def test_the_order_in_which_nations_announce_leaves_no_trace() -> None:
    """2022-06-05 (L15): eight missiles in Seoul, six in Tokyo."""
    pictures: list[content_pb2.FusedEvent] = []
    for codes in (("KOR", "JPN"), ("JPN", "KOR")):
        story = Story(LAUNCHES["L15"])
        speaking = announcers(LAUNCHES["L15"])
        story.take(*(content for code in codes for content in speaking[code].announced()))
        event = story.only()
        assert differing(event)["count"] == 2.0, "the gap between six and eight"
        pictures.append(event)
    one, two = pictures
    assert one.event_id != two.event_id, "the track number comes from who was first, and nothing else does"
    for picture in pictures:
        picture.launch.ClearField("event_id")
    assert one.launch == two.launch
    assert list(one.disagreements) == list(two.disagreements)
    assert list(one.contributions) == list(two.contributions)


def test_a_count_that_is_corrected_is_disputed_no_longer() -> None:
    """2017-08-28 (L06): a missile that broke up was announced as three in Tokyo, and later as one."""
    story, speaking = Story(LAUNCHES["L06"]), announcers(LAUNCHES["L06"])
    first = speaking["JPN"].announced()
    story.take(*first, *speaking["KOR"].announced(), *speaking["USA"].announced())
    assert differing(story.only())["count"] == 2.0
    story.take(speaking["JPN"].launch(6_000.0, count=1, corrects=first[0]))
    event = story.only()
    assert "count" not in differing(event)
    assert (event.launch.count.least, event.launch.count.most) == (1, 1)


@pytest.mark.parametrize(
    ("row", "other", "said"),
    [
        # The United States called it intermediate first, and intercontinental later.
        ("L03", "KOR", MissileClass.MISSILE_CLASS_IRBM),
        # Artillery rockets in Seoul's first word, a short-range missile in its last.
        ("L05", "KOR", MissileClass.MISSILE_CLASS_ROCKET_ARTILLERY),
        # "Medium range or longer" in Seoul, "possibly of the class of ICBMs" in Tokyo.
        ("L23", "KOR", MissileClass.MISSILE_CLASS_MRBM),
    ],
)
def test_classes_that_conflict_are_weighted_and_said_to_conflict_until_they_are_revised(
    row: str, other: str, said: MissileClass.ValueType
) -> None:
    launch = LAUNCHES[row]
    story, speaking = Story(launch), announcers(launch)
    first = speaking[other].launch(600.0, missile_class=said)
    rest = [one.launch(700.0) for code, one in speaking.items() if code != other]
    story.take(first, *rest)
    event = story.only()
    assert differing(event)["classes"] == 1.0
    weights = {one.missile_class: one.probability for one in event.launch.classes}
    assert weights.keys() == {said, launch.missile_class}
    assert sum(weights.values()) == pytest.approx(1.0, abs=0.01)
    story.take(speaking[other].launch(7_200.0, corrects=first))
    event = story.only()
    assert "classes" not in differing(event)
    assert [(one.missile_class, one.probability) for one in event.launch.classes] == [(launch.missile_class, 1.0)]
    assert words(event)[other].launch.classes[0].missile_class == launch.missile_class


@pytest.mark.parametrize("row", ["L16", "L26"])
def test_a_range_that_is_revised_hours_after_the_impact_ends_the_dispute_and_raises_no_alarm(row: str) -> None:
    """2022-09-24 (L16): Tokyo raised its 400 km to Seoul's figure later; 2023-12-17 (L26) as if it had."""
    launch = LAUNCHES[row]
    story, speaking = Story(launch), announcers(launch)
    contents = {code: one.announced(120.0) for code, one in speaking.items()}
    story.take(*(content for every in contents.values() for content in every))
    disputed = differing(story.only())["area.ellipse.centre"]
    assert disputed > 5.0
    for after_s in (600.0, 900.0, 1_500.0, 3_600.0, 3 * 3_600.0):
        story.wait(after_s)
    over = story.only()
    assert over.status.state == content_pb2.EVENT_STATE_IMPACTED
    assert not story.view.board.events, "it is put away by now"
    said = launch.statements["KOR"].range_m
    assert said is not None
    revised = speaking["JPN"].impact(3 * 3_600.0 + 60.0, range_m=said.least, corrects=contents["JPN"][1])
    story.take(revised)
    event = story.only()
    assert event.event_id == over.event_id
    assert event.revision == over.revision + 1
    assert "area.ellipse.centre" not in differing(event)
    assert words(event)["JPN"].impact == revised.impact
    assert words(event)["KOR"].impact == contents["KOR"][1].impact, "what was put away is all there again"
    assert words(event)["JPN"].launch == contents["JPN"][0].launch
    story.wait(5 * 3_600.0)
    assert story.only().status.state in OVER
    assert not story.view.board.events


def test_an_overflight_that_was_announced_falsely_is_withdrawn_and_leaves_nothing_standing() -> None:
    """2022-11-02 (L18): J-Alert said that it had flown over Japan; within the hour, that it was lost over the sea."""
    launch = LAUNCHES["L18"]
    story, speaking = Story(launch), announcers(launch)
    begun = speaking["JPN"].launch(300.0)
    over = speaking["JPN"].impact(600.0, range_m=1_900_000.0, passes=True)
    story.take(begun, over)
    assert story.only().impacts[0].overflight_only
    story.take(*speaking["KOR"].announced(1_200.0))
    assert differing(story.only())["area.ellipse.centre"] > 5.0
    said = launch.statements["JPN"].range_m
    assert said == Span(7.5e5, 7.5e5)
    story.take(speaking["JPN"].impact(2_700.0, range_m=said.least, corrects=over))
    event = story.only()
    assert not any(impact.overflight_only for impact in event.impacts)
    assert not words(event)["JPN"].impact.overflight_only
    assert "area.ellipse.centre" not in differing(event)
    for after_s in (3_000.0, 4_000.0, 8_000.0):
        story.wait(after_s)
    assert story.only().status.state == content_pb2.EVENT_STATE_IMPACTED
    assert not story.view.board.events


def test_a_retraction_hours_later_still_reaches_the_event() -> None:
    """2023-04-12 (L23): the alarm for Hokkaido was withdrawn after 20 minutes; as if it had been after three hours."""
    launch = LAUNCHES["L23"]
    story, speaking = Story(launch), announcers(launch)
    story.take(speaking["JPN"].launch(300.0), speaking["JPN"].impact(600.0, range_m=1_300_000.0))
    for after_s in (2_000.0, 6_000.0, 3 * 3_600.0):
        story.wait(after_s)
    number = story.only().event_id
    story.take(speaking["JPN"].status(3 * 3_600.0 + 1.0, content_pb2.EVENT_STATE_NOT_A_LAUNCH))
    event = story.only()
    assert event.event_id == number
    assert event.status.state == content_pb2.EVENT_STATE_NOT_A_LAUNCH
    assert not event.impacts


def test_a_lower_bound_is_kept_as_one() -> None:
    """2024-01-14 (L28): 1000 km in Seoul, "at least 500 km" in Tokyo."""
    launch = LAUNCHES["L28"]
    story, speaking = Story(launch), announcers(launch)
    story.take(*speaking["KOR"].announced())
    content = speaking["JPN"].content(900.0)
    content.track.event_id = content.track.object_id = b"JPN"
    content.track.ground_range_m.value, content.track.ground_range_m.lower_bound = 500_000.0, True
    story.take(speaking["JPN"].launch(900.0), content)
    kept: Any = words(story.only())["JPN"].track
    assert kept.ground_range_m.lower_bound
    assert kept.ground_range_m.value == 500_000.0
