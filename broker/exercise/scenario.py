"""A scenario: which launches, seen by which nations, announced how, with what going wrong. A file, not code.

Shipped ones stand in `scenarios/`; README.md documents every key. Whoever wants another writes a file. Reading is
strict (`broker.exercise.document`), and what is read is complete: every launch has its site, direction, range, apogee,
class and time, whether the file gave them or the table of announced launches did.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import resources
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.exercise.announcements import CLASSES, AnnouncedLaunch, read_launches
from broker.exercise.document import BadScenario, Section, read_document
from broker.exercise.fit import Announcement
from broker.plugin import Sight
from vedette.v1.measures_pb2 import SensorKind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.resources.abc import Traversable

    from vedette.v1.measures_pb2 import MissileClass

FORMAT: Final = "vedette-scenario/v1"
NAME: Final = r"[a-z0-9-]{1,32}"  # with the time of the run it makes the exercise_id, at most 48 characters
RATE_LEAST: Final = limits.EXERCISE_RATE_LEAST
MINUTE_NS: Final = 60 * limits.SECOND_NS
SAME_LAUNCH_NS: Final = 5 * MINUTE_NS  # nations' announced times of one launch differ by up to three minutes
SENSOR_KINDS: Final = {
    "space-infrared": SensorKind.SENSOR_KIND_SPACE_INFRARED,
    "ground-radar": SensorKind.SENSOR_KIND_GROUND_RADAR,
    "sea-radar": SensorKind.SENSOR_KIND_SEA_RADAR,
    "airborne-radar": SensorKind.SENSOR_KIND_AIRBORNE_RADAR,
}
FALSE_MOST_KM: Final = 1_000.0  # of what is to look like a track still
FALSE_MOST_MPS: Final = 1_000.0
STATUSES: Final = {sight.value: sight for sight in (Sight.LOST, Sight.NOT_A_LAUNCH, Sight.ALL_CLEAR)}


@dataclass(frozen=True, slots=True)
class Artefact:
    """A launch that never was: one sensor sees it for a while."""

    nation: str
    sensor_kind: SensorKind.ValueType  # the nation's first sensor of this kind
    lasts_s: float


@dataclass(frozen=True, slots=True)
class Launch:
    """A missile to be flown, or an artefact that looks like one."""

    name: str
    time_ns: int
    announcement: Announcement
    announced: AnnouncedLaunch | None  # the row of the table that it stands for
    missed_by: frozenset[str]
    artefact: Artefact | None


@dataclass(frozen=True, slots=True)
class Statement:
    """What a nation announces some time after a launch, in its own rounded figures."""

    nation: str
    launch: str
    after_s: float
    time_ns: int  # of the launch, to the minute
    range_m: float | None
    apogee_m: float | None
    missile_class: MissileClass.ValueType
    passes_over: tuple[str, ...] = ()  # nations that it is said to fly over, to fall beyond them


@dataclass(frozen=True, slots=True)
class Status:
    """What a nation says of a launch as a whole: lost, not a launch, all clear."""

    nation: str
    launch: str
    after_s: float
    sight: Sight


@dataclass(frozen=True, slots=True)
class Outage:
    """A nation's gateway is cut off from the hub. Whoever runs the exercise obeys; the player does not."""

    nation: str
    from_s: float  # since the start
    to_s: float


@dataclass(frozen=True, slots=True)
class Silence:
    """A nation's sensors say nothing for a while: their lines are lost, not late."""

    nation: str
    from_s: float  # since the start
    to_s: float


