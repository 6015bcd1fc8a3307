"""One time base under one exercise id: {wall_zero, exercise_zero, rate} is what the first stored envelope said.

A recipient's picture of an exercise can follow one clock only, so a second base under the same id is refused; which
base is right is for people to settle, under a new id. The base stands in the signed routing header, so nobody but a
member can give one, and it is kept per recipient: what one nation is told about an exercise is no business of another.

Each is also kept with the origin that told of it first: an origin has room for `limits.EXERCISES_MAX` of its own with
a recipient, and takes none from the others.

The bases become durable with the batch that brought them, as the replay windows do (`windows.py`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from broker import limits
from broker.refusal import Reason, Refused
from vedette.v1.content_pb2 import Exercise

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vedette.v1.envelope_pb2 import RoutingHeader

STATE_PREFIX: Final = "exercise/"


class ExerciseKey(NamedTuple):
    """Whose picture of which exercise."""

    recipient: str
    exercise_id: str


@dataclass(frozen=True, slots=True)
class Base:
    """A time base, and who told of it first."""

    origin: str
    exercise: Exercise


class Exercises:
    """The time bases of all exercises, as they are on disk."""

    def __init__(self, state: Mapping[str, bytes]) -> None:
        """Take over what `Store.state(STATE_PREFIX)` returned."""
        self._bases = dict(_base(name, data) for name, data in state.items())
        self._counts = Counter((key.recipient, base.origin) for key, base in self._bases.items())

    def check(self, header: RoutingHeader) -> None:
        """Raise Refused where another base is known under this id, or its origin has no room for one more."""
        self.plan().take(header)

    def get(self, recipient: str, exercise_id: str) -> Exercise | None:
        """Return the base of an exercise."""
        base = self._bases.get(ExerciseKey(recipient, exercise_id))
        return None if base is None else base.exercise

    def origin(self, recipient: str, exercise_id: str) -> str:
        """Return who told of an exercise first; nobody where it is not known."""
        base = self._bases.get(ExerciseKey(recipient, exercise_id))
        return "" if base is None else base.origin

    def plan(self) -> ExercisePlan:
        """Return an empty plan for the next batch."""
        return ExercisePlan(self._bases, self._counts)

    def keep(self, plan: ExercisePlan) -> None:
        """Make a plan the truth: its batch and its state are durable."""
        self._bases.update(plan.added)
        self._counts.update((key.recipient, base.origin) for key, base in plan.added.items())


class ExercisePlan:
    """The bases that a batch brings."""

    def __init__(self, before: Mapping[ExerciseKey, Base], counts: Mapping[tuple[str, str], int]) -> None:
        self._before, self._counts = before, counts
        self.added: dict[ExerciseKey, Base] = {}

    def take(self, header: RoutingHeader) -> None:
        """Note the base of an envelope of the batch. Raises Refused as `Exercises.check` does."""
        key = ExerciseKey(header.recipient, header.exercise.exercise_id)
        known = self._before.get(key) or self.added.get(key)
        if known is None:
            if self._count(header) >= limits.EXERCISES_MAX:
                raise Refused(Reason.REASON_EXERCISE_BASE, "too many exercises: use an id that is known")
            self.added[key] = Base(header.origin, header.exercise)
        elif known.exercise != header.exercise:
            raise Refused(
                Reason.REASON_EXERCISE_BASE, "another time base is known under this exercise id: take a new id"
            )

    def _count(self, header: RoutingHeader) -> int:
        """Return how many exercises a recipient knows of by an origin, with those of the batch."""
        ends = (header.recipient, header.origin)
        return self._counts.get(ends, 0) + sum((key.recipient, base.origin) == ends for key, base in self.added.items())

    def state(self) -> dict[str, bytes]:
        """Return what must be stored together with the batch."""
        return {
            f"{STATE_PREFIX}{key.recipient}/{base.origin}/{key.exercise_id}": base.exercise.SerializeToString()
            for key, base in self.added.items()
        }


def _base(name: str, data: bytes) -> tuple[ExerciseKey, Base]:
    recipient, origin, exercise_id = name.removeprefix(STATE_PREFIX).split("/", 2)
    return ExerciseKey(recipient, exercise_id), Base(origin, Exercise.FromString(data))
