"""What fusion costs: an update beside Stone Soup's, contributions a second, the first warning. Processor time only.

Stone Soup's filter (dstl/Stone-Soup) has the same dynamics as ours, compiled by the same compiler, with the same
analytic Jacobians, and the same reports; what is compared is what is around them. Both run in turn, several times; the
least of each counts. A contribution is one message that at least one recipient is shown; every View folds its own.
"""

from __future__ import annotations

import gc
import math
import time
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from broker import jit
from broker.fusion import models, unrolled
from broker.fusion.view import View
from broker.instant import timestamp
from broker.limits import SECOND_NS
from tests.bench.figures import Row
from vedette.v1 import content_pb2, measures_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

REPORTS: Final = 400
TURNS: Final = 5
SIGMA_M: Final = 300.0
ZERO_NS: Final = 1_700_000_000 * SECOND_NS
START: Final = (-3_100_000.0, 3_900_000.0, 4_300_000.0, 900.0, 2_500.0, 3_000.0)
FIRST_NOISE: Final = np.diag([9e4] * 3 + [1e4] * 3)
SEED: Final = 4


def rows() -> Iterator[Row]:
    """Measure, and say what was not compiled."""
    if not jit.install():
        print("  not compiled: numba is not installed, or VEDETTE_JIT is off")
    yield from against_stone_soup()
    yield from contributions_a_second()
    yield first_warning()


# --- one filter, twice ------------------------------------------------------------------------------------------------


def flight() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a falling body's states, a second apart, and what is measured of its positions."""
    states: list[tuple[float, ...]] = [START]
    for _ in range(REPORTS):
        states.append(models.falling_moved(states[-1], 1.0))
    truth = np.array(states)
    noise = np.random.default_rng(SEED).normal(0.0, SIGMA_M, (len(truth), 3))
    return truth, truth[:, :3] + noise


def filtered(s: Any, zs: Any, out: Any) -> None:
    """Let the falling model follow measurements a second apart; its states into `out`. Compiled as one."""
    for i in range(len(zs)):
        x = (s[55], s[56], s[57], s[58], s[59], s[60])
        flow, _ = models.falling_flow(x, 1.0, 1.0)  # above the air, where nothing slows
        density = models.COAST_DENSITY
        unrolled.spread_falling(s, flow, density / 3.0, density / 2.0, density)
        s[55], s[56], s[57], s[58], s[59], s[60] = models.falling_moved(x, 1.0)
        unrolled.falling_3(s, 0, zs[i], 1.0, 0.0)
        for k in range(6):
            out[i, k] = s[55 + k]


def ours(measured: NDArray[np.float64]) -> Callable[[], NDArray[np.float64]]:
    """Return a run of our filter."""
    import numba  # noqa: PLC0415 - only here

    compiler = jit.Compiler(numba)
    run = compiler.outer(filtered)
    first = np.zeros(unrolled.SIZE)
    first[55:58], first[58:61] = measured[0], START[3:]
    first[61:82] = FIRST_NOISE[np.triu_indices(6)]
    noise = [SIGMA_M**2 if row == column else 0.0 for row in range(3) for column in range(row, 3)]
    zs = np.array([[*position, *noise] for position in measured[1:]])
    out = np.empty((len(zs), 6))

    def follow() -> NDArray[np.float64]:
        run(first.copy(), zs, out)
        return out.copy()

    follow()
    return follow