@dataclass(frozen=True, slots=True)
class Falsehood:
    """From some time of a launch on, all of a nation's sensors see it where it is not: a lie, or a fault."""

    nation: str
    launch: str
    from_s: float  # after the launch
    bearing_deg: float  # in which direction
    jump_m: float  # at once
    drift_mps: float  # and further, for as long as it goes on


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a scenario file says."""

    name: str
    date: str
    shows: str
    start_ns: int
    rate: float
    seed: int
    nations: tuple[str, ...]
    launches: Mapping[str, Launch]
    statements: tuple[Statement, ...]
    statuses: tuple[Status, ...]
    outages: tuple[Outage, ...]
    silences: tuple[Silence, ...] = ()
    falsehoods: tuple[Falsehood, ...] = ()

    def at(self, *, rate: float | None = None, seed: int | None = None) -> Scenario:
        """Return the same scenario with another rate or seed. Raises BadScenario."""
        if rate is not None and not RATE_LEAST <= rate <= limits.EXERCISE_RATE_MAX:
            raise BadScenario(f"the rate must be from {RATE_LEAST:g} to {limits.EXERCISE_RATE_MAX:g}")
        return replace(self, rate=self.rate if rate is None else rate, seed=self.seed if seed is None else seed)


def read_scenarios(folder: Traversable | None = None) -> dict[str, Scenario]:
    """Return the shipped scenarios by name, and those of a folder. Raises BadScenario, also for a name used twice."""
    table = read_launches()
    shipped = resources.files("broker.exercise").joinpath("scenarios")
    scenarios: dict[str, Scenario] = {}
    for place in (shipped, folder) if folder else (shipped,):
        for file in sorted(place.iterdir(), key=lambda entry: entry.name):
            if not file.name.endswith(".yaml"):
                continue
            scenario = read_scenario(file.read_text(encoding="utf-8"), file.name, table)
            if scenario.name in scenarios:
                raise BadScenario(f"{file.name}: there is a scenario named {scenario.name} already")
            scenarios[scenario.name] = scenario
    return scenarios


def read_scenario(text: str, file: str, table: Mapping[str, AnnouncedLaunch]) -> Scenario:
    """Return what a scenario file says. Raises BadScenario."""
    top = read_document(text, file)
    top.choice("format", {FORMAT})
    name = top.text("name", NAME)
    if file != f"{name}.yaml":
        raise top.refused("name", "must be the file's name")
    nations = tuple(top.words("nations", r"[A-Z]{3}"))
    start_ns = top.time_ns("start")
    launches: dict[str, Launch] = {}
    for section in top.sections("launches"):
        launch = _launch(section, nations, table)
        if launch.name in launches:
            raise section.refused("name", "is used twice")
        if not start_ns <= launch.time_ns <= start_ns + round(limits.SCENARIO_S_MAX * limits.SECOND_NS):
            raise section.refused("time", "is before the start, or hours after it")
        launches[launch.name] = launch
    scenario = Scenario(
        name=name,
        date=top.text("date", r"\d{4}-\d\d-\d\d"),
        shows=top.text("shows"),
        start_ns=start_ns,
        rate=top.number("rate", RATE_LEAST, limits.EXERCISE_RATE_MAX),
        seed=int(top.text("seed", r"\d{1,18}")),
        nations=nations,
        launches=launches,
        statements=tuple(_statement(section, nations, launches) for section in top.maybe_sections("announcements")),
        statuses=tuple(_status(section, nations, launches) for section in top.maybe_sections("statuses")),
        outages=tuple(Outage(*_interval(section, nations)) for section in top.maybe_sections("outages")),
        silences=tuple(Silence(*_interval(section, nations)) for section in top.maybe_sections("silences")),
        falsehoods=tuple(_falsehood(section, nations, launches) for section in top.maybe_sections("falsehoods")),
    )
    top.finish()
    return scenario


def _launch(section: Section, nations: tuple[str, ...], table: Mapping[str, AnnouncedLaunch]) -> Launch:
    row = table[section.choice("announced", table)] if section.has("announced") else None
    figures = row.range_and_apogee_m() if row else None
    site = _site(section.section("site")) if section.has("site") or row is None else (row.lat_deg, row.lon_deg)
    launch = Launch(
        name=section.text("name", NAME),
        time_ns=section.time_ns("time") if section.has("time") or row is None else row.time_ns,
        announcement=Announcement(
            lat_deg=site[0],
            lon_deg=site[1],
            azimuth_deg=section.number("azimuth_deg", 0, 360)
            if section.has("azimuth_deg") or row is None
            else row.azimuth_deg,
            range_m=_metres(section, "range_km") if section.has("range_km") or figures is None else figures[0],
            apogee_m=_metres(section, "apogee_km") if section.has("apogee_km") or figures is None else figures[1],
            missile_class=CLASSES[section.choice("class", CLASSES)]
            if section.has("class") or row is None
            else row.missile_class,
        ),
        announced=row,
        missed_by=frozenset(section.words("missed_by", "|".join(nations))) if section.has("missed_by") else frozenset(),
        artefact=_artefact(section.section("artefact"), nations) if section.has("artefact") else None,
    )
    section.finish()
    return launch


def _site(section: Section) -> tuple[float, float]:
    site = (section.number("lat_deg", -90, 90), section.number("lon_deg", -180, 180))
    section.finish()
    return site


def _artefact(section: Section, nations: tuple[str, ...]) -> Artefact:
    artefact = Artefact(
        nation=section.choice("nation", nations),
        sensor_kind=SENSOR_KINDS[section.choice("sensor", SENSOR_KINDS)],
        lasts_s=section.number("lasts_s", 0, limits.SCENARIO_S_MAX),
    )
    section.finish()
    return artefact


def _statement(section: Section, nations: tuple[str, ...], launches: Mapping[str, Launch]) -> Statement:
    """Read an announcement: what the file does not give is the nation's own figure in the table, if it named one."""
    nation = section.choice("nation", nations)
    launch = launches[section.choice("launch", launches)]
    said = launch.announced.statements.get(nation) if launch.announced else None
    time_ns = launch.time_ns // MINUTE_NS * MINUTE_NS
    # A row may stand for several launches; it names the time of the first.
    if said and said.time_ns is not None and abs(said.time_ns - launch.time_ns) <= SAME_LAUNCH_NS:
        time_ns = said.time_ns
    range_m = said.range_m.least if said and said.range_m and said.range_m.single else None
    apogee_m = said.apogee_m.least if said and said.apogee_m and said.apogee_m.single else None
    statement = Statement(
        nation=nation,
        launch=launch.name,
        after_s=_after_s(section),
        time_ns=section.time_ns("time") if section.has("time") else time_ns,
        range_m=_metres(section, "range_km") if section.has("range_km") else range_m,
        apogee_m=_metres(section, "apogee_km") if section.has("apogee_km") else apogee_m,
        missile_class=CLASSES[section.choice("class", CLASSES)]
        if section.has("class")
        else launch.announcement.missile_class,
        passes_over=section.words("passes_over", r"[A-Z]{3}") if section.has("passes_over") else (),
    )
    if statement.passes_over and statement.range_m is None:
        raise section.refused("range_km", "is needed to say what it passes over")
    section.finish()
    return statement


