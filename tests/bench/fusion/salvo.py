"""Salvos of ten: whose reports are whose, and the whole tracker beside Stone Soup's.

Seeds from 0 on are reported; the figures of `overlap`, `verdict` and `grouping` were chosen on seeds from 1000 on. What
is measured is the board: association and estimates of every report, without what is published of them. Stone Soup gets
the same positions without names, with linear models (its finite differences are wrong for negative coordinates), and
few seeds, for it takes its time.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from itertools import groupby
from time import process_time
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.optimize import linear_sum_assignment

from broker.fusion import estimate
from broker.fusion.board import Board
from broker.fusion.contribution import contribution_of
from broker.jit import install
from broker.limits import SECOND_NS
from tests.bench.figures import Row
from tests.broker.fusion import salvos

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from broker.fusion.contribution import Contribution

SEEDS: Final = 100
COMPARED_SEEDS: Final = 3
CUT_OFF_M: Final = 10_000.0
FIRST_S: Final = 30
LAST_S: Final = int(salvos.FLOWN_S)  # until the first of the salvo goes out of sight
JERK_MPS3: Final = 3.0  # of Stone Soup's model; judgement, not tuned: its tracker may do better with another
NO_TRACKS: Final = np.zeros((0, 3))


def rows() -> Iterator[Row]:
    """Measure."""
    install()
    for box_m, within_s, least in ((36_000.0, 60.0, 100.0), (11_000.0, 10.0, 95.0), (4_000.0, 10.0, 95.0)):
        pure = 0
        for seed in range(SEEDS):
            found = _pure(seed, box_m=box_m, within_s=within_s)
            pure += found == salvos.LAUNCHES
            if found != salvos.LAUNCHES:
                print(f"{box_m / 1000.0:g} km, {within_s:g} s, seed {seed}: {found} of {salvos.LAUNCHES}")
        name = f"salvo of ten, {box_m / 1000.0:g} km, {within_s:g} s: all tracks pure and complete"
        yield Row(name, pure, f"of {SEEDS} seeds", least, at_least=True)
    yield from _beside_stone_soup()


def _pure(seed: int, *, box_m: float, within_s: float) -> int:
    """Return how many events are one launch with all three nations' tracks in one object, at the end."""
    salvo = salvos.missiles(seed, box_m=box_m, within_s=within_s)
    board = Board("JPN")
    # All at once: what is believed in the end does not depend on the order of arrival (test_salvos.py).
    board.apply(_contributions(salvos.looks(seed, salvo)), [])
    if len(board.events) != len(salvo):
        return 0
    of = {salvos.name(sensor.nation, index): index for sensor in salvos.SENSORS for index in range(len(salvo))}
    return sum(
        len(event.objects) == 1
        and len(event.objects[0].tracks) == len(salvos.SENSORS)
        and len({of[track[1]] for track in event.objects[0].tracks}) == 1
        for event in board.events
    )


def _contributions(reported: list[salvos.Look]) -> list[Contribution]:
    """Return reports as the board takes them in."""
    contents = enumerate(salvos.contents(reported))
    found = [contribution_of(content, epoch=0, lane=0, sequence=number) for number, content in contents]
    return [contribution for contribution in found if contribution is not None]


def _beside_stone_soup() -> Iterator[Row]:
    """Compare CPU time and GOSPA on the same positions."""
    costs: dict[str, list[float]] = {}
    gospas: dict[str, list[float]] = {}
    for seed in range(COMPARED_SEEDS):
        salvo = salvos.missiles(seed, box_m=36_000.0, within_s=60.0)
        reported = salvos.looks(seed, salvo, at_once=True)
        for name, run in (("own", _own), ("GNN", _gnn), ("JPDA", _jpda)):
            cpu_s, gospa_m = run(salvo, reported)
            costs.setdefault(name, []).append(cpu_s / len(reported))
            gospas.setdefault(name, []).append(gospa_m)
            print(f"seed {seed}, {name}: {cpu_s / len(reported) * 1e6:.0f} us CPU a report, GOSPA {gospa_m:.0f} m")
    for name in ("GNN", "JPDA"):
        yield Row(
            f"whole tracker, salvo of ten: Stone Soup's {name} takes so many times our CPU time",
            sum(costs[name]) / sum(costs["own"]),
            "x",
            100.0,
            at_least=True,
        )
        yield Row(
            f"whole tracker, salvo of ten: our GOSPA (10 km, p = 2) over that of Stone Soup's {name}",
            sum(gospas["own"]) / sum(gospas[name]),
            "",
            1.0,
        )