def stone_soup(measured: NDArray[np.float64]) -> Callable[[], NDArray[np.float64]]:
    """Return a run of Stone Soup's, with compiled dynamics and analytic Jacobians."""
    import numba  # noqa: PLC0415 - only here
    from stonesoup.models.measurement.linear import LinearGaussian  # noqa: PLC0415 - as above
    from stonesoup.models.transition.nonlinear import GaussianTransitionModel  # noqa: PLC0415 - as above
    from stonesoup.predictor.kalman import ExtendedKalmanPredictor  # noqa: PLC0415 - as above
    from stonesoup.types.detection import Detection  # noqa: PLC0415 - as above
    from stonesoup.types.hypothesis import SingleHypothesis  # noqa: PLC0415 - as above
    from stonesoup.types.state import GaussianState  # noqa: PLC0415 - as above
    from stonesoup.updater.kalman import ExtendedKalmanUpdater  # noqa: PLC0415 - as above

    compiler = jit.Compiler(numba)
    moved, flow_of = compiler.outer(models.falling_moved), compiler.outer(models.falling_flow)

    # Above the air, where all of this flight is, the noise is the same everywhere.
    white = np.kron(models.COAST_DENSITY * np.array([[1.0 / 3.0, 0.5], [0.5, 1.0]]), np.eye(3))

    class Falling(GaussianTransitionModel):  # type: ignore[misc] # no types published
        """Ours."""

        @property
        def ndim_state(self) -> int:
            return 6

        def function(self, state: Any, noise: Any = False, **_: Any) -> Any:  # noqa: ARG002, FBT002 - its interface
            return np.array(moved(tuple(state.state_vector[:, 0].tolist()), 1.0)).reshape(6, 1)

        def jacobian(self, state: Any, **_: Any) -> Any:
            return np.array(flow_of(tuple(state.state_vector[:, 0].tolist()), 1.0, 1.0)[0]).reshape(6, 6)

        def covar(self, **_: Any) -> Any:
            return white

        def rvs(self, *_: Any, **__: Any) -> Any:
            raise NotImplementedError

    model = LinearGaussian(6, (0, 1, 2), np.eye(3) * SIGMA_M**2)
    predictor, updater = ExtendedKalmanPredictor(Falling()), ExtendedKalmanUpdater(model)
    began = datetime(2026, 1, 1, tzinfo=UTC)
    reports = [
        Detection(position.reshape(3, 1), timestamp=began + timedelta(seconds=second), measurement_model=model)
        for second, position in enumerate(measured[1:], start=1)
    ]

    def follow() -> NDArray[np.float64]:
        first = np.concatenate([measured[0], START[3:]]).reshape(6, 1)
        state: Any = GaussianState(first, FIRST_NOISE, timestamp=began)
        found = []
        for report in reports:
            prediction = predictor.predict(state, timestamp=report.timestamp)
            state = updater.update(SingleHypothesis(prediction, report))
            found.append(np.asarray(state.state_vector, dtype=float)[:, 0])
        return np.array(found)

    follow()
    return follow


def against_stone_soup() -> Iterator[Row]:
    """Compare what they say, and what that took."""
    truth, measured = flight()
    runs = {"ours": ours(measured), "theirs": stone_soup(measured)}
    least_s: dict[str, float] = dict.fromkeys(runs, math.inf)
    rmse: dict[str, float] = {}
    for _ in range(TURNS):
        for name, run in runs.items():
            times = 50 if name == "ours" else 1
            spent_s, found = cpu_s(run, times)
            least_s[name] = min(least_s[name], spent_s / times)
            rmse[name] = float(np.sqrt(np.mean((found[:, :3] - truth[1:, :3]) ** 2)))
    each_us = {name: spent_s / REPORTS * 1e6 for name, spent_s in least_s.items()}
    print(f"  an update: ours {each_us['ours']:.2f} us, Stone Soup {each_us['theirs']:.0f} us; RMSE {rmse}")
    apart = abs(rmse["ours"] / rmse["theirs"] - 1.0) * 100.0
    yield Row("EKF, RMSE beside Stone Soup's", apart, "% apart", 0.1)
    yield Row(
        "EKF, processor time of Stone Soup's update / ours", each_us["theirs"] / each_us["ours"], "x", 300.0, True
    )


def cpu_s(run: Callable[[], NDArray[np.float64]], times: int) -> tuple[float, NDArray[np.float64]]:
    """Return the processor time of so many runs, and what the last one found."""
    gc.collect()
    began_s = time.process_time()
    found = run()
    for _ in range(times - 1):
        found = run()
    return time.process_time() - began_s, found


# --- Views ------------------------------------------------------------------------------------------------------------


