"""What a watch officer reads in a line of `vedette watch`."""

from __future__ import annotations

from broker.cli.line import line
from broker.clock import timestamp
from broker.geodesy import ecef
from vedette.v1 import content_pb2, envelope_pb2, measures_pb2, national_pb2

NOW_NS = 1_790_000_000_120_000_000  # 2026-09-21T14:13:20.120Z
ID = bytes.fromhex("5a9aab7c") + bytes(12)


def warning(content: content_pb2.Content, *marks: national_pb2.Mark.ValueType) -> national_pb2.WatchResponse:
    response = national_pb2.WatchResponse()
    header = response.warning.header
    header.origin, header.mode = "KOR", content_pb2.MODE_EXERCISE
    header.precedence = envelope_pb2.PRECEDENCE_FLASH
    header.message_id = bytes.fromhex("39f50c11") + bytes(12)
    header.released_at.CopyFrom(timestamp(NOW_NS - 250_000_000))
    response.warning.stamps.delivered_at.CopyFrom(timestamp(NOW_NS))
    response.warning.content.CopyFrom(content)
    response.warning.marks.extend(marks)
    return response


def said(content: content_pb2.Content) -> str:
    """Return what stands behind the columns, without its age."""
    return line(warning(content)).split("  ")[-1].removesuffix("; released 0.250 s before")


def launch() -> content_pb2.Content:
    content = content_pb2.Content()
    content.launch.event_id = ID
    content.launch.launch_time.best.CopyFrom(timestamp(NOW_NS - 20_120_000_000))
    area = content.launch.launch_area
    area.ellipse.centre.lat_deg, area.ellipse.centre.lon_deg, area.ellipse.semi_major_m = 40.61, 126.43, 3000.0
    return content


def test_a_warning_begins_with_when_how_urgent_from_whom_and_of_which_event() -> None:
    assert line(warning(launch())).startswith(
        "14:13:20.120Z  EXERCISE  FLASH      KOR  launch     5a9aab7c/39f50c11  40.610 N 126.430 E within 3.0 km, "
    )


def test_a_launch_says_where_when_whereto_and_what() -> None:
    content = launch()
    content.launch.azimuth_deg = 80.4
    content.launch.classes.add(missile_class=measures_pb2.MISSILE_CLASS_MRBM, probability=0.2)
    content.launch.classes.add(missile_class=measures_pb2.MISSILE_CLASS_IRBM, probability=0.8)
    expected = "40.610 N 126.430 E within 3.0 km, at 2026-09-21 14:13:00Z, towards 80 deg, IRBM 80%"
    assert said(content) == expected


def test_a_coarse_place_is_not_shown_as_if_it_were_exact() -> None:
    content = launch()
    content.launch.launch_area.cell.space_m = 10_000.0
    assert "126.430 E within 3.0 km (to 10 km)" in said(content)


def test_a_track_says_where_it_is_and_when_it_was_there() -> None:
    content = content_pb2.Content()
    state = content.track.state
    state.valid_at.CopyFrom(timestamp(NOW_NS))
    state.position_m[:] = ecef(-12.5, -128.0, 60_000.0)
    content.track.phase = content_pb2.PHASE_BOOST
    assert said(content) == "12.500 S 128.000 W, 60 km high, at 2026-09-21 14:13:20Z, boost"


def test_an_impact_says_where_when_and_whom_it_threatens() -> None:
    content = content_pb2.Content()
    content.impact.area.CopyFrom(launch().launch.launch_area)
    content.impact.time.earliest.CopyFrom(timestamp(NOW_NS))
    content.impact.nations_affected.append("JPN")
    expected = "comes down 40.610 N 126.430 E within 3.0 km, earliest at 2026-09-21 14:13:20Z, in JPN"
    assert said(content) == expected
    content.impact.overflight_only = True
    assert said(content).startswith("passes over 40.610 N")


def test_a_picture_says_its_sources_its_standing_and_the_sharpest_it_knows() -> None:
    content = content_pb2.Content()
    fused = content.fused
    fused.revision, fused.standing = 7, content_pb2.STANDING_CONFIRMED
    fused.status.state = content_pb2.EVENT_STATE_CONFIRMED
    fused.launch.CopyFrom(launch().launch)
    for origin in ("KOR", "USA"):
        fused.contributions.add(origin=origin)
    assert said(content).startswith("no. 7 from KOR/USA, confirmed, CONFIRMED, 40.610 N")
    fused.impacts.add().area.CopyFrom(launch().launch.launch_area)
    assert "comes down 40.610 N" in said(content)


