"""The kernels of fusion, compiled: the extra `jit`. The same functions, the same bits, a hundredth of the time.

Where numba is installed, a process that fuses many reports calls `install` once, before it says that it is ready. Numba
compiles the functions of `broker.fusion.kernel` and all that they call, as they stand, or loads what it compiled
before. Then they are tried on an invented flight against the interpreter: if a single bit differs, the interpreter goes
on, and the log says so. `VEDETTE_JIT=off` leaves numba out.

* Nothing is given leave to be faster than it is written: no fastmath, no fused multiplication, no vector library
  (Intel's SVML has an exp of its own).
* What was compiled is kept by numba, beside the source or in NUMBA_CACHE_DIR, under a name that holds the digest of
  every function and constant that went in: numba itself looks at one file only, and would go on with an old constant
  of another.
* Loading numba takes longer than folding a short log, so nothing here happens on import. `python -m broker.jit`
  compiles and keeps everything ahead of time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import time
from importlib import import_module
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from broker.fusion import impact, kernel, unrolled
from broker.fusion.kernel import MERGED_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["VARIABLE", "Compiler", "gives_the_same", "install", "is_wanted", "put_into"]

log = logging.getLogger(__name__)

VARIABLE: Final = "VEDETTE_JIT"  # off: the interpreter
_OURS: Final = "broker."


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Say whether an operator lets us compile."""
    return environ.get(VARIABLE, "on").strip().lower() not in {"off", "0", "no", "false"}


def install() -> bool:
    """Compile or load every kernel and let it run from now on; say whether that is so. Takes seconds the first time."""
    if not is_wanted(os.environ):
        return False
    # Read when numba is imported. SVML's exp differs in the last bit from the one that the interpreter has.
    os.environ.setdefault("NUMBA_DISABLE_INTEL_SVML", "1")
    try:
        runs = Compiled()
    except ImportError:
        return False
    except Exception:  # numba's own errors have no common base; whatever they are, the interpreter is as good
        log.exception("the kernels were not compiled: the interpreter goes on")
        return False
    if not gives_the_same(runs, runs.falls):
        log.error("the compiled kernels give other bits than the interpreter, which goes on")
        return False
    kernel.install(runs)
    impact.install(runs.falls)
    return True


class Compiled:
    """The kernel's functions, compiled. Bytes go in and come out, as with the interpreter."""

    def __init__(self) -> None:
        """Compile, or load what was compiled before. Raises ImportError without numba."""
        import numpy as np  # noqa: PLC0415 - with numba, which most processes never need

        numba: Any = import_module("numba")  # takes a second

        row, read = numba.float64[::1], numba.types.Array(numba.float64, 1, "C", readonly=True)
        number, real = numba.int64, numba.float64
        compiler = Compiler(numba)
        self._folded = compiler.entry(kernel.folded, numba.boolean(row, row, read, number, number, real, numba.boolean))
        self._merged = compiler.entry(unrolled.merged, numba.void(read, row))
        six = numba.types.UniTuple(real, 6)
        self.falls = impact.Interpreted(
            fallen=compiler.entry(impact.fallen, numba.types.Tuple((real, six))(six, real)),
            apogee_m=compiler.entry(impact.apogee_m, real(six)),
        )
        self._view, self._empty = np.frombuffer, np.empty
        self._nothing = np.empty(0)
        self._nothing.flags.writeable = False

    def folded(
        self, numbers: bytes, z: Sequence[float], gap_ns: int, variance: float, *, common: bool
    ) -> tuple[bool, bytes]:
        """Return whether a report so much later was taken, and the numbers then. An empty `z`: time passes only."""
        row = self._view(numbers).copy()
        size = len(row)
        report = self._view(kernel.packing(len(z)).pack(*z)) if z else self._nothing
        count = (size - unrolled.SIZE) // unrolled.LINK
        is_taken = self._folded(row, self._empty(size), report, count, gap_ns, variance, common)
        return is_taken, row.tobytes()

    def merged(self, numbers: bytes) -> list[float]:
        """Return position and velocity and their covariance's triangle, both models weighed."""
        out = self._empty(MERGED_SIZE)
        self._merged(self._view(numbers), out)
        found: list[float] = out.tolist()
        return found


