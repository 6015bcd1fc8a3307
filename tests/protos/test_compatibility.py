"""What was released stays: numbers, names, types, calls, bounds and coarse forms.

`buf breaking` compares what travels. It knows nothing of our own options, and it lets a call or a field's absence
disappear, so these are compared here: a bound that became narrower refuses what was valid, and another coarse form
under the same name makes the recipient read a value as what it is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
from google.protobuf import descriptor_pb2

from vedette.v1 import options_pb2

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    Buf = Callable[..., subprocess.CompletedProcess[str]]

BREAKING = 100  # buf's exit status where the comparison found something


class Planted(NamedTuple):
    """A change that must not pass, made on a copy."""

    claim: str
    file: str
    old: str
    new: str


INCOMPATIBLE = [
    Planted("a field taken away", "content.proto", "  bool overflight_only = 5;\n", ""),
    Planted("a number given to another", "content.proto", "bool overflight_only = 5;", "bool overflight_only = 55;"),
    Planted("another type", "content.proto", "uint32 message_count = 2;", "string message_count = 2;"),
    Planted("another name", "content.proto", "bool overflight_only = 5;", "bool only_overflight = 5;"),
    Planted("an enum value taken away", "envelope.proto", "  PRECEDENCE_FLASH = 4;\n", ""),
    Planted("a reason renumbered", "refusal.proto", "REASON_CONFLICT = 69;", "REASON_CONFLICT = 169;"),
    Planted("a stream made a single call", "exchange.proto", "(stream SubmitRequest)", "(SubmitRequest)"),
]
INCOMPATIBLE_FOR_US = [
    Planted("a call taken away", "exchange.proto", "  rpc ReadBack(", "  // rpc ReadBack("),
    Planted("a lower maximum", "measures.proto", "most: 50000000}", "most: 40000000}"),
    Planted("a higher minimum", "measures.proto", "least: -1000, most: 50000000", "least: 0, most: 50000000"),
    Planted("fewer items", "measures.proto", "{items_most: 256}", "{items_most: 128}"),
    Planted("a length no longer allowed", "measures.proto", "items: [0, 6, 21]", "items: [0, 21]"),
    Planted("fewer bytes", "measures.proto", "{bytes_most: 32, pattern", "{bytes_most: 16, pattern"),
    Planted("another pattern", "measures.proto", '"[A-Za-z0-9 ._-]*"', '"[A-Z0-9 ._-]*"'),
    Planted("newly required", "content.proto", "Phase phase = 7;", "Phase phase = 7 [(bounds) = {required: true}];"),
    Planted("absence lost", "content.proto", "optional double influence_m = 7;", "double influence_m = 7;"),
    Planted(
        "another coarse form", "measures.proto", "(coarsening) = COARSENING_LENGTH", "(coarsening) = COARSENING_TIME"
    ),
]


def test_the_agreement_is_clean_by_buf_s_standard_rules(buf: Buf, protos: Path) -> None:
    done = buf("lint", protos)
    assert done.returncode == 0, done.stdout


def test_nothing_that_was_released_was_changed(buf: Buf, protos: Path, released: Path, tmp_path: Path) -> None:
    done = buf("breaking", protos, "--against", released)
    assert done.returncode == 0, done.stdout
    assert broken(read(released), built(buf, protos, tmp_path)) == []


@pytest.mark.parametrize("planted", INCOMPATIBLE, ids=lambda planted: planted.claim)
def test_an_incompatible_change_is_refused(buf: Buf, draft: Path, released: Path, planted: Planted) -> None:
    plant(draft, planted)
    done = buf("breaking", draft, "--against", released)
    assert done.returncode == BREAKING, done.stdout + done.stderr


@pytest.mark.parametrize("planted", INCOMPATIBLE_FOR_US, ids=lambda planted: planted.claim)
def test_a_change_that_buf_does_not_see_is_refused(
    buf: Buf, draft: Path, released: Path, tmp_path: Path, planted: Planted
) -> None:
    plant(draft, planted)
    found = broken(read(released), built(buf, draft, tmp_path))
    assert len(found) >= 1, planted.claim


def test_a_new_field_and_a_wider_bound_are_compatible(buf: Buf, draft: Path, released: Path, tmp_path: Path) -> None:
    """The control: a comparison that refused everything would pass all the tests above."""
    plant(draft, Planted("", "content.proto", "bool overflight_only = 5;", "bool overflight_only = 5;\n  bool x = 99;"))
    plant(draft, Planted("", "measures.proto", "most: 50000000}", "most: 60000000}"))
    assert buf("breaking", draft, "--against", released).returncode == 0
    assert broken(read(released), built(buf, draft, tmp_path)) == []


def plant(draft: Path, planted: Planted) -> None:
    """Make the change, once; a text that is not there any more is a fault of the test."""
    path = draft / "vedette" / "v1" / planted.file
    before = path.read_text(encoding="utf-8")
    assert before.count(planted.old) >= 1, f"{planted.claim}: {planted.old!r} is not in {planted.file}"
    path.write_text(before.replace(planted.old, planted.new, 1), encoding="utf-8")


def read(path: Path) -> descriptor_pb2.FileDescriptorSet:
    return descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())


def built(buf: Buf, folder: Path, scratch: Path) -> descriptor_pb2.FileDescriptorSet:
    out = scratch / "built.binpb"
    done = buf("build", folder, "--exclude-source-info", "-o", out)
    assert done.returncode == 0, done.stderr
    return read(out)


def broken(old: descriptor_pb2.FileDescriptorSet, new: descriptor_pb2.FileDescriptorSet) -> list[str]:
    """Return what `new` breaks of `old` in ways that buf does not look for."""
    calls = set(_calls(new))
    fields = dict(_fields(new))
    found = [f"{call} was taken away" for call in _calls(old) if call not in calls]
    for path, field in _fields(old):
        if path in fields:  # buf has said so if it is not
            found += [f"{path}: {what}" for what in _narrower(field, fields[path])]
    return found


def _narrower(old: descriptor_pb2.FieldDescriptorProto, new: descriptor_pb2.FieldDescriptorProto) -> Iterator[str]:
    was, is_now = old.options.Extensions[options_pb2.bounds], new.options.Extensions[options_pb2.bounds]
    if is_now.HasField("least") and (not was.HasField("least") or is_now.least > was.least):
        yield "a higher minimum"
    if is_now.HasField("most") and (not was.HasField("most") or is_now.most < was.most):
        yield "a lower maximum"
    if (is_now.items_most or 64) < (was.items_most or 64):
        yield "fewer items"
    if is_now.items and not set(was.items) <= set(is_now.items):
        yield "a length no longer allowed"
    if (is_now.bytes_most or 64) < (was.bytes_most or 64):
        yield "fewer bytes"
    if is_now.required and not was.required:
        yield "newly required"
    if is_now.pattern and is_now.pattern != was.pattern:
        yield "another pattern; whether it is wider is for a person to say, with the released file made anew"
    if old.proto3_optional and not new.proto3_optional:
        yield "zero and not observed would be the same"
    if old.options.Extensions[options_pb2.coarsening] != new.options.Extensions[options_pb2.coarsening]:
        yield "another coarse form"


def _calls(files: descriptor_pb2.FileDescriptorSet) -> Iterator[str]:
    for file in files.file:
        for service in file.service:
            for call in service.method:
                yield f"{file.package}.{service.name}/{call.name}"


def _fields(files: descriptor_pb2.FileDescriptorSet) -> Iterator[tuple[str, descriptor_pb2.FieldDescriptorProto]]:
    for file in files.file:
        if file.package == "vedette.v1":
            yield from _fields_below(file.message_type, file.package)


def _fields_below(
    messages: Iterable[descriptor_pb2.DescriptorProto], where: str
) -> Iterator[tuple[str, descriptor_pb2.FieldDescriptorProto]]:
    for message in messages:
        for field in message.field:
            yield f"{where}.{message.name}.{field.name}", field
        yield from _fields_below(message.nested_type, f"{where}.{message.name}")
