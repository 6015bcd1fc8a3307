from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.content import LEAVES, check_content, set_leaves
from broker.gateway.release import Level, Policy, combine, decide, redact
from broker.gateway.release.decision import Terms, released
from broker.leaves import BODIES_UNDER_POLICY, HEADER
from vedette.v1.options_pb2 import Coarsening

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from google.protobuf.message import Message

    from broker.gateway.release import Decision
    from vedette.v1 import content_pb2

Makers = Any
# Written by redaction from what is shown, where the origin's own stays withheld.
DERIVED = {"track.state.covariance"}


def decision_of(allowed: Mapping[str, Level], body: str, interval_s: float = 0.0) -> Decision:
    return released(
        allowed, body, rule_ids=(), levels={}, terms=Terms(0.0, interval_s), policy_version=1, policy_digest=""
    )


def allowed_by(policy: Policy, decision: Decision) -> dict[str, Level]:
    return {path: decision.levels[group] for group, paths in policy.groups.items() for path in paths}


def random_levels(maker: Any) -> dict[str, Level]:
    pool = maker.random.choice((list(Level), [Level.EXACT], [Level.EXACT, Level.CELL_10KM], [Level.CELL_1KM]))
    window: dict[str, Level] = {}
    levels = {}
    for path, leaf in LEAVES.items():
        owner = leaf.fields[-1].containing_type
        above = path.rpartition(".")[0] if owner is not None and owner.name == "TimeWindow" else path
        levels[path] = window.setdefault(above, maker.random.choice(pool))
    return levels


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_what_is_disclosed_is_allowed_by_the_policy(makers: Makers, data: st.DataObject) -> None:
    maker = data.draw(makers)
    policy = maker.policy()
    for _ in range(5):
        subject = maker.subject()
        for recipient in policy.recipients:
            decision = decide(policy, subject, recipient)
            assert not decision.fault
            if decision.released:
                allowed = allowed_by(policy, decision)
                for path in set(set_leaves(redact(subject.content, decision))) - DERIVED:
                    assert allowed[path] > Level.WITHHELD
                    is_whole = (
                        LEAVES[path].coarsening == Coarsening.COARSENING_STRUCTURE
                    )  # shown or not, never coarsely
                    assert decision.shown.levels[path] <= allowed[path] or is_whole


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_what_redaction_makes_is_strictly_valid(makers: Makers, data: st.DataObject) -> None:
    maker = data.draw(makers)
    content = maker.content()
    decision = decision_of(random_levels(maker), content.WhichOneof("body"), 10.0)
    if decision.released:
        check_content(redact(content, decision, released_ns=1_790_000_000 * 10**9), incoming=True)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_less_permission_never_shows_more(makers: Makers, data: st.DataObject) -> None:
    maker = data.draw(makers)
    content = maker.content()
    body = content.WhichOneof("body")
    more = random_levels(maker)
    less = {path: Level(maker.random.randint(0, level)) for path, level in more.items()}
    wide, narrow = decision_of(more, body), decision_of(less, body)
    for path, level in narrow.shown.levels.items():
        assert level <= wide.shown.levels[path]
    if narrow.released:
        due_ns = 1_790_000_000 * 10**9
        disclosed = set(set_leaves(redact(content, narrow, released_ns=due_ns))) - DERIVED
        assert disclosed <= set(wide.shown.levels)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_what_is_withheld_changes_nothing_of_what_is_shown(makers: Makers, data: st.DataObject) -> None:
    maker = data.draw(makers)
    content = maker.content()
    body = content.WhichOneof("body")
    decision = decision_of(random_levels(maker), body)
    if decision.released:
        # The same message as if its origin had never known what is withheld.
        exactly = decision_of(dict.fromkeys(decision.shown.levels, Level.EXACT), body)
        without = redact(content, exactly, released_ns=1)
        assert set(exactly.shown.levels) == set(decision.shown.levels)
        assert redact(without, decision, released_ns=1) == redact(content, decision, released_ns=1)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_redaction_is_deterministic_and_idempotent(makers: Makers, data: st.DataObject) -> None:
    maker = data.draw(makers)
    content = maker.content()
    decision = decision_of(random_levels(maker), content.WhichOneof("body"))
    if decision.released:
        once = redact(content, decision, released_ns=1_790_000_000 * 10**9)
        assert redact(content, decision, released_ns=1_790_000_000 * 10**9) == once
        twice = redact(once, decision, released_ns=1_790_000_000 * 10**9)
        assert twice == once


