from __future__ import annotations

import pytest

from broker.gateway.proof import (
    Changes,
    Kind,
    Proved,
    Refuted,
    changes,
    only_tightens,
    releases_nothing_new,
)
from broker.gateway.release import Level, Policy, decide
from broker.gateway.release.conditions import condition
from tests.broker.gateway.proof.drawn import KOR, KOR_TEXT, edited, policy_of, random_policy, seeded, valid_subject

NEXT = ("version: 1\n", "version: 2\n")
RELEASE = "effect: release, to: [USA], when: 'true', reason: r"
REGROUPED = """a: [track.phase], b: [track.confidence]"""


def _told(found: Changes) -> set[tuple[str, str, str, tuple[str, ...], str, str]]:
    assert found.unknown == ()
    return {
        (each.kind.value, each.recipient, each.body, each.what, each.old, each.new)
        for each in found.found
        if not each.what[0].startswith("header.")
    }


def test_a_policy_changes_nothing_against_itself() -> None:
    again = edited(NEXT)
    assert changes(KOR, again) == Changes((), ())
    assert changes(KOR, again).releases_nothing_new
    assert releases_nothing_new(KOR, again) == Proved()
    assert only_tightens(KOR, again) == Proved()


# --- one edit finds exactly what was edited ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (
            ("track_place: 1km\n    motion: 1km", "track_place: exact\n    motion: 1km"),
            ("finer", "JPN", "track", ("track.state.position_m", "track.state.covariance"), "1km/1s", "exact"),
        ),
        (
            ("cap: {launch_place: 10km, direction: 10km}", "cap: {launch_place: 10km}"),
            ("finer", "JPN", "launch", ("launch.azimuth_deg", "launch.azimuth_sigma_deg"), "10km/10s", "exact"),
        ),
        (
            ("    flight: exact\n    reach: 1km\n", "    reach: 1km\n"),
            ("newly withheld", "JPN", "track", ("track.manoeuvre_suspected", "track.phase"), "exact", "withheld"),
        ),
        (("  delay_s: 5\n", "  delay_s: 3\n"), ("shorter delay", "JPN", "track", ("delay_s",), "5 s", "3 s")),
        (("  delay_s: 5\n", "  delay_s: 7\n"), ("longer delay", "JPN", "track", ("delay_s",), "5 s", "7 s")),
        (
            ("  minimum_interval_s: 10\n", "  minimum_interval_s: 9\n"),
            ("shorter interval", "JPN", "track", ("minimum_interval_s",), "10 s", "9 s"),
        ),
        (
            ("cap: {impact_place: 10km}\n  caveats: [NO-ONWARD]", "cap: {impact_place: 10km}"),
            ("caveat lost", "JPN", "impact", ("NO-ONWARD",), "with", "without"),
        ),
    ],
)
def test_an_edit_of_one_thing_changes_just_that(
    edit: tuple[str, str], told: tuple[str, str, str, tuple[str, ...], str, str]
) -> None:
    new = edited(NEXT, edit)
    found = changes(KOR, new)
    assert _told(found) == {told}
    is_looser = told[0] in {"finer", "shorter delay", "shorter interval", "caveat lost"}
    assert found.releases_nothing_new is not is_looser
    assert isinstance(only_tightens(KOR, new), Refuted if is_looser else Proved)
    # The other way round, what was looser is tighter.
    assert isinstance(releases_nothing_new(new, KOR), Proved) is is_looser


def test_each_change_has_a_message_on_which_the_engine_shows_it() -> None:
    new = edited(NEXT, ("track_place: 1km\n    motion: 1km", "track_place: exact\n    motion: 1km"))
    (change,) = changes(KOR, new).found
    subject = change.after.subject
    assert subject is change.before.subject
    old_levels, new_levels = (decide(policy, subject, "JPN").shown.levels for policy in (KOR, new))
    for path in change.what:
        assert (old_levels[path], new_levels[path]) == (Level.CELL_1KM, Level.EXACT)
    assert subject.content.track.state.position_m
    assert subject.content.track.state.covariance


def test_what_is_excepted_is_no_change_and_what_is_not_stays_one() -> None:
    new = edited(NEXT, ("track_place: 1km\n    motion: 1km", "track_place: exact\n    motion: 1km"))
    meant = condition('to == "JPN" && body == "track"')
    assert changes(KOR, new, exception=meant) == Changes((), ())
    assert releases_nothing_new(KOR, new, exception=meant) == Proved()
    too_narrow = condition('to == "JPN" && body == "track" && mode == Mode.MODE_EXERCISE')
    (change,) = changes(KOR, new, exception=too_narrow).found
    assert change.after.subject.content.header.mode != 2  # MODE_EXERCISE


