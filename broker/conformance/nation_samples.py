"""Sample files of a nation: native lines with what they mean, for people and for the suite.

    # Anything behind a hash is for people.
    <a native line>
    => track IMMEDIATE aegis-1/0042#2 corrects aegis-1/track-7
    <another>
    => unreadable

A file is one session: its lines are read in order by one adapter. Beneath each line stands what it says: the body (or
`cancel`), the precedence, the event, and the messages that it refers to; or `unreadable`. Nothing, if it says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.conformance.error import ConformanceError
from vedette.v1 import content_pb2, envelope_pb2

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from broker.plugin import Reported

__all__ = ["UNREADABLE", "Sample", "meaning", "read_samples"]

MEANS: Final = "=> "
COMMENT: Final = "#"
UNREADABLE: Final = "unreadable"


@dataclass(frozen=True, slots=True)
class Sample:
    """A file: native lines, each with its meaning."""

    name: str
    lines: tuple[tuple[bytes, str], ...]

    def readable(self) -> list[bytes]:
        """Return the lines that say something."""
        return [line for line, said in self.lines if said != UNREADABLE]


def read_samples(home: Traversable, native_format: str) -> list[Sample]:
    """Return the samples of a format, by name. Raises ConformanceError."""
    folder = home / "samples" / native_format
    if not folder.is_dir():
        raise ConformanceError(f"samples/{native_format}: every format has samples, and this one has no folder")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".txt")), key=lambda file: file.name)
    samples = [_sample(f"samples/{native_format}/{file.name}", file.read_bytes()) for file in files]
    if not any(sample.readable() for sample in samples):
        raise ConformanceError(f"samples/{native_format}: every format has samples, and here are none")
    return samples


def meaning(reported: Reported) -> str:
    """Return what a report says, as a sample states it."""
    content = reported.content
    body = content.WhichOneof("body")
    precedence = envelope_pb2.Precedence.Name(reported.precedence).removeprefix("PRECEDENCE_")
    words = [body or "cancel", precedence]
    if body is not None and hasattr(getattr(content, body), "event_id"):
        words.append(getattr(content, body).event_id.decode("utf-8", "backslashreplace"))
    for reference in content.header.references:
        words.append(content_pb2.Relation.Name(reference.relation).removeprefix("RELATION_").lower())
        words.append(reference.message_id.decode("utf-8", "backslashreplace"))
    return " ".join(words)


def _sample(name: str, data: bytes) -> Sample:
    if len(data) > limits.CONFORMANCE_SAMPLE_BYTES_MAX:
        raise ConformanceError(f"{name}: longer than {limits.CONFORMANCE_SAMPLE_BYTES_MAX} bytes")
    lines: list[tuple[bytes, str]] = []
    for number, line in enumerate(data.decode("utf-8").splitlines(), start=1):
        if line.startswith(MEANS):
            if not lines:
                raise ConformanceError(f"{name}, line {number}: a meaning without a line above it")
            native, before = lines[-1]
            lines[-1] = (native, f"{before}; {line.removeprefix(MEANS)}" if before else line.removeprefix(MEANS))
        elif line and not line.startswith(COMMENT):
            lines.append((line.encode(), ""))
    return Sample(name, tuple(lines))