@pytest.mark.parametrize("body", ["launch", "track", "impact", "status", "operator_ack", "heartbeat", "notice"])
def test_with_every_leaf_exact_the_body_is_shown_as_it_is(maker: Any, body: str) -> None:
    for seed in range(20):
        content = maker(seed).content(body)
        view = redact(content, decision_of(dict.fromkeys(LEAVES, Level.EXACT), body))
        assert view.header.disclosure.withheld == []
        view.header.ClearField("disclosure")
        content.header.ClearField("disclosure")
        _tidy(content)
        assert _without_default_cells(view) == _without_default_cells(content)


def _tidy(message: Message, above: str = "") -> None:
    """Take away the messages within it that say nothing."""
    for field, value in message.ListFields():
        path = f"{above}{field.name}."
        if field.message_type is None or field.message_type.full_name in UNTOUCHED:
            continue
        for inner in value if field.is_repeated else (value,):
            _tidy(inner, path)
        if field.is_repeated:
            kept = [inner for inner in value if says_something(inner, dict.fromkeys(LEAVES, Level.EXACT), path)]
            value.MergeFrom(kept)
            del value[: -len(kept) or len(value)]
        elif above and not says_something(value, dict.fromkeys(LEAVES, Level.EXACT), path):
            message.ClearField(field.name)


def _without_default_cells(content: content_pb2.Content) -> bytes:
    """Compare what is set: a cell without any size says nothing and is not carried on."""
    text = str(content)
    return "\n".join(line for line in text.splitlines() if "cell {" not in line and line.strip() != "}").encode()


def test_redaction_never_touches_the_original(maker: Any) -> None:
    content = maker(1).content("track", density=1.0)
    before = content.SerializeToString(deterministic=True)
    redact(content, decision_of(dict.fromkeys(LEAVES, Level.CELL_10KM), "track"))
    assert content.SerializeToString(deterministic=True) == before


def test_a_field_that_we_do_not_know_passes_nowhere_not_even_in_a_message_that_moves_whole(maker: Any) -> None:
    content = maker(1).content("track", density=1.0)
    unknown = b"\xc2\x3e\x04LEAK"  # field 1000, four bytes
    header, track = content.header, content.track
    for each in (header, header.exercise, header.observed_at, header.stamps, track, track.state, track.state.valid_at):
        each.MergeFromString(unknown)
    assert content.SerializeToString().count(b"LEAK") == 7
    for level in (Level.EXACT, Level.CELL_10KM):
        view = redact(content, decision_of(dict.fromkeys(LEAVES, level), "track"), released_ns=1)
        assert b"LEAK" not in view.SerializeToString()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_nothing_is_left_of_a_message_within_it_of_which_nothing_may_be_shown(
    makers: Makers, data: st.DataObject
) -> None:
    maker = data.draw(makers)
    content = maker.content(density=maker.random.choice((0.2, 0.5, 1.0)))
    decision = decision_of(random_levels(maker), content.WhichOneof("body"))
    if decision.released:
        view = redact(content, decision, released_ns=1_790_000_000 * 10**9)
        assert list(shells(view, decision.shown.levels)) == []


def shells(message: Message, shown: Mapping[str, Level], above: str = "") -> Iterator[str]:
    """Yield the paths of messages that are there, and say nothing that is shown."""
    for field, value in message.ListFields():
        path = f"{above}{field.name}"
        kind = field.message_type
        if kind is None or kind.full_name in UNTOUCHED or path in BODIES_UNDER_POLICY or path == HEADER:
            if path == HEADER or path in BODIES_UNDER_POLICY:
                yield from shells(value, shown, f"{path}.")
            continue
        for inner in value if field.is_repeated else (value,):
            if not says_something(inner, shown, f"{path}."):
                yield path
            yield from shells(inner, shown, f"{path}.")


def says_something(message: Message, shown: Mapping[str, Level], above: str) -> bool:
    """Whether a leaf is set, or a plain number or a plain yes or no is shown, which say zero and no by themselves."""
    says_by_default = any(
        f"{above}{field.name}" in shown
        for field in message.DESCRIPTOR.fields
        if not field.has_presence and not field.is_repeated and isinstance(field.default_value, bool | float | int)
        if field.enum_type is None
    )
    return (
        says_by_default
        or any(f"{above}{field.name}" in shown for field, _ in message.ListFields())
        or any(
            says_something(inner, shown, f"{above}{field.name}.")
            for field, value in message.ListFields()
            if field.message_type is not None and field.message_type.full_name not in UNTOUCHED
            for inner in (value if field.is_repeated else (value,))
        )
    )


