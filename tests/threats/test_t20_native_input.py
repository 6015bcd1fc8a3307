"""T20: hostile lines from a native feed."""

from __future__ import annotations

import json
import logging
import re
import time
from typing import TYPE_CHECKING

import pytest

from broker import limits
from broker.client import Refused as RefusedByGateway
from broker.gateway.intake import Intake
from broker.gateway.load import load_nation
from broker.refusal import Reason, Refused
from certs.identity import identity_of_uri
from tests.threats.parties import gateway, lying_hub
from vedette.v1 import national_pb2

if TYPE_CHECKING:
    from pathlib import Path

    from broker.demo.world import World

MARK = "s3cr3t-v4lue"  # stands in every hostile line, and nowhere afterwards
FORMATS = {"KOR": "radar-json", "USA": "event-xml", "JPN": "radar-csv"}


def entities(depth: int) -> bytes:
    """The billion laughs: each entity ten times the one before."""
    named = [f'<!ENTITY e0 "{MARK}">']
    named += [f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, depth)]
    return f'<?xml version="1.0"?><!DOCTYPE event [{"".join(named)}]><event version="1">&e{depth - 1};</event>'.encode()


def hostile(good: bytes, secret_file: Path) -> dict[str, bytes]:
    uri = secret_file.as_uri()
    return {
        "an entity bomb": entities(9),
        "an external entity": f'<!DOCTYPE event [<!ENTITY x SYSTEM "{uri}">]>'
        f'<event version="1" uid="{MARK}">&x;</event>'.encode(),
        "an external document type": f'<!DOCTYPE event SYSTEM "{uri}"><event uid="{MARK}"/>'.encode(),
        "a parameter entity": f'<!DOCTYPE e [<!ENTITY % p SYSTEM "{uri}">%p;]><event u="{MARK}"/>'.encode(),
        "a harmless entity": f'<!DOCTYPE event [<!ENTITY one "1"><!ENTITY m "{MARK}">]>'.encode()
        + good.replace(b'version="1"', b'version="&one;"'),
        "a comment": good + f"<!-- {MARK} -->".encode(),
        "another encoding": f'<?xml version="1.0" encoding="UTF-16"?><event uid="{MARK}"/>'.encode("utf-16"),
        "a forged log line": good + f"\n2026-01-01 CRITICAL {MARK} all clear\r\n".encode(),
        "an escape sequence": f"\x1b]0;{MARK}\x07\x1b[2J".encode() + good,
        "a zero byte": good[:20] + b"\x00" + MARK.encode() + good[20:],
        "not UTF-8": good[:20] + b"\xff\xfe" + MARK.encode() + good[20:],
        "depth": b'{"a":' * (limits.NATIVE_LINE_BYTES_MAX // 5 - 10) + MARK.encode(),
        "digits": b'{"%s":' % MARK.encode() + b"9" * 12_000 + b"}",
        "an exponent": b'{"%s":1e999999999}' % MARK.encode(),
        "digits in place of each number": re.sub(rb"\d+\.\d+", b"9" * 400 + b"." + MARK.encode(), good, count=1),
        "text in place of a number": re.sub(rb"\d+\.\d+", MARK.encode(), good, count=1),
    }


def good_line(nation: str) -> bytes:
    home = load_nation(nation).home
    assert home is not None
    sample = home.joinpath("samples", FORMATS[nation], "launch_over_japan.txt").read_text(encoding="utf-8")
    return next(line for line in sample.splitlines() if line and not line.startswith("#")).encode()


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"{MARK} from a file")
    return path


@pytest.mark.parametrize("nation", FORMATS)
def test_a_hostile_line_is_refused_quickly_and_its_values_stand_nowhere(
    nation: str, secret_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    intake = Intake(load_nation(nation))
    system = identity_of_uri(f"spiffe://{nation.lower()}.vedette/system/test/feed")

    def take(line: bytes) -> object:
        native = national_pb2.NativeReport(format=FORMATS[nation], line=line)
        return intake.take(national_pb2.ReportRequest(native=native), system, now_ns=time.time_ns())

    assert take(good_line(nation)), "the control"
    for what, line in hostile(good_line(nation), secret_file).items():
        began_s = time.process_time()
        with pytest.raises(Refused) as caught:
            take(line)
        assert time.process_time() - began_s < 0.5, what
        assert caught.value.reason == Reason.REASON_UNREADABLE_LINE, what
        assert MARK not in str(caught.value), what
        assert caught.value.detail.isprintable(), what
    assert MARK not in caplog.text
    assert take(good_line(nation)) is not None, "the feed lives on"


async def test_nor_do_they_in_the_answer_the_log_or_the_trail_of_a_gateway(
    world: World, secret_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with lying_hub(world), gateway(world, "USA") as usa:
        async with usa.reporting() as system, system.reporter() as reporter:
            for what, line in hostile(good_line("USA"), secret_file).items():
                with pytest.raises(RefusedByGateway) as caught:
                    await reporter.report_line(line, format="event-xml")
                assert caught.value.reason == Reason.REASON_UNREADABLE_LINE, what
                assert MARK not in str(caught.value), what
            assert (await reporter.report_line(good_line("USA"), format="event-xml")).content_count == 1
        await usa.audits("refused", reason="UNREADABLE_LINE")
        trail = (usa.world.folder / "usa" / "data" / "audit.jsonl").read_text()
    assert MARK not in trail + caplog.text
    assert all(json.loads(line) for line in trail.splitlines())


async def test_a_session_cannot_carry_control_characters_either(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async with lying_hub(world), gateway(world, "KOR") as kor, kor.reporting() as system:
        for session in (f"{MARK}\n", f"\x1b[31m{MARK}", MARK * 10, f"{MARK} "):
            async with system.reporter(session=session) as reporter:
                with pytest.raises(RefusedByGateway) as caught:
                    await reporter.report_line(good_line("KOR"), format="radar-json")
            assert caught.value.reason == Reason.REASON_OUT_OF_RANGE
            assert MARK not in str(caught.value)
    assert MARK not in caplog.text
