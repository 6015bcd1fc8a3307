from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from broker.fusion import estimate
from broker.fusion.contribution import Report, contribution_of

if TYPE_CHECKING:
    from broker.fusion.estimate import Estimate

TRACK = ("KOR", b"event", b"object")


def report(content: Any) -> Report:
    """Return the numbers of a track update."""
    one = contribution_of(content, epoch=0, lane=0, sequence=0)
    assert one is not None
    assert isinstance(one.body, Report)
    return one.body


def follow(contents: list[Any], *, common: bool = False) -> list[Estimate]:
    """Return the estimate after each report."""
    found: list[Estimate] = []
    for content in contents:
        if found:
            found.append(estimate.absorb(found[-1], report(content), TRACK, common=common))
        else:
            found.append(estimate.start(report(content), TRACK))
    return found


def error(world: Any, flight: Any, one: Estimate) -> tuple[float, float, float]:
    """Return the errors of position and velocity, and the squared error normalised by the claim and its six terms."""
    state, noise = estimate.merged(one)
    miss = np.array(state) - flight.at((one.time_ns - world.ZERO_NS) / 1e9)
    nees = float(miss @ np.linalg.solve(np.array(noise), miss)) / 6.0
    return float(np.linalg.norm(miss[:3])), float(np.linalg.norm(miss[3:])), nees


def radar(world: Any, seed: int, **named: Any) -> list[Any]:
    """Return the contents of one radar on the standard flight."""
    settings: dict[str, Any] = {"first_s": 26.0, "last_s": 250.0} | named
    return [content for _, content in world.nation("KOR").radar(world.fly(), "k", seed=seed, **settings)]


@pytest.mark.parametrize("sigma_mps", [None, 50.0], ids=["positions", "positions and velocities"])
def test_a_launch_is_followed_through_burnout_with_honest_claims(world: Any, sigma_mps: float | None) -> None:
    flight = world.fly()
    errors = np.array(
        [
            [error(world, flight, one) for one in follow(radar(world, seed, sigma_m=250.0, sigma_mps=sigma_mps))]
            for seed in range(4)
        ]
    ).mean(axis=0)
    times = 26.0 + np.arange(len(errors))
    late = errors[times > flight.burn_s + 60.0]
    assert late[:, 0].mean() < 130.0
    assert late[:, 1].mean() < 4.0
    assert 0.2 < late[:, 2].mean() < 1.5
    steady = (times < flight.burn_s) | (times > flight.burn_s + 10.0)
    assert errors[steady, 2].mean() < 1.5


def test_burnout_is_noticed_within_ten_seconds(world: Any) -> None:
    flight = world.fly()
    probability = {
        round((one.time_ns - world.ZERO_NS) / 1e9): one.burning_probability
        for one in follow(radar(world, 1, sigma_m=250.0, last_s=100.0))
    }
    assert probability[75] > 0.8
    assert probability[int(flight.burn_s) + 12] < 0.1


@pytest.mark.parametrize(
    ("cell_m", "cell_s", "every_s"),
    [(1000.0, 0.0, 1.0), (1000.0, 1.0, 1.0), (10_000.0, 10.0, 2.0), (50_000.0, 60.0, 5.0)],
)
def test_coarse_reports_never_claim_more_than_their_cell(
    world: Any, cell_m: float, cell_s: float, every_s: float
) -> None:
    flight = world.fly()
    worst = []
    for seed in range(2):
        contents = [world.coarse(one, cell_m, cell_s) for one in radar(world, seed, every_s=every_s, last_s=400.0)]
        for one in follow(contents):
            _, noise = estimate.merged(one)
            assert min(noise[axis][axis] for axis in range(3)) >= (0.5 * cell_m) ** 2
            worst.append(error(world, flight, one)[2])
    assert np.mean(worst) < 1.0
    assert max(worst) < 3.0


def test_a_second_coarse_track_brings_a_bias_of_its_own(world: Any) -> None:
    contents = [world.coarse(one, 10_000.0) for one in radar(world, 1, first_s=90.0, last_s=300.0)]
    exact = estimate.start(report(radar(world, 2, first_s=89.0, last_s=90.0, sigma_m=20_000.0)[0]), TRACK)
    for content in contents:
        exact = estimate.absorb(exact, report(content), ("USA", b"event", b"object"), common=False)
    assert min(exact.falling_noise[axis][axis] for axis in range(3)) > 0.8 * 5_000.0**2