# Not by policy: identities, which are made anew, single leaves, and what redaction writes.
UNTOUCHED = {f"vedette.v1.{name}" for name in ("Exercise", "Reference", "Lineage", "Disclosure", "Cell")} | {
    f"google.protobuf.{name}" for name in ("Timestamp", "Duration")
}


def test_that_a_source_was_named_does_not_show_where_only_its_kind_may_be_shown(maker: Any) -> None:
    content = maker(1).content("track")
    content.track.ClearField("source")
    content.track.source.name = "aegis-1"
    levels = {path: Level.EXACT for path in LEAVES if path != "track.source.name"}
    view = redact(content, decision_of(levels, "track"))
    assert not view.track.HasField("source")
    assert list(view.header.disclosure.withheld) == ["source.name"], "said whether or not there was one"


def test_how_coarse_an_area_would_be_is_not_said_where_none_is_shown(maker: Any) -> None:
    content = maker(3).content("impact", density=1.0)
    content.impact.area.ellipse.probability = 0.95
    content.impact.area.ClearField("iso_3166_2")
    ellipse = "impact.area.ellipse."
    levels = {path: Level.CELL_10KM for path in LEAVES if not path.startswith(ellipse)}
    assert not redact(content, decision_of(levels, "impact")).impact.HasField("area")


def test_zero_is_a_value_and_its_message_stays(maker: Any) -> None:
    content = maker(1).content("track", density=0.0)
    content.track.apogee_m.sigma = 500.0
    levels = {path: Level.EXACT for path in LEAVES if path != "track.apogee_m.sigma"}
    assert redact(content, decision_of(levels, "track")).track.HasField("apogee_m")


def test_what_is_withheld_is_said_whether_or_not_there_was_anything(maker: Any) -> None:
    levels = {path: Level.EXACT for path in LEAVES if ".source." not in path}
    full, sparse = maker(1).content("track", density=1.0), maker(1).content("track", density=0.0)
    for content in (full, sparse):
        assert redact(content, decision_of(levels, "track")).header.disclosure.withheld == ["source"]


def test_largest_subtrees_are_named_first(maker: Any) -> None:
    levels = {path: Level.EXACT for path in LEAVES if path.startswith(("track.state.frame", "track.state.valid_at"))}
    levels |= {"track.state.position_m": Level.EXACT, "track.source.kind": Level.EXACT}
    withheld = redact(maker(1).content("track"), decision_of(levels, "track")).header.disclosure.withheld
    assert list(withheld[:3]) == ["apogee_m", "ground_range_m", "source.site"]
    assert "state.velocity_mps" in withheld
    assert "source.name" in withheld


def test_a_latitude_is_not_shown_without_its_longitude(maker: Any) -> None:
    levels = {path: Level.EXACT for path in LEAVES if not path.endswith("lon_deg")}
    view = redact(maker(1).content("impact", density=1.0), decision_of(levels, "impact"))
    assert not view.impact.area.HasField("shape")


def test_at_least_is_not_shown_as_exactly(maker: Any) -> None:
    levels = {path: Level.EXACT for path in LEAVES if path != "track.apogee_m.lower_bound"}
    view = redact(maker(1).content("track", density=1.0), decision_of(levels, "track"))
    assert not view.track.HasField("apogee_m")


def test_a_coarse_position_carries_its_cell_interval_and_full_covariance(maker: Any) -> None:
    content = maker(1).content("track", density=1.0)
    content.track.state.ClearField("cell")
    content.track.state.velocity_mps[:] = [3000.0, 0.0, 0.0]
    del content.track.state.covariance[:]
    levels = dict.fromkeys(LEAVES, Level.CELL_10KM) | {"track.state.velocity_mps": Level.WITHHELD}
    state = redact(content, decision_of(levels, "track", 10.0)).track.state
    assert state.cell.space_m == 10_000.0
    assert state.cell.time.seconds == 10
    assert state.cell.minimum_interval.seconds == 10
    sigma_m = 10_000.0 + 8_000.0 * 10  # the greatest speed, for velocity is withheld
    assert list(state.covariance) == [sigma_m**2, 0, 0, sigma_m**2, 0, sigma_m**2]