def _own(salvo: list[salvos.Missile], reported: Sequence[salvos.Look]) -> tuple[float, float]:
    """Return CPU time, s, and mean GOSPA, m, of ours."""
    board = Board("JPN")
    contributions = _contributions(list(reported))
    cpu_s, distances = 0.0, []
    for second, steps in groupby(range(len(reported)), key=lambda index: math.floor(reported[index].time_s)):
        begun_s = process_time()
        for index in steps:
            board.apply([contributions[index]], [])
        cpu_s += process_time() - begun_s
        at_ns = salvos.ZERO_NS + (second + 1) * SECOND_NS
        newest = [one.history.newest for event in board.events for one in event.objects]
        tracks = [estimate.merged(estimate.advance(one, at_ns))[0][:3] for one in newest]
        if FIRST_S <= second + 1 < LAST_S:
            distances.append(_gospa(_truth(salvo, second + 1), np.array(tracks) if tracks else NO_TRACKS))
    return cpu_s, float(np.mean(distances))


def _gnn(salvo: list[salvos.Missile], reported: Sequence[salvos.Look]) -> tuple[float, float]:
    """Return CPU time, s, and mean GOSPA, m, of Stone Soup's GNN."""
    from stonesoup.dataassociator.neighbour import GNNWith2DAssignment  # noqa: PLC0415 - takes seconds to load
    from stonesoup.hypothesiser.distance import DistanceHypothesiser  # noqa: PLC0415
    from stonesoup.measures import Mahalanobis  # noqa: PLC0415
    from stonesoup.tracker.simple import MultiTargetTracker  # noqa: PLC0415
    from stonesoup.updater.kalman import KalmanUpdater  # noqa: PLC0415

    predictor, updater = _predictor(), KalmanUpdater(None)
    hypothesiser = DistanceHypothesiser(predictor, updater, measure=Mahalanobis(), missed_distance=5.0)
    associator = GNNWith2DAssignment(hypothesiser)
    return _stone_soup(MultiTargetTracker, associator, predictor, updater, salvo, reported)


def _jpda(salvo: list[salvos.Missile], reported: Sequence[salvos.Look]) -> tuple[float, float]:
    """Return CPU time, s, and mean GOSPA, m, of Stone Soup's JPDA, with its fast sums (loopy belief propagation)."""
    from stonesoup.dataassociator.probability import JPDAwithLBP  # noqa: PLC0415 - takes seconds to load
    from stonesoup.hypothesiser.probability import PDAHypothesiser  # noqa: PLC0415
    from stonesoup.tracker.simple import MultiTargetMixtureTracker  # noqa: PLC0415
    from stonesoup.updater.kalman import KalmanUpdater  # noqa: PLC0415

    predictor, updater = _predictor(), KalmanUpdater(None)
    hypothesiser = PDAHypothesiser(
        predictor, updater, clutter_spatial_density=1e-15, prob_detect=salvos.DETECTED, prob_gate=0.9999
    )
    associator = JPDAwithLBP(hypothesiser)
    return _stone_soup(MultiTargetMixtureTracker, associator, predictor, updater, salvo, reported)


def _predictor() -> Any:
    """Return a linear model of nearly constant acceleration along three axes."""
    from stonesoup.models.transition.linear import (  # noqa: PLC0415 - takes seconds to load
        CombinedLinearGaussianTransitionModel,
        ConstantAcceleration,
    )
    from stonesoup.predictor.kalman import KalmanPredictor  # noqa: PLC0415

    return KalmanPredictor(CombinedLinearGaussianTransitionModel([ConstantAcceleration(JERK_MPS3**2)] * 3))


