from __future__ import annotations

import pytest

from broker.gateway.proof.needs import SHOWN_LEVELS, Need, Needs
from broker.gateway.release import Level, Policy
from broker.gateway.release.shown import shown_of
from broker.leaves import BODIES_UNDER_POLICY, LEAVES
from tests.broker.gateway.proof.drawn import seeded
from tests.broker.gateway.release.generate import random_policy_text

# How often each level is drawn: all alike, only the ends, mostly exact, mostly shown.
WEIGHTS = ((1, 1, 1, 1, 1), (1, 0, 0, 0, 9), (1, 1, 1, 1, 40), (1, 30, 30, 30, 30))


def _has(need: Need, allowed: dict[str, Level]) -> bool:
    return any(all(allowed[name] >= level for name, level in way) for way in need)


def _level(needs: Needs, path: str, allowed: dict[str, Level]) -> Level:
    shown = (level for level in SHOWN_LEVELS if _has(needs.at_least(path, level), allowed))
    return max(shown, default=Level.WITHHELD)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("body", BODIES_UNDER_POLICY)
def test_needs_say_of_every_leaf_at_any_levels_what_is_really_shown(body: str, weights: tuple[int, ...]) -> None:
    rng = seeded(f"{body} {weights}")
    needs = Needs(body, {path: [path] for path in LEAVES})
    for _ in range(30):
        allowed = {path: Level(rng.choices(range(5), weights)[0]) for path in LEAVES}
        shown = shown_of(allowed, body)
        assert {path: _level(needs, path, allowed) for path in needs.leaves} == {
            path: shown.levels.get(path, Level.WITHHELD) for path in needs.leaves
        }
        assert _has(needs.anything, allowed) is shown.is_anything


@pytest.mark.parametrize("seed", range(4))
def test_needs_of_a_policys_groups_say_the_same(seed: int) -> None:
    rng = seeded(seed)
    groups = Policy.parse(random_policy_text(rng, rules=1)).groups
    some = {name: paths for name, paths in groups.items() if rng.random() < 0.9}  # leaves in no group are withheld
    for body in BODIES_UNDER_POLICY:
        needs = Needs(body, some)
        for _ in range(20):
            levels = {name: Level(rng.choices(range(5), WEIGHTS[seed % 4])[0]) for name in some}
            shown = shown_of({path: levels[name] for name, paths in some.items() for path in paths}, body)
            assert {path: _level(needs, path, levels) for path in needs.leaves} == {
                path: shown.levels.get(path, Level.WITHHELD) for path in needs.leaves
            }


def test_a_direction_needs_its_spread_or_to_be_exact() -> None:
    needs = Needs("launch", {path: [path] for path in LEAVES})
    need = needs.at_least("launch.azimuth_deg", Level.CELL_10KM)
    exact = frozenset({("launch.azimuth_deg", Level.EXACT)})
    with_spread = frozenset({("launch.azimuth_deg", Level.CELL_10KM), ("launch.azimuth_sigma_deg", Level.CELL_50KM)})
    assert need == {exact, with_spread}