def test_an_exact_velocity_narrows_the_covariance_of_a_coarse_position(maker: Any) -> None:
    content = maker(1).content("track", density=1.0)
    content.track.state.velocity_mps[:] = [3000.0, 0.0, 4000.0]
    del content.track.state.covariance[:]
    levels = dict.fromkeys(LEAVES, Level.CELL_10KM) | {"track.state.velocity_mps": Level.EXACT}
    state = redact(content, decision_of(levels, "track")).track.state
    assert state.covariance[0] == pytest.approx((10_000.0 + 5_000.0 * 10) ** 2)


def test_coarse_covariance_never_claims_more_than_the_sensor_knew(maker: Any) -> None:
    content = maker(1).content("track", density=1.0)
    content.track.state.velocity_mps[:] = [0.0, 0.0, 0.0]
    content.track.state.covariance[:] = [0.0] * 21
    content.track.state.covariance[0] = 2_500.0**2
    levels = dict.fromkeys(LEAVES, Level.EXACT) | {"track.state.position_m": Level.CELL_1KM}
    state = redact(content, decision_of(levels, "track")).track.state
    assert state.covariance[0] == 3_000.0**2
    assert state.covariance[6] == 3_000.0**2  # in every direction: its axes would show the line of sight


def test_no_other_instant_gives_a_coarse_time_away(maker: Any) -> None:
    content = maker(1).content("track", density=1.0)
    levels = dict.fromkeys(LEAVES, Level.EXACT) | {"track.state.valid_at": Level.CELL_10KM}
    hidden = redact(content, decision_of(levels, "track"))
    assert not hidden.header.stamps.HasField("received_at")
    released_ns = 1_790_000_000 * 10**9
    view = redact(content, decision_of(levels, "track"), released_ns=released_ns)
    assert view.header.stamps.received_at.ToNanoseconds() == released_ns
    assert all(step.at.ToNanoseconds() == released_ns for step in view.header.provenance if step.HasField("at"))


def test_a_cell_that_came_with_the_message_is_carried_on_and_never_narrowed(maker: Any) -> None:
    content = maker(1).content("track", density=1.0)
    content.track.state.cell.space_m = 20_000.0
    content.track.state.cell.time.FromSeconds(5)
    exact = redact(content, decision_of(dict.fromkeys(LEAVES, Level.EXACT), "track")).track.state.cell
    assert (exact.space_m, exact.time.seconds) == (20_000.0, 5)
    coarse = redact(content, decision_of(dict.fromkeys(LEAVES, Level.CELL_10KM), "track")).track.state.cell
    assert (coarse.space_m, coarse.time.seconds) == (20_000.0, 10)


def test_the_coordinates_of_one_place_share_the_coarsest_of_their_levels(maker: Any) -> None:
    content = maker(3).content("impact", density=1.0)
    centre = content.impact.area.ellipse.centre
    centre.lat_deg, centre.lon_deg = 40.12345, 141.0
    content.impact.area.ellipse.probability = 0.95
    longitude = "impact.area.ellipse.centre.lon_deg"
    view = redact(content, decision_of(dict.fromkeys(LEAVES, Level.EXACT) | {longitude: Level.CELL_10KM}, "impact"))
    assert view.impact.area.ellipse.centre.lat_deg != 40.12345
    assert view.impact.area.cell.space_m == 10_000.0


def test_a_spread_is_never_finer_than_what_it_speaks_of(maker: Any) -> None:
    content = maker(1).content("track", density=1.0)
    content.track.apogee_m.value, content.track.apogee_m.sigma = 123_456.0, 12.0
    levels = dict.fromkeys(LEAVES, Level.EXACT) | {"track.apogee_m.value": Level.CELL_10KM}
    apogee = redact(content, decision_of(levels, "track")).track.apogee_m
    assert (apogee.value, apogee.sigma) == (120_000.0, 10_000.0)


def test_a_coarse_time_hides_the_axes_of_what_stands_still(maker: Any) -> None:
    content = maker(1).content("track", density=1.0)
    content.track.state.velocity_mps[:] = [0.0, 0.0, 0.0]
    content.track.state.covariance[:] = [0.0] * 21
    content.track.state.covariance[1] = 5.0
    levels = dict.fromkeys(LEAVES, Level.EXACT) | {"track.state.valid_at": Level.CELL_10KM}
    assert redact(content, decision_of(levels, "track")).track.state.covariance[1] == 0.0