def test_a_coarse_report_does_not_spoil_an_exact_track(world: Any) -> None:
    flight = world.fly()
    exact = radar(world, 1, first_s=90.0, last_s=200.0)
    fused = follow(exact)[-1]
    coarse = report(world.coarse(exact[-1], 10_000.0, 0.0))
    after = estimate.absorb(fused, coarse, ("USA", b"event", b"object"), common=False)
    assert error(world, flight, after)[0] == pytest.approx(error(world, flight, fused)[0], abs=5.0)


def test_data_that_is_counted_twice_does_not_sharpen_the_claim(world: Any) -> None:
    content = radar(world, 1, first_s=100.0, last_s=101.0, sigma_mps=50.0)[0]
    once = estimate.start(report(content), TRACK)
    again, honest = once, once
    for _ in range(20):
        again = estimate.absorb(again, report(content), TRACK, common=False)
        honest = estimate.absorb(honest, report(content), TRACK, common=True)
    assert again.falling_noise[0][0] < 0.1 * once.falling_noise[0][0]
    assert honest.falling_noise[0][0] > 0.9 * once.falling_noise[0][0]


def test_what_nothing_can_explain_is_not_taken_until_it_is_all_that_comes(world: Any) -> None:
    flight = world.fly()
    one = follow(radar(world, 1, first_s=90.0, last_s=150.0))[-1]
    kor = world.nation("KOR")
    for second in range(1, 5):
        jumped = kor.track("k", 150.0 + second, flight.at(150.0 + second) + 40_000.0, sigma_m=250.0)
        one = estimate.absorb(one, report(jumped), TRACK, common=False)
        assert not one.taken
    assert error(world, flight, one)[0] < 500.0
    jumped = kor.track("k", 155.0, flight.at(155.0) + 40_000.0, sigma_m=250.0)
    one = estimate.absorb(one, report(jumped), TRACK, common=False)
    assert (one.taken, one.restarts) == (True, 1)


@pytest.mark.parametrize(
    "covariance",
    [[], [1e15] * 6, [0.0] * 21, [1.0, 5.0, 0.0, 1.0, 0.0, 1.0], [-1.0] * 6],
    ids=["none", "absurd", "zero", "not positive", "negative"],
)
def test_an_impossible_covariance_never_fails(world: Any, covariance: list[float]) -> None:
    content = radar(world, 1, first_s=100.0, last_s=101.0)[0]
    del content.track.state.covariance[:]
    content.track.state.covariance.extend(covariance)
    one = contribution_of(content, epoch=0, lane=0, sequence=0)
    assert one is not None
    if isinstance(one.body, Report):
        started = estimate.start(one.body, TRACK)
        for axis in range(3):
            assert started.falling_noise[axis][axis] >= 1.0
    else:
        assert covariance


def test_the_inside_of_the_earth_and_impossible_speeds_contribute_nothing(world: Any) -> None:
    content = radar(world, 1, first_s=100.0, last_s=101.0, sigma_mps=50.0)[0]
    for position, velocity in (([0.0, 0.0, 0.0], [0.0] * 3), ([7e6, 0.0, 0.0], [14_000.0, 0.0, 0.0])):
        del content.track.state.position_m[:], content.track.state.velocity_mps[:]
        content.track.state.position_m.extend(position)
        content.track.state.velocity_mps.extend(velocity)
        one = contribution_of(content, epoch=0, lane=0, sequence=0)
        assert one is not None
        assert one.body is None


def test_the_matrices_stay_symmetric(world: Any) -> None:
    contents = radar(world, 1, last_s=150.0, sigma_mps=50.0)
    one = follow(
        [world.coarse(content, 1000.0) if index % 3 == 0 else content for index, content in enumerate(contents)]
    )[-1]
    for matrix in (one.burning_noise, one.falling_noise):
        assert np.allclose(np.array(matrix), np.array(matrix).T, rtol=1e-9, atol=1e-9)
