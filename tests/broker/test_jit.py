"""Compiled or not, for this processor or for any: the same bytes are published."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from broker import jit
from broker.fusion import impact, kernel

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
# Two nations and a coarse one, late and re-reported messages: every kernel has something to do.
SCRIPT = """
import hashlib, importlib.util, sys
{before}
from broker import jit
installed = jit.install()
spec = importlib.util.spec_from_file_location("world", sys.argv[1])
world = importlib.util.module_from_spec(spec)
sys.modules["world"] = world
spec.loader.exec_module(world)
from vedette.v1 import content_pb2
flight, log = world.fly(), world.World.log("JPN")
arrivals = world.Nation("KOR").radar(flight, "k", seed=1, first_s=30.0, last_s=150.0, every_s=4.0, sigma_mps=40.0)
arrivals += world.Nation("USA").radar(flight, "u", seed=2, first_s=60.0, last_s=150.0, every_s=5.0, latency_s=9.0)
for number, (at_s, content) in enumerate(
    world.Nation("JPN").radar(flight, "j", seed=3, first_s=70.0, last_s=150.0, every_s=6.0)
):
    content = world.coarse(content, 1000.0, 1.0 if number % 2 else 0.0)
    content.header.lineage.kind = content_pb2.LINEAGE_KIND_PARTIAL if number % 3 == 0 else content_pb2.LINEAGE_KIND_RAW
    arrivals.append((at_s, content))
log.feed(arrivals, until_s=200.0)
published = b"".join(one.SerializeToString(deterministic=True) for one in log.revisions)
digest = hashlib.sha256(published).hexdigest()
print(installed, len(log.revisions), digest)
"""


def published(before: str = "", **environ: str) -> tuple[bool, int, str]:
    """Return whether kernels were compiled, how many revisions were published and their digest, of another process."""
    world = ROOT / "tests" / "broker" / "fusion" / "conftest.py"
    done = subprocess.run(  # noqa: S603 - ours
        [sys.executable, "-c", SCRIPT.replace("{before}", before), str(world)],
        env={key: value for key, value in os.environ.items() if key != jit.VARIABLE} | environ,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    installed, count, digest = done.stdout.split()
    return installed == "True", int(count), digest


@pytest.fixture(scope="module")
def interpreted() -> tuple[int, str]:
    installed, count, digest = published(VEDETTE_JIT="off")
    assert not installed
    assert count > 20
    return count, digest


def test_without_numba_everything_goes_on(interpreted: tuple[int, str]) -> None:
    installed, *found = published("sys.modules['numba'] = None")
    assert not installed
    assert tuple(found) == interpreted


def test_the_arrays_of_the_compiled_kernels_give_the_bits_of_the_interpreters_lists(
    interpreted: tuple[int, str],
) -> None:
    installed, *found = published(NUMBA_DISABLE_JIT="1")
    assert installed
    assert tuple(found) == interpreted


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "environ",
    [{}, {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}],
    ids=["for this processor", "for any processor"],
)
def test_what_is_compiled_gives_the_same_bytes(
    environ: dict[str, str], interpreted: tuple[int, str], tmp_path: Path
) -> None:
    installed, *found = published(NUMBA_CACHE_DIR=str(tmp_path), **environ)
    assert installed
    assert tuple(found) == interpreted
    kept = sorted(path.suffix for path in tmp_path.rglob("kernel.folded_*"))
    assert kept == [".nbc", ".nbi"], "and is kept for the next process"


class Wrong(kernel.Interpreted):
    """Kernels that differ from the interpreter in one bit."""

    def folded(
        self, numbers: bytes, z: Sequence[float], gap_ns: int, variance: float, *, common: bool
    ) -> tuple[bool, bytes]:
        """Return what is right, but for the last bit."""
        is_taken, right = super().folded(numbers, z, gap_ns, variance, common=common)
        return is_taken, right[:-8] + bytes([right[-8] ^ 1]) + right[-7:]


def test_kernels_that_differ_in_one_bit_are_not_used() -> None:
    assert jit.gives_the_same(kernel.Interpreted(), impact.Interpreted())
    assert not jit.gives_the_same(Wrong(), impact.Interpreted())
    higher = impact.Interpreted(apogee_m=lambda state: math.nextafter(impact.apogee_m(state), math.inf))
    assert not jit.gives_the_same(kernel.Interpreted(), higher)


def test_what_was_compiled_with_another_constant_is_another_function(monkeypatch: pytest.MonkeyPatch) -> None:
    def digest() -> str:
        found = hashlib.sha256()
        for function in (kernel.folded, impact.fallen):
            jit.put_into(found.update, function, set())
        return found.hexdigest()

    before = digest()
    assert digest() == before
    for name in (
        "broker.fusion.kernel.GATE_3",
        "broker.fusion.models.DRAG_DOUBT",
        "broker.geodesy.J2",
        "broker.geodesy.AIR_SCALE_M",
    ):
        with monkeypatch.context() as changed:
            changed.setattr(name, 0.5)
            assert digest() != before
    assert digest() == before


@pytest.mark.parametrize(("value", "wanted"), [("off", False), ("0", False), ("on", True), ("", True)])
def test_an_operator_can_do_without(value: str, wanted: bool) -> None:  # noqa: FBT001 - a case
    assert jit.is_wanted({jit.VARIABLE: value}) == wanted
    assert jit.is_wanted({})