def _status(section: Section, nations: tuple[str, ...], launches: Mapping[str, Launch]) -> Status:
    status = Status(
        nation=section.choice("nation", nations),
        launch=section.choice("launch", launches),
        after_s=_after_s(section),
        sight=STATUSES[section.choice("says", STATUSES)],
    )
    section.finish()
    return status


def _interval(section: Section, nations: tuple[str, ...]) -> tuple[str, float, float]:
    """Return a nation, and from when to when something is so, in seconds since the start."""
    nation = section.choice("nation", nations)
    from_s = section.number("from_s", 0, limits.SCENARIO_S_MAX)
    to_s = section.number("to_s", 0, limits.SCENARIO_S_MAX)
    if to_s <= from_s:
        raise section.refused("to_s", "must be after from_s")
    section.finish()
    return nation, from_s, to_s


def _falsehood(section: Section, nations: tuple[str, ...], launches: Mapping[str, Launch]) -> Falsehood:
    falsehood = Falsehood(
        nation=section.choice("nation", nations),
        launch=section.choice("launch", launches),
        from_s=section.number("from_s", 0, limits.SCENARIO_S_MAX),
        bearing_deg=section.number("bearing_deg", 0, 360),
        jump_m=section.number("jump_km", 0, FALSE_MOST_KM) * 1e3 if section.has("jump_km") else 0.0,
        drift_mps=section.number("drift_mps", 0, FALSE_MOST_MPS) if section.has("drift_mps") else 0.0,
    )
    if not falsehood.jump_m and not falsehood.drift_mps:
        raise section.refused("jump_km", "or drift_mps is needed")
    section.finish()
    return falsehood


def _after_s(section: Section) -> float:
    return section.number("after_s", 0, limits.SCENARIO_S_MAX)


def _metres(section: Section, key: str) -> float:
    return section.number(key, 1, 15_000) * 1e3