def test_a_picture_says_which_regions_it_concerns_and_why_to_trust_its_area_less() -> None:
    content = content_pb2.Content()
    fused = content.fused
    fused.impacts.add().area.CopyFrom(launch().launch.launch_area)
    one = fused.objects.add(regions=["JP-02", "JP-01"], overflown=["KP-09", "JP-05"])
    assert said(content).endswith("touches JP-01 JP-02, over KP-09 JP-05")
    assert "BALLISTIC" not in said(content)
    one.motion, one.implausible = content_pb2.MOTION_NON_BALLISTIC, True
    fused.disagreements.add(field_path="launch_time.best", normalized_distance=3.0, origins=["KOR", "USA"])
    told = said(content)
    assert "NOT BALLISTIC: the area is only how far it could get" in told
    assert "IMPLAUSIBLE" in told
    assert told.endswith("KOR/USA differ in launch_time")
    one.regions.extend(f"JP-{number}" for number in range(10, 30))
    assert "touches JP-01 JP-02 JP-10 JP-11 JP-12 JP-13 JP-14 JP-15 and 14 more" in said(content)


def test_a_cancellation_names_the_message_that_it_takes_back() -> None:
    content = content_pb2.Content()
    content.header.references.add(message_id=ID, relation=content_pb2.RELATION_CANCELS)
    told = line(warning(content))
    assert "KOR  reference  --------/39f50c11  CANCELS 5a9aab7c; released 0.250 s before" in told


def test_what_to_doubt_stands_at_the_end() -> None:
    content = launch()
    content.header.disclosure.withheld.extend(["source", "azimuth_deg"])
    told = line(warning(content, national_pb2.MARK_LATE, national_pb2.MARK_CATCHING_UP))
    assert told.endswith("; LATE; from before; withheld: source, azimuth_deg")


def test_every_other_body_says_what_it_is() -> None:
    status = content_pb2.EventStatus(
        state=content_pb2.EVENT_STATE_NOT_A_LAUNCH, reason=content_pb2.STATUS_REASON_SENSOR_ARTEFACT
    )
    assert said(content_pb2.Content(status=status)) == "NOT A LAUNCH, sensor artefact"
    heartbeat = content_pb2.Heartbeat(health=content_pb2.HEALTH_DEGRADED)
    assert said(content_pb2.Content(heartbeat=heartbeat)) == "degraded"
    seen = content_pb2.OperatorAck(message_id=ID, level=content_pb2.ACK_LEVEL_CONFIRMED)
    assert said(content_pb2.Content(operator_ack=seen)) == "a person has seen 5a9aab7c"
    notice = content_pb2.PreLaunchNotice(reference="NAVAREA XI 22-0671")
    assert said(content_pb2.Content(notice=notice)) == "announced, NAVAREA XI 22-0671"


def test_an_alarm_a_gap_and_a_lost_hub_cannot_be_taken_for_a_warning() -> None:
    alarm = national_pb2.AlarmChange(alarm=national_pb2.ALARM_RAISE, origin="KOR", event_id=ID, message_id=ID)
    assert line(national_pb2.WatchResponse(alarm=alarm)) == "*** ALARM ***  KOR event 5a9aab7c, message 5a9aab7c"
    alarm.alarm = national_pb2.ALARM_LOWER
    assert line(national_pb2.WatchResponse(alarm=alarm)).startswith("alarm over  KOR event 5a9aab7c")
    gap = national_pb2.Gap(origin="USA", first_missing=7, last_missing=9)
    assert line(national_pb2.WatchResponse(gap=gap)) == "MISSING  3 from USA: numbers 7 to 9 never came"
    gap.origin = ""
    assert line(national_pb2.WatchResponse(gap=gap)).startswith("FORGOTTEN  positions 7 to 9")
    link = national_pb2.LinkStatus(since=timestamp(NOW_NS))
    assert "NOT CONNECTED" in line(national_pb2.WatchResponse(link=link))