def reports_of(origin: str, number: int, truth: NDArray[np.float64]) -> list[tuple[int, content_pb2.Content]]:
    """Return one nation's reports of a flight, as they arrive: an exact state with its covariance every second."""
    chance = np.random.default_rng([SEED, number])
    found = []
    for second, state in enumerate(truth):
        content = content_pb2.Content()
        content.header.message_id = bytes([number]) + second.to_bytes(15, "big")
        content.header.origin = origin
        content.header.mode = content_pb2.MODE_TEST
        content.header.lineage.kind = content_pb2.LINEAGE_KIND_RAW
        valid_ns = ZERO_NS + second * SECOND_NS + number * 10_000_000
        content.header.observed_at.CopyFrom(timestamp(valid_ns))
        track = content.track
        track.event_id, track.object_id = bytes([number]) * 16, bytes([number, 1]) * 8
        track.phase = content_pb2.PHASE_COAST
        track.state.frame = measures_pb2.FRAME_ECEF_WGS84
        track.state.valid_at.CopyFrom(timestamp(valid_ns))
        at = state[:3] + state[3:] * number * 0.01 + chance.normal(0.0, 300.0, 3)
        track.state.position_m.extend(at.tolist())
        track.state.velocity_mps.extend((state[3:] + chance.normal(0.0, 30.0, 3)).tolist())
        sigmas = [300.0] * 3 + [30.0] * 3
        track.state.covariance.extend(
            sigmas[row] ** 2 if row == column else 0.0 for row in range(6) for column in range(row, 6)
        )
        found.append((valid_ns, content))
    return found


def folded(nations: int, seconds: int, *, least: float) -> float:
    """Return contributions a second of processor time: every nation reports, everybody's policy is another.

    What is shown to whom is drawn for each pair, with at least the probability `least`; one's own always is.
    """
    truth, _ = flight()
    chance = np.random.default_rng([SEED, nations])
    codes = [f"N{number:02d}" for number in range(nations)]
    contents = [one for number, code in enumerate(codes) for one in reports_of(code, number + 1, truth[:seconds])]
    contents.sort(key=lambda one: (one[0], one[1].header.origin))
    views = {code: View(code, content_pb2.MODE_TEST) for code in codes}
    shown = {
        (one, two): one == two or chance.random() < least + (1 - least) * chance.random()
        for one in codes
        for two in codes
    }
    gc.collect()
    began_s = time.process_time()
    second_ns = 0
    for position, (valid_ns, content) in enumerate(contents):
        if valid_ns // SECOND_NS > second_ns:
            second_ns = valid_ns // SECOND_NS
            for view in views.values():
                view.tick(position=position.to_bytes(8, "big"), time_ns=second_ns * SECOND_NS)
        for code, view in views.items():
            if shown[content.header.origin, code]:
                view.fold(position=position.to_bytes(8, "big"), content=content)
    return len(contents) / (time.process_time() - began_s)


def contributions_a_second() -> Iterator[Row]:
    """Fold one launch that everybody follows, by each recipient's own policy."""
    three = max(folded(3, 120, least=0.4) for _ in range(3))
    yield Row("contributions a second and core, 3 recipients", three, "/s", 30_000.0, True)
    many = folded(32, 12, least=0.4)
    yield Row("contributions a second and core, 32 recipients", many, "/s", 4_000.0, True)


def first_warning() -> Row:
    """Fold the first report of an object into a View that has never heard of it. It falls: an impact is predicted too.

    The least of many counts: what else runs on the machine only adds to it.
    """
    truth, _ = flight()
    (_, first), *_ = reports_of("KOR", 1, truth[:1])
    spent_ms = []
    for _ in range(200):
        view = View("JPN", content_pb2.MODE_TEST)
        began_s = time.process_time()
        (fused,) = view.fold(position=b"1", content=first)
        spent_ms.append((time.process_time() - began_s) * 1e3)
        if fused.standing != content_pb2.STANDING_UNCONFIRMED:
            raise ValueError("not what was to be measured")
    print(f"  first report: the least {min(spent_ms):.2f} ms, the median {median(spent_ms):.2f} ms")
    return Row("first report to unconfirmed warning, processor time", min(spent_ms), "ms", 1.0)