def _stone_soup(
    tracker_type: Any,
    associator: Any,
    predictor: Any,
    updater: Any,
    salvo: list[salvos.Missile],
    reported: Sequence[salvos.Look],
) -> tuple[float, float]:
    """Run a tracker of Stone Soup over the scans."""
    from stonesoup.deleter.time import UpdateTimeDeleter  # noqa: PLC0415 - takes seconds to load
    from stonesoup.initiator.simple import SimpleMeasurementInitiator  # noqa: PLC0415
    from stonesoup.models.measurement.linear import LinearGaussian  # noqa: PLC0415
    from stonesoup.types.detection import Detection  # noqa: PLC0415
    from stonesoup.types.state import GaussianState  # noqa: PLC0415

    zero = datetime(2026, 1, 1)  # noqa: DTZ001 - Stone Soup's times have no zone
    models = {sensor: LinearGaussian(9, (0, 3, 6), np.eye(3) * sensor.sigma_m**2) for sensor in salvos.SENSORS}
    scans = []
    for (time_s, sensor), found in groupby(
        sorted(reported, key=lambda look: (look.time_s, look.sensor.nation)),
        key=lambda look: (look.time_s, look.sensor),
    ):
        at = zero + timedelta(seconds=time_s)
        detections = {
            Detection(look.position_m.reshape(3, 1), timestamp=at, measurement_model=models[sensor]) for look in found
        }
        scans.append((time_s, at, detections))
    lift = np.array(reported[0].position_m) / np.linalg.norm(reported[0].position_m) * 22.0
    mean = np.array([[0.0, 0.0, axis] for axis in lift]).reshape(9, 1)
    spread = np.diag([1e6, 2_500.0**2, 25.0**2] * 3)
    prior = GaussianState(mean, spread, timestamp=zero)
    tracker = tracker_type(
        SimpleMeasurementInitiator(prior),
        UpdateTimeDeleter(timedelta(seconds=8)),
        iter([(at, detections) for _, at, detections in scans]),
        associator,
        updater,
    )
    steps = iter(tracker)
    cpu_s, distances = 0.0, []
    for second, group in groupby(scans, key=lambda scan: math.floor(scan[0])):
        tracks: set[Any] = set()
        for _ in group:
            begun_s = process_time()
            _, tracks = next(steps)
            cpu_s += process_time() - begun_s
        if not FIRST_S <= second + 1 < LAST_S:
            continue
        at = zero + timedelta(seconds=second + 1)
        states = [predictor.predict(track, timestamp=at).mean[[0, 3, 6], 0] for track in tracks]
        distances.append(_gospa(_truth(salvo, second + 1), np.array(states, dtype=float) if states else NO_TRACKS))
    return cpu_s, float(np.mean(distances))


def _truth(salvo: list[salvos.Missile], time_s: float) -> NDArray[np.float64]:
    """Return where the missiles are that somebody may have seen by now."""
    first_s = min(sensor.from_s + sensor.every_s for sensor in salvos.SENSORS)
    found = [missile.at(time_s) for missile in salvo if time_s >= missile.launched_s + first_s]
    return np.array([state[:3] for state in found if state is not None]).reshape(-1, 3)


def _gospa(truth: NDArray[np.float64], tracks: NDArray[np.float64]) -> float:
    """Return GOSPA with alpha 2 (Rahmathullah, Garcia-Fernandez, Svensson 2017)."""
    square = CUT_OFF_M**2
    apart = ((truth[:, None, :] - tracks[None, :, :]) ** 2).sum(axis=2)
    costs = np.minimum(apart, square)
    matched = linear_sum_assignment(costs)
    near = [cost for cost in costs[matched] if cost < square]
    return math.sqrt(sum(near) + 0.5 * square * (len(truth) + len(tracks) - 2 * len(near)))
