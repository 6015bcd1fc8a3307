"""Instants as the wire has them, and the time of an exercise. Pure: reads no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from broker.limits import SECOND_NS

if TYPE_CHECKING:
    from vedette.v1.content_pb2 import Exercise


def timestamp(ns: int) -> Timestamp:
    """Return wall nanoseconds as the wire has them."""
    return Timestamp(seconds=ns // SECOND_NS, nanos=ns % SECOND_NS)


def nanoseconds(stamp: Timestamp) -> int:
    """Return what the wire has as nanoseconds since 1970."""
    return stamp.seconds * SECOND_NS + stamp.nanos


def exercise_ns(exercise: Exercise, wall_ns: int) -> int:
    """Return the exercise's time at a wall time: exercise_zero + (wall - wall_zero) * rate."""
    elapsed_ns = wall_ns - nanoseconds(exercise.wall_zero)
    return nanoseconds(exercise.exercise_zero) + round(elapsed_ns * exercise.rate)


def wall_of_exercise_ns(exercise: Exercise, at_ns: int) -> int:
    """Return the wall time at an exercise's time: the inverse of `exercise_ns`."""
    elapsed_ns = at_ns - nanoseconds(exercise.exercise_zero)
    return nanoseconds(exercise.wall_zero) + round(elapsed_ns / exercise.rate)
