"""What a release policy costs: CPU time of one thread, medians over batches. `make bench BENCH=policy` runs only this.

The policy has 30 rules: those that KOR ships and more of their kind. The messages are a track and a launch as sensors
report them. Medians are of batches, so that what else runs on the machine does not count; a machine that is busy all
the time still shows figures that are too great.
"""

from __future__ import annotations

import threading
import time
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, TypeVar

from broker.demo.world import shipped_policy
from broker.gateway.release import Policy, Subject, decide, redact
from broker.gateway.release.decide import Decider, both_engines
from tests.bench.figures import Row
from tests.path import reports

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["rows"]

T = TypeVar("T")

BATCHES = 60
SWAPS = 10
MIXING_S = 2.0
NOW_NS = 1_780_000_000 * 10**9
RULES = 30
WHENS = (
    'body == "track" && content.track.phase == Phase.PHASE_DESCENT && content.track.confidence >= 0.8',
    'body == "launch" && content.launch.count.most > 3u',
    'body == "impact" && has(content.impact.area) && !content.impact.overflight_only',
    '"LIMDIS" in label.caveats',
    "label.classification >= Classification.CLASSIFICATION_TOP_SECRET",
    "precedence >= Precedence.PRECEDENCE_FLASH && mode == Mode.MODE_REAL_WORLD",
    'body == "track" && content.track.source.kind in [SensorKind.SENSOR_KIND_SEA_RADAR, SensorKind.SENSOR_KIND_OTHER]',
    'body == "track" && content.track.manoeuvre_suspected && to == "JPN"',
    'body == "impact" && to in content.impact.nations_affected',
    "label.originator_controlled",
    'body == "track" && has(content.track.state.velocity_mps)',
    'body == "launch" && has(content.launch.azimuth_deg)',
)


def rows() -> list[Row]:
    """Measure everything about policies."""
    policy = policy_of(RULES)
    return [machine(), *decisions(policy), *views(), *swaps()]


def machine() -> Row:
    """Measure something that everybody knows: how slow, or busy, the machine is; 100 to 150 us if it is not."""
    return Row(
        "for comparison: 10 000 passes of an empty loop", median(cpu_us(_pass, [10_000]) for _ in range(9)), "us", 200.0
    )


def _pass(count: int) -> None:
    for _ in range(count):
        pass


def policy_of(rules: int, *, version: int = 1) -> Policy:
    """Return KOR's policy with rules of the same kind added until there are so many."""
    text = shipped_policy("KOR").replace("\nversion: 1\n", f"\nversion: {version}\n")
    for number in range(text.count("\n- id: "), rules):
        text += f"- id: X-{number}\n  effect: limit\n  to: [self, USA, JPN]\n  when: '{WHENS[number % len(WHENS)]}'\n"
        text += "  cap: {confidence: 10km}\n  delay_s: 1\n  reason: r\n"
    return Policy.parse(text)


def subjects() -> list[Subject]:
    """Return a track and a launch."""
    base = reports.exercise("bench")
    contents = (reports.track(b"m-1", b"e-1", base=base), reports.launch(b"m-2", b"e-1", base=base))
    return [Subject(content, reports.label(), reports.FLASH) for content in contents]


def decisions(policy: Policy) -> list[Row]:
    """Decide for every recipient, with one engine and with both."""
    asked = [(subject, recipient) for subject in subjects() for recipient in policy.recipients]
    found: list[Row] = []
    for name, decider, mark in (
        ("one engine", Decider(policy), 6.0),
        ("both engines, compared", Decider(policy, both_engines), 25.0),
    ):
        for subject, recipient in asked:
            assert not decider.decide(subject, recipient).fault
        cost = median(cpu_us(partial(decide_pair, decider), asked) for _ in range(BATCHES))
        found.append(Row(f"decision, {len(policy.rules)} rules, {name}", cost, "us", mark))
    return found


def decide_pair(decider: Decider, pair: tuple[Subject, str]) -> None:
    """Decide on a message for a recipient."""
    decider.decide(*pair)


def views() -> list[Row]:
    """Redact for every recipient of the shipped policy: exact, in cells of 1 km, and for our own picture."""
    policy = Policy.parse(shipped_policy("KOR"))
    made = [
        (subject.content, decide(policy, subject, recipient))
        for subject in subjects()
        for recipient in policy.recipients
    ]
    costs = [
        median(
            cpu_us(lambda view: redact(view[0], view[1], released_ns=NOW_NS), [view] * len(made))
            for _ in range(BATCHES)
        )
        for view in made
    ]
    return [
        Row("redaction and coarsening, mean of the views", sum(costs) / len(costs), "us", 15.0),
        Row("redaction and coarsening, the dearest view", max(costs), "us", 15.0),
    ]


def swaps() -> list[Row]:
    """Read, compile and warm a policy of new conditions; and swap policies while messages are decided."""
    costs: list[float] = []
    for number in range(SWAPS):
        begun_s = time.process_time()
        policy = policy_of(RULES, version=number + 2)
        Decider(policy, both_engines).warm()
        costs.append((time.process_time() - begun_s) * 1000)
    return [
        Row("a policy of 30 rules from text to in force, conditions new", costs[0], "ms", 100.0),
        Row("the same, conditions known", median(costs[1:]), "ms", 100.0),
        Row("messages decided by two policies while they are swapped", float(mixed()), "", 0.0),
    ]


def mixed() -> int:
    """Return how many messages were decided by two policies while another thread swapped them."""
    deciders = [Decider(policy_of(RULES, version=version), both_engines) for version in (1, 2)]
    in_force, is_over = [deciders[0]], threading.Event()

    def swap() -> None:
        while not is_over.is_set():
            in_force[0] = deciders[in_force[0] is deciders[0]]
            time.sleep(0.0001)

    swapper = threading.Thread(target=swap)
    swapper.start()
    found, deadline_s = 0, time.monotonic() + MIXING_S
    while time.monotonic() < deadline_s:
        for subject in subjects():
            decider = in_force[0]  # one snapshot per message, as the pipeline takes it
            versions = {decider.decide(subject, each).policy_version for each in decider.policy.recipients}
            found += len(versions) > 1
    is_over.set()
    swapper.join()
    return found


def cpu_us(work: Callable[[T], object], items: list[T], *, rounds: int = 20) -> float:
    """Return the CPU time of this process for one item, in microseconds."""
    begun_s = time.process_time()
    for _ in range(rounds):
        for item in items:
            work(item)
    return (time.process_time() - begun_s) / (rounds * len(items)) * 1e6