def test_a_coarse_direction_carries_its_spread_or_is_not_shown(maker: Any) -> None:
    content = maker(1).content("launch", density=1.0)
    content.launch.azimuth_deg = 93.0
    content.launch.ClearField("azimuth_sigma_deg")
    levels = dict.fromkeys(LEAVES, Level.CELL_10KM)
    view = redact(content, decision_of(levels, "launch")).launch
    assert (view.azimuth_deg, view.azimuth_sigma_deg) == (95.0, 10.0)
    levels["launch.azimuth_sigma_deg"] = Level.WITHHELD
    assert not redact(content, decision_of(levels, "launch")).launch.HasField("azimuth_deg")


def test_a_spread_that_was_missing_is_as_coarse_as_spreads_are_shown(maker: Any) -> None:
    content = maker(1).content("launch", density=1.0)
    content.launch.azimuth_deg = 93.0
    content.launch.ClearField("azimuth_sigma_deg")
    levels = dict.fromkeys(LEAVES, Level.CELL_10KM) | {"launch.azimuth_sigma_deg": Level.CELL_50KM}
    assert redact(content, decision_of(levels, "launch")).launch.azimuth_sigma_deg == 45.0


def test_a_place_without_room_for_a_cell_has_no_coarse_form(maker: Any) -> None:
    content = maker(1).content("launch", density=1.0)
    view = redact(content, decision_of(dict.fromkeys(LEAVES, Level.CELL_10KM), "launch")).launch
    assert not view.source.HasField("site")


def test_a_coarse_ellipse_is_a_circle_no_smaller_than_its_cell(maker: Any) -> None:
    content = maker(3).content("impact", density=1.0)
    ellipse = content.impact.area.ellipse
    ellipse.centre.lat_deg, ellipse.centre.lon_deg = 40.1, 141.2
    ellipse.semi_major_m, ellipse.semi_minor_m, ellipse.orientation_deg = 12_000.0, 300.0, 77.0
    ellipse.probability = 0.95
    view = redact(content, decision_of(dict.fromkeys(LEAVES, Level.CELL_10KM), "impact")).impact.area.ellipse
    assert (view.semi_major_m, view.semi_minor_m, view.orientation_deg) == (20_000.0, 20_000.0, 0.0)


def test_corners_in_one_cell_become_one(maker: Any) -> None:
    content = maker(3).content("impact", density=1.0)
    ring = content.impact.area.polygon.ring
    del ring[:]
    for lat_deg in (40.0, 40.0001, 40.0002, 41.0):
        ring.add(lat_deg=lat_deg, lon_deg=141.0)
    view = redact(content, decision_of(dict.fromkeys(LEAVES, Level.CELL_10KM), "impact")).impact.area.polygon
    assert len(view.ring) == 2


def test_a_decision_that_releases_nothing_makes_nothing(maker: Any) -> None:
    content = maker(1).content("track")
    with pytest.raises(ValueError, match="does not release"):
        redact(content, decision_of({}, "track"))
    with pytest.raises(ValueError, match="does not release"):
        redact(content, decision_of(dict.fromkeys(LEAVES, Level.EXACT), "launch"))


def test_the_header_alone_is_no_message() -> None:
    header = {path: Level.EXACT for path in LEAVES if path.startswith(HEADER)}
    assert not decision_of(header, "track").released


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_two_decisions_combined_show_no_more_than_either(makers: Makers, data: st.DataObject) -> None:
    maker = data.draw(makers)
    content = maker.content()
    body = content.WhichOneof("body")
    old, new = decision_of(random_levels(maker), body), decision_of(random_levels(maker), body)
    both = combine(old, new)
    for each in (old, new):
        assert set(both.shown.levels) <= set(each.shown.levels)
        assert all(level <= each.shown.levels[path] for path, level in both.shown.levels.items())
    if both.released:
        check_content(redact(content, both), incoming=True)


def test_every_coarse_form_is_tried_here() -> None:
    assert {leaf.coarsening for leaf in LEAVES.values()} == set(Coarsening.values()) - {
        Coarsening.COARSENING_IDENTITY,
        Coarsening.COARSENING_CELL,
    }