class Compiler:
    """Compiles functions of ours together with all of ours that they call."""

    def __init__(self, numba: Any) -> None:  # noqa: ANN401 - a module without types
        self._numba = numba
        self._made: dict[Callable[..., Any], Any] = {}

    def entry(self, function: Callable[..., Any], signature: Any) -> Any:  # noqa: ANN401 - numba's
        """Return a function compiled for these types, kept where numba keeps things."""
        digest = hashlib.sha256()
        put_into(digest.update, function, set())
        named = self._linked(function, f"{function.__name__}_{digest.hexdigest()[:16]}")
        try:
            return self._njit(named, signature, cache=True)
        except RuntimeError:  # nowhere to keep it: a file system that is only read
            return self._njit(named, signature, cache=False)

    def outer(self, function: Callable[..., Any]) -> Any:  # noqa: ANN401 - numba's
        """Return a function compiled for whatever types it is called with; kept nowhere."""
        return self._njit(self._linked(function, function.__name__), cache=False)

    def _njit(self, function: Callable[..., Any], *signature: Any, cache: bool) -> Any:  # noqa: ANN401 - numba's
        # Nothing here divides by nothing, so what that would give is no difference; to look for it takes time.
        return self._numba.njit(*signature, cache=cache, fastmath=False, error_model="numpy")(function)

    def inner(self, function: Callable[..., Any]) -> Any:  # noqa: ANN401 - numba's
        """Return a function that only what is compiled can call."""
        if function not in self._made:
            self._made[function] = self._numba.njit(
                cache=False, fastmath=False, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True
            )(self._linked(function, function.__name__))
        return self._made[function]

    def _linked(self, function: Callable[..., Any], name: str) -> FunctionType:
        """Return a function of the same code that calls the compiled ones of ours, and counts as of a real file."""
        known = {key: self._compiled(value, function) for key, value in _globals_of(function).items()}
        code = function.__code__.replace(co_name=name, co_qualname=name)
        if code.co_filename.startswith("<"):
            code = code.replace(co_filename=unrolled.__file__)
        made = FunctionType(code, known | {"__name__": function.__module__}, name, function.__defaults__)
        made.__module__ = function.__module__
        return made

    def _compiled(self, value: Any, caller: Callable[..., Any]) -> Any:  # noqa: ANN401 - whatever a module holds
        """Return what stands for a global where `caller` is compiled."""
        if isinstance(value, ModuleType) and value.__name__.startswith(_OURS):
            module = ModuleType(value.__name__)
            for name, one in _named_of(value, caller).items():
                setattr(module, name, self._compiled(one, caller))
            return module
        return self.inner(value) if _is_ours(value) else value


def _globals_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return what of its module a function names."""
    known: dict[str, Any] = function.__globals__
    return {name: known[name] for name in function.__code__.co_names if name in known}


def _named_of(module: ModuleType, function: Callable[..., Any]) -> dict[str, Any]:
    """Return what of another module a function names."""
    return {name: getattr(module, name) for name in function.__code__.co_names if hasattr(module, name)}


def _is_ours(value: object) -> bool:
    return isinstance(value, FunctionType) and value.__module__.startswith(_OURS)


def put_into(update: Callable[[bytes], None], function: Callable[..., Any], seen: set[object]) -> None:
    """Put a function, and all that it depends on, into a digest."""
    if function in seen:
        return
    seen.add(function)
    code: CodeType = function.__code__
    update(repr((code.co_code, code.co_consts, code.co_names, code.co_varnames, function.__defaults__)).encode())
    named = _globals_of(function)
    for value in list(named.values()):
        if isinstance(value, ModuleType) and value.__name__.startswith(_OURS):
            named |= _named_of(value, function)
    for name, value in sorted(named.items()):
        if _is_ours(value):
            put_into(update, value, seen)
        else:
            update(f"{name}={value!r}".encode() if isinstance(value, int | float) else name.encode())


# --- a trial ----------------------------------------------------------------------------------------------------------


def gives_the_same(runs: kernel.Runs, falls: impact.Runs) -> bool:
    """Say whether compiled kernels give the interpreter's bits on a flight: up through the air, out of it, and back."""
    return _trial(runs, falls) == _trial(kernel.Interpreted(), impact.Interpreted())


def _trial(runs: kernel.Runs, falls: impact.Runs) -> list[object]:
    """Return everything that the kernels say of an invented flight."""
    pack = kernel.packing
    covariance = [4e4 if row == column else 30.0 for row in range(6) for column in range(row, 6)]
    place = [-3_100_000.0, 3_900_000.0, 4_100_000.0]
    upper = [1e6 if row == column else 1e3 for row in range(9) for column in range(row, 9)]
    numbers = pack(unrolled.SIZE).pack(
        0.8, *place, 0.0, 700.0, 900.0, -9.0, 14.0, 12.0, *upper, *place, 0.0, 700.0, 900.0, *(covariance)
    )
    found: list[object] = []
    at = place
    for step in range(40):
        at = [place[0] + 900.0 * step, place[1] + 2_500.0 * step, place[2] + 3_000.0 * step]
        z = [*at, 900.0, 2_500.0, 3_000.0, *covariance] if step % 2 else [*at, 9e4, 10.0, 20.0, 8e4, 30.0, 7e4]
        is_taken, numbers = runs.folded(numbers, z, (1 + step % 5) * 700_000_001, 0.0, common=step % 7 == 0)
        found += [is_taken, numbers, runs.merged(numbers)]
    link = pack(unrolled.LINK).pack(*([1e4] * unrolled.LINK))
    _, numbers = runs.folded(numbers + link + link, (), 25_000_000_000, 0.0, common=False)
    z = [*(a + 90_000.0 for a in at), 4e6, 0.0, 0.0, 4e6, 0.0, 4e6]
    state = tuple(runs.merged(numbers)[:6])
    found += [falls.fallen(state, coefficient) for coefficient in (500.0, 5_000.0)] + [falls.apogee_m(state)]
    return [*found, numbers, *(runs.folded(numbers, z, 0, variance, common=False) for variance in (0.0, 1e6))]


def main() -> None:
    """Compile everything and say how long that took: for whoever makes an image, so that no process waits for it."""
    began_s = time.process_time()
    is_compiled = install()
    sys.stdout.write(f"compiled={is_compiled} cpu_s={time.process_time() - began_s:.1f}\n")
    sys.exit(0 if is_compiled or not is_wanted(os.environ) else 1)


if __name__ == "__main__":
    main()
