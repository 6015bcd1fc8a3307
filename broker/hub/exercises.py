"""One time base under one exercise id: {wall_zero, exercise_zero, rate} is what the first stored envelope said.

A recipient's picture of an exercise can follow one clock only, so a second base under the same id is refused; which
base is right is for people to settle, under a new id. The base stands in the signed routing header, so nobody but a
member can give one, and it is kept per recipient: what one nation is told about an exercise is no business of another.

The bases become durable with the batch that brought them, as the replay windows do (`windows.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from broker import limits
from broker.refusal import Reason, Refused
from vedette.v1.content_pb2 import Exercise

if TYPE_CHECKING:
    from collections.abc import Mapping

STATE_PREFIX: Final = "exercise/"


class ExerciseKey(NamedTuple):
    """Whose picture of which exercise."""

    recipient: str
    exercise_id: str


class Exercises:
    """The time bases of all exercises, as they are on disk."""

    def __init__(self, state: Mapping[str, bytes]) -> None:
        """Take over what `Store.state(STATE_PREFIX)` returned."""
        self._bases = {_key(name): Exercise.FromString(data) for name, data in state.items()}

    def check(self, recipient: str, exercise: Exercise) -> None:
        """Raise Refused where another base is known under this id, or there is no room for one more."""
        _check(self._bases, recipient, exercise)

    def get(self, recipient: str, exercise_id: str) -> Exercise | None:
        """Return the base of an exercise."""
        return self._bases.get(ExerciseKey(recipient, exercise_id))

    def plan(self) -> ExercisePlan:
        """Return an empty plan for the next batch."""
        return ExercisePlan(self._bases)

    def keep(self, plan: ExercisePlan) -> None:
        """Make a plan the truth: its batch and its state are durable."""
        self._bases.update(plan.added)


class ExercisePlan:
    """The bases that a batch brings."""

    def __init__(self, before: Mapping[ExerciseKey, Exercise]) -> None:
        self._before = before
        self.added: dict[ExerciseKey, Exercise] = {}

    def take(self, recipient: str, exercise: Exercise) -> None:
        """Note the base of an envelope of the batch. Raises Refused as `Exercises.check` does."""
        key = ExerciseKey(recipient, exercise.exercise_id)
        if key in self._before:
            _check(self._before, recipient, exercise)
        elif key in self.added:
            _check(self.added, recipient, exercise)
        else:
            self.added[key] = exercise

    def state(self) -> dict[str, bytes]:
        """Return what must be stored together with the batch."""
        return {
            f"{STATE_PREFIX}{key.recipient}/{key.exercise_id}": exercise.SerializeToString()
            for key, exercise in self.added.items()
        }


def _check(bases: Mapping[ExerciseKey, Exercise], recipient: str, exercise: Exercise) -> None:
    known = bases.get(ExerciseKey(recipient, exercise.exercise_id))
    if known is None:
        if sum(1 for key in bases if key.recipient == recipient) >= limits.EXERCISES_MAX:
            raise Refused(Reason.REASON_EXERCISE_BASE, "too many exercises: use an id that is known")
    elif known != exercise:
        raise Refused(Reason.REASON_EXERCISE_BASE, "another time base is known under this exercise id: take a new id")


def _key(name: str) -> ExerciseKey:
    recipient, exercise_id = name.removeprefix(STATE_PREFIX).split("/", 1)
    return ExerciseKey(recipient, exercise_id)