def test_groups_of_other_names_and_cuts_are_no_change() -> None:
    old = policy_of(f"id: R, give: {{a: exact, b: exact}}, {RELEASE}", groups=REGROUPED)
    new = policy_of(f"id: R, give: {{x: exact}}, {RELEASE}", groups="x: [track.phase, track.confidence]")
    assert changes(old, new) == Changes((), ())


def test_a_new_recipient_is_newly_released_to() -> None:
    old = policy_of(f"id: R, give: {{a: exact}}, {RELEASE}", groups=REGROUPED)
    new = policy_of(f"id: R, give: {{a: exact}}, {RELEASE}".replace("[USA]", "[USA, JPN]"), groups=REGROUPED)
    assert _told(changes(old, new)) == {("newly released", "JPN", "track", ("track.phase",), "withheld", "exact")}


def test_a_deny_for_one_nation_tightens_and_the_lifting_of_it_is_refuted() -> None:
    stopped = Policy.parse(_with_deny())
    assert only_tightens(KOR, stopped) == Proved()
    lifted = only_tightens(stopped, KOR)
    assert isinstance(lifted, Refuted)
    assert lifted.text.startswith("newly released: JPN")
    assert lifted.witness.decision.released


@pytest.mark.parametrize("stopped", ["JPN", "self", "all"])
def test_who_was_stopped_is_shown_nothing_and_lifting_that_is_no_tightening(stopped: str) -> None:
    new = edited(NEXT)
    assert only_tightens(KOR, new.stopping({stopped})) == Proved()
    lifted = only_tightens(KOR.stopping({stopped}), new)
    assert isinstance(lifted, Refuted)
    assert lifted.text.startswith("newly released: ")


def _with_deny() -> str:
    deny = "rules:\n- {id: STOP, effect: deny, to: [JPN], when: 'true', reason: stopped}\n"
    return KOR_TEXT.replace(*NEXT).replace("rules:\n", deny)


def test_of_several_ways_the_one_that_goes_furthest_is_told() -> None:
    old = policy_of(f"id: R, give: {{all: 50km}}, {RELEASE}")
    closed = "label.classification >= Classification.CLASSIFICATION_SECRET"
    new = policy_of(
        f"id: R, give: {{all: 50km}}, {RELEASE}",
        f"id: S, effect: release, give: {{all: 10km}}, to: [USA], when: '{closed}', reason: r",
        f"id: T, effect: release, give: {{all: exact}}, to: [USA], when: '{closed} && body == \"track\"', reason: r",
    )
    track = [each for each in changes(old, new).found if each.body == "track" and "track.state.position_m" in each.what]
    assert {(each.kind, each.old, each.new) for each in track} == {(Kind.FINER, "50km/60s", "exact")}


def test_policies_of_two_nations_are_not_compared() -> None:
    others = (
        _with_deny().replace("nation: KOR", "nation: USA").replace("USA, JPN]", "KOR, JPN]").replace("[USA]", "[KOR]")
    )
    with pytest.raises(ValueError, match="USA"):
        changes(KOR, Policy.parse(others))


def test_without_time_a_change_is_unknown_and_nothing_is_proved() -> None:
    new = edited(NEXT, ("  delay_s: 5\n", "  delay_s: 3\n"))
    found = changes(KOR, new, within_s=0.0)
    assert found.unknown
    assert not found.releases_nothing_new


# --- against the engine -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [4, pytest.param(80, marks=(pytest.mark.slow, pytest.mark.timeout(1200)))])
def test_no_message_shows_a_change_that_is_not_told(count: int) -> None:
    kinds: set[Kind] = set()
    for seed in range(count):
        rng = seeded(f"{seed} of {count}")
        old = random_policy(rng)
        new = random_policy(rng) if seed % 2 else old
        found = changes(old, new)
        assert found.unknown == ()
        assert found.releases_nothing_new is isinstance(releases_nothing_new(old, new), Proved)
        kinds |= {each.kind for each in found.found}
        told = {(each.recipient, each.body, each.kind, path) for each in found.found for path in each.what}
        for _ in range(40):
            subject, to = valid_subject(rng, rng.choice((old, new))), rng.choice(old.recipients)
            before, after = decide(old, subject, to), decide(new, subject, to)
            for path in before.shown.levels.keys() | after.shown.levels.keys():
                was, becomes = (each.shown.levels.get(path, Level.WITHHELD) for each in (before, after))
                if was != becomes:
                    kind = _kind(was, becomes)
                    assert (to, subject.content.WhichOneof("body"), kind, path) in told
    assert {Kind.RELEASED, Kind.WITHHELD, Kind.FINER, Kind.COARSER} <= kinds


def _kind(was: Level, becomes: Level) -> Kind:
    if was is Level.WITHHELD:
        return Kind.RELEASED
    if becomes is Level.WITHHELD:
        return Kind.WITHHELD
    return Kind.FINER if becomes > was else Kind.COARSER


def test_unknown_is_never_proved() -> None:
    assert not Changes((), ("JPN, track: no time",)).releases_nothing_new
