"""A scenario in order of time: who reports what, and when.

`make_timeline` flies every launch, lets every nation's sensors look at it, adds what the scenario scripts, and sorts.
The same scenario, seed and nations give the same timeline; each sensor has random numbers of its own for each launch,
so that a nation which is left out changes nothing of what the others see.

Announcements and statuses go out by the feed of the sensor that first reported the object in that nation: they speak
of the event that the nation already has. A nation that saw nothing uses its first sensor. What a nation announces of a
launch again corrects what it announced before.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from broker import geodesy
from broker.exercise.document import BadScenario
from broker.exercise.falsehood import falsified
from broker.exercise.fit import fit
from broker.exercise.scenario import Statement, Status
from broker.exercise.sensors import Launched, sightings
from broker.exercise.trajectory import NoSuchFlight
from broker.limits import SECOND_NS
from broker.plugin import Nation, Observation, Sensor, Sight

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from broker.exercise.scenario import Artefact, Launch, Scenario

# How sure an announced figure is: rounded, to the minute, and about a site rather than a point.
ANNOUNCED_SITE_M: Final = 10_000.0
ANNOUNCED_TIME_SIGMA_S: Final = 30.0
ANNOUNCED_AZIMUTH_SIGMA_DEG: Final = 5.0
ANNOUNCED_IMPACT_M: Final = 100_000.0
ANNOUNCED_IMPACT_SIGMA_S: Final = 60.0
ANNOUNCED_PAUSE_S: Final = 1.0  # between the two lines of one announcement


@dataclass(frozen=True, slots=True)
class Reported:
    """One observation that a nation's sensor reports, at a time of the exercise."""

    due_ns: int
    nation: str
    sensor: Sensor
    launch: str  # the scenario's name of what it speaks of
    observation: Observation


@dataclass(frozen=True, slots=True)
class Timeline:
    """All that happens in an exercise, and the truth behind it."""

    scenario: Scenario
    launched: Mapping[str, Launched]  # by the scenario's name of the launch; artefacts too
    reports: tuple[Reported, ...]  # by due_ns

    def position_m(self, launch: str, at_ns: int) -> geodesy.Vector | None:
        """Return where a missile truly is at a time of the exercise, ECEF; None if it does not fly, or never was."""
        launched = self.launched[launch]
        elapsed_s = (at_ns - launched.time_ns) / SECOND_NS
        if self.scenario.launches[launch].artefact or not 0.0 <= elapsed_s <= launched.flight.impact_s:
            return None
        x_m, y_m, z_m, *_ = launched.flight.at(elapsed_s)
        return x_m, y_m, z_m

    def impact(self, launch: str) -> tuple[float, float, int] | None:
        """Return where (degrees) and when a missile truly comes down; None for what never was."""
        if self.scenario.launches[launch].artefact:
            return None
        launched = self.launched[launch]
        flight = launched.flight
        return flight.impact_lat_deg, flight.impact_lon_deg, launched.ns(flight.impact_s)


@dataclass(frozen=True, slots=True)
class _Draft:
    """A report before its sensor has numbered its tracks. `track` counts from 1 for each launch; 0 = the newest."""

    due_ns: int
    nation: str
    sensor: Sensor
    launch: str
    track: int
    observation: Observation


def make_timeline(scenario: Scenario, nations: Mapping[str, Nation]) -> Timeline:
    """Return the timeline of a scenario. Raises BadScenario for a flight or a sensor that there cannot be."""
    for code in scenario.nations:
        if not nations[code].sensors:
            raise BadScenario(f"{scenario.name}: {code} has no sensors")
    launched = {launch.name: _launched(launch, scenario) for launch in scenario.launches.values()}
    seen = [
        draft
        for launch in scenario.launches.values()
        for code in scenario.nations
        for draft in _seen(scenario, launch, launched[launch.name], nations[code])
    ]
    seen.sort(key=attrgetter("due_ns"))
    seen = [draft for draft in seen if not _is_silent(scenario, draft)]
    first: dict[tuple[str, str], Sensor] = {}
    for draft in seen:
        first.setdefault((draft.nation, draft.launch), draft.sensor)
    said: list[Statement | Status] = [*scenario.statements, *scenario.statuses]
    scripted: list[_Draft] = []
    for speech in said:
        sensor = first.get((speech.nation, speech.launch), nations[speech.nation].sensors[0])
        scripted.extend(_said(speech, sensor, scenario.launches[speech.launch], launched[speech.launch]))
    drafts = sorted([*seen, *scripted], key=lambda draft: (draft.due_ns, draft.nation, draft.sensor.name))
    return Timeline(scenario, launched, tuple(_numbered(drafts)))


def _launched(launch: Launch, scenario: Scenario) -> Launched:
    try:
        flight = fit(launch.announcement)
    except NoSuchFlight as problem:
        raise BadScenario(f"{scenario.name}: launch {launch.name}: {problem}") from None
    return Launched(flight, launch.time_ns, launch.announcement.missile_class)


