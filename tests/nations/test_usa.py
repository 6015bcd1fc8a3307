"""The American feed."""

from __future__ import annotations

import pytest

from broker.plugin import Observation, PlainMemory, Reported, Sight, UnreadableLine
from nations.usa import NATION
from vedette.v1 import content_pb2, envelope_pb2, measures_pb2

FORMAT = NATION.formats["event-xml"]
HEAD = (
    'version="1" uid="1" sensor="ship-1" how="radar-ship" time="2022-10-03T22:26:00.250Z" access="secret"'
    ' releasable-to="KOR JPN"'
)
ECEF = '<ecef x="-3964948.7" y="3633206.1" z="4679764.7"/>'


def event(kind: str = "track", inside: str = ECEF, head: str = HEAD, track: str = ' track="511"') -> bytes:
    return f'<event type="{kind}" {head}{track}>{inside}</event>'.encode()


def read(*lines: bytes) -> list[Reported]:
    adapter = FORMAT.open(PlainMemory())
    return [reported for each in lines for reported in adapter.read(each)]


def test_a_track_is_ecef_as_it_stands() -> None:
    at = ECEF.replace("/>", ' vx="-2802.5" vy="-3128.25" vz="1420.5"/>')
    (reported,) = read(event(inside=at))
    state = reported.content.track.state
    assert list(state.position_m) == [-3964948.7, 3633206.1, 4679764.7]
    assert list(state.velocity_mps) == [-2802.5, -3128.25, 1420.5]
    assert state.frame == measures_pb2.FRAME_ECEF_WGS84


def test_a_launch_has_a_place_with_its_ellipse_and_a_height() -> None:
    place = '<point lat="40.5" lon="126.5" hae="120" major="6000" minor="3000" orientation="70"/>'
    (reported,) = read(event("launch", f'<launch at="2022-10-03T22:22:00.000Z" plus-minus="3"/>{place}'))
    launch = reported.content.launch
    ellipse = launch.launch_area.ellipse
    assert (ellipse.centre.lat_deg, ellipse.centre.lon_deg, ellipse.centre.height_m) == (40.5, 126.5, 120.0)
    assert (ellipse.semi_major_m, ellipse.semi_minor_m, ellipse.probability) == (6000.0, 3000.0, 0.95)
    assert launch.launch_time.latest.seconds - launch.launch_time.earliest.seconds == 6


def test_a_satellite_has_no_site() -> None:
    site = '<site lat="0" lon="155" hae="35786000"/>'
    with pytest.raises(UnreadableLine, match="an infrared event has none"):
        read(event("launch", site, HEAD.replace("radar-ship", "infrared-space")))
    (ship,) = read(event("launch", '<site lat="39.3" lon="134.6" hae="25"/>'))
    assert ship.content.launch.source.site.lat_deg == 39.3


def test_the_writer_never_writes_a_satellites_site() -> None:
    infrared = next(each for each in NATION.sensors if each.kind == measures_pb2.SENSOR_KIND_SPACE_INFRARED)

    assert b"site" not in FORMAT.write(Observation(Sight.LOST, infrared.name, 9, 1_664_835_780 * 10**9), infrared)


def test_noforn_and_orcon_are_caveats_and_others_are_not_read() -> None:
    (reported,) = read(event(head=HEAD + ' caveats="ORCON NOFORN"'))
    assert list(reported.label.caveats) == ["NOFORN", "ORCON"]
    assert reported.label.originator_controlled
    assert list(reported.label.releasable_to) == ["JPN", "KOR", "USA"]
    with pytest.raises(UnreadableLine, match="caveats: not one of"):
        read(event(head=HEAD + ' caveats="UNHEARD-OF"'))


def test_a_cancellation_names_the_event_that_it_cancels() -> None:
    (reported,) = read(event("cancel", "", HEAD + ' cancels="7"', track=""))
    assert [(each.message_id, each.relation) for each in reported.content.header.references] == [
        (b"ship-1/7", content_pb2.RELATION_CANCELS)
    ]
    assert reported.precedence == envelope_pb2.PRECEDENCE_FLASH


@pytest.mark.parametrize(
    "declaration",
    [
        '<!DOCTYPE event [<!ENTITY a "b">]>',
        '<!DOCTYPE event SYSTEM "file:///etc/hostname">',
        '<?xml version="1.0"?>',
        "<!-- a comment -->",
    ],
)
def test_nothing_is_declared_fetched_or_expanded(declaration: str) -> None:
    with pytest.raises(UnreadableLine, match="declaration"):
        read(declaration.encode() + event())


def test_another_encoding_does_not_hide_a_declaration() -> None:
    hidden = '<!DOCTYPE event [<!ENTITY a "b">]>' + event().decode()
    for encoding in ("utf-16", "utf-16-le", "utf-32"):
        with pytest.raises(UnreadableLine):
            read(hidden.encode(encoding))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (event(inside=ECEF + ECEF), "twice"),
        (event(inside=f"<a>{ECEF}</a>"), "inside another"),
        (event(inside=ECEF + '<impact nations="JPN"/>'), "does not belong"),
        (event(inside=ECEF.replace("/>", ' vx="1"/>')), "less than three"),
        (event(inside=ECEF.replace("/>", ' covariance="1 2 0 1 0 1"/>')), "correlation above one"),
        (event(inside=ECEF.replace("/>", ' colour="1"/>')), "does not belong"),
        (event(inside=ECEF + "text"), "text between"),
        (event(inside=ECEF.replace("3633206.1", "nan")), "ecef.y: not a number"),
        (event(inside=ECEF.replace("3633206.1", "3_633_206")), "ecef.y: not a number"),
        (event(inside=ECEF.replace("3633206.1", "1e99")), "ecef.y: not within"),
        (event(head=HEAD.replace('version="1"', 'version="2"')), "version"),
        (event(head=HEAD.replace("22:26:00.250Z", "22:26:00.250+00:00")), "not a time"),
        (event(kind="fire"), "type: not one of"),
        (event().replace(b"event", b"order"), "not an event"),
    ],
)
def test_what_is_not_as_agreed_is_unreadable_and_says_why(line: bytes, reason: str) -> None:
    with pytest.raises(UnreadableLine, match=reason):
        read(line)