def _seen(scenario: Scenario, launch: Launch, launched: Launched, nation: Nation) -> Iterator[_Draft]:
    """Yield what a nation's sensors see of a launch."""
    if nation.code in launch.missed_by or (launch.artefact and launch.artefact.nation != nation.code):
        return
    sensors = [_deceived(launch.artefact, nation, scenario)] if launch.artefact else nation.sensors
    until_ns = launched.ns(launch.artefact.lasts_s if launch.artefact else launched.flight.impact_s * 2)
    for sensor in sensors:
        seed = f"{scenario.seed}/{nation.code}/{sensor.name}/{launch.name}"
        draws = random.Random(seed)  # noqa: S311 - repeatable, not secret
        for observation in sightings(sensor, launched, draws):
            if observation.time_ns > until_ns:
                break
            due_ns = observation.time_ns + round(sensor.latency_s * SECOND_NS)
            told = observation
            for falsehood in scenario.falsehoods:
                if (falsehood.nation, falsehood.launch) == (nation.code, launch.name):
                    told = falsified(told, falsehood, launched)
            yield _Draft(due_ns, nation.code, sensor, launch.name, observation.track_number, told)


def _is_silent(scenario: Scenario, draft: _Draft) -> bool:
    """Say whether a line is due while its nation's sensors say nothing."""
    since_s = (draft.due_ns - scenario.start_ns) / SECOND_NS
    return any(one.nation == draft.nation and one.from_s <= since_s < one.to_s for one in scenario.silences)


def _deceived(artefact: Artefact, nation: Nation, scenario: Scenario) -> Sensor:
    for sensor in nation.sensors:
        if sensor.kind == artefact.sensor_kind:
            return sensor
    raise BadScenario(f"{scenario.name}: {nation.code} has no sensor of the artefact's kind")


def _said(speech: Statement | Status, sensor: Sensor, launch: Launch, launched: Launched) -> Iterator[_Draft]:
    """Yield the lines of something scripted."""
    due_ns = launched.ns(speech.after_s)
    observations = (
        [Observation(speech.sight, sensor.name, 0, due_ns)]
        if isinstance(speech, Status)
        else _announced(speech, sensor, launch, launched)
    )
    for observation in observations:
        yield _Draft(observation.time_ns, speech.nation, sensor, launch.name, 0, observation)


def _announced(said: Statement, sensor: Sensor, launch: Launch, launched: Launched) -> Iterator[Observation]:
    """Yield an announcement: the launch in rounded figures and, where a range was named, where that comes down."""
    due_ns = launched.ns(said.after_s)
    site = launch.announcement
    yield Observation(
        Sight.LAUNCH,
        sensor.name,
        0,
        due_ns,
        lat_deg=site.lat_deg,
        lon_deg=site.lon_deg,
        area_semi_major_m=ANNOUNCED_SITE_M,
        area_semi_minor_m=ANNOUNCED_SITE_M,
        azimuth_deg=site.azimuth_deg,
        azimuth_sigma_deg=ANNOUNCED_AZIMUTH_SIGMA_DEG,
        launch_time_ns=said.time_ns,
        launch_time_sigma_s=ANNOUNCED_TIME_SIGMA_S,
        missile_class=said.missile_class,
        apogee_m=said.apogee_m,
        ground_range_m=said.range_m,
        confidence=1.0,
    )
    if said.range_m is None:
        return
    lat_deg, lon_deg = geodesy.destination(site.lat_deg, site.lon_deg, site.azimuth_deg, said.range_m)
    flown_minutes = round(launched.flight.impact_s / 60)
    yield Observation(
        Sight.IMPACT,
        sensor.name,
        0,
        due_ns + round(ANNOUNCED_PAUSE_S * SECOND_NS),
        lat_deg=lat_deg,
        lon_deg=lon_deg,
        area_semi_major_m=ANNOUNCED_IMPACT_M,
        area_semi_minor_m=ANNOUNCED_IMPACT_M,
        impact_time_ns=said.time_ns + flown_minutes * 60 * SECOND_NS,
        impact_time_sigma_s=ANNOUNCED_IMPACT_SIGMA_S,
        apogee_m=said.apogee_m,
        ground_range_m=said.range_m,
        nations_affected=said.passes_over,
        overflight=bool(said.passes_over),
    )


def _numbered(drafts: list[_Draft]) -> Iterator[Reported]:
    """Yield the reports with the numbers that each sensor gives its tracks, in the order in which it takes them up."""
    newest: dict[tuple[str, str], int] = {}  # of a sensor
    numbers: dict[tuple[str, str, str, int], int] = {}
    current: dict[tuple[str, str, str], int] = {}  # the newest track of a launch
    announced: dict[tuple[str, str, Sight], Observation] = {}
    for draft in drafts:
        of_sensor = (draft.nation, draft.sensor.name)
        of_launch = (*of_sensor, draft.launch)
        of_track = (*of_launch, draft.track)
        if draft.track == 0 and of_launch in current:
            number = current[of_launch]
        elif of_track in numbers:
            number = numbers[of_track]
        else:
            number = newest.get(of_sensor, 0) + 1
            newest[of_sensor] = numbers[of_track] = number
        current[of_launch] = number
        observation = replace(draft.observation, track_number=number)
        if draft.track == 0 and observation.sight in {Sight.LAUNCH, Sight.IMPACT}:
            kind = (draft.nation, draft.launch, observation.sight)
            if (before := announced.get(kind)) is not None:
                observation = replace(observation, track_number=before.track_number, corrects=before)
            announced[kind] = observation
        yield Reported(draft.due_ns, draft.nation, draft.sensor, draft.launch, observation)
