"""The sums of the estimate, written out: straight-line code for each size, made from a few lines when this is imported.

Loops over small matrices spend most of their time on the loops. Here every term is a local variable and every sum one
line; nothing is left of the loops, and the interpreter does little but arithmetic. The order of every sum is that of
the functions in `kalman` and `models` which these stand for, so the bits are the same: tests compare them.

What is executed is built from the numbers 3, 6 and 9 in this file and from nothing that comes from outside.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from broker.fusion.kalman import Matrix, State

__all__ = [
    "BURNING",
    "CORRECTED",
    "FALLING",
    "RELINKED",
    "TIMES",
    "WEIGHED",
    "Core",
    "burning_spread",
    "falling_spread",
    "mixture_of",
]

BURNING: Final = 9  # terms
FALLING: Final = 6

# State, covariance, lower factor, gains, squared distance, logarithm of the determinant.
Core: TypeAlias = "tuple[State, Matrix, Matrix, Matrix, float, float]"


class _Corrected(Protocol):
    def __call__(self, state: State, noise: Matrix, measured: Sequence[float], measured_noise: Matrix, /) -> Core: ...


class _Relinked(Protocol):
    def __call__(
        self, link: Matrix, lower: Sequence[Sequence[float]], gains: Sequence[Sequence[float]], variance: float, /
    ) -> Matrix: ...


class _Mixture(Protocol):
    def __call__(
        self, weight: float, one: State, one_noise: Matrix, two: State, two_noise: Matrix, /
    ) -> tuple[State, Matrix]: ...


def _function(name: str, arguments: str, lines: Iterable[str]) -> Callable[..., Any]:
    """Return a function of these lines."""
    source = "\n    ".join([f"def {name}({arguments}):", *lines])
    made: dict[str, Any] = {"log": math.log, "sqrt": math.sqrt}
    exec(compile(source, f"<{__name__}.{name}>", "exec"), made)  # noqa: S102 - see the module
    function: Callable[..., Any] = made[name]
    return function


def _row(name: str, size: int, row: int | None = None) -> str:
    """Return the names of a row's terms."""
    inner = "" if row is None else f"{row}_"
    return ", ".join(f"{name}{inner}{column}" for column in range(size))


def _rows(name: str, rows: int, columns: int) -> str:
    """Return the names of a matrix, row by row."""
    return ", ".join(f"({_row(name, columns, row)})" for row in range(rows))


def _corrected(terms: int, size: int) -> Callable[..., Any]:
    """Return `kalman.corrected` for a measurement of the first `size` terms, without biases."""
    lines = [f"{_row('x', terms)} = state", f"{_rows('p', terms, terms)} = noise", f"{_row('m', size)} = measured"]
    lines += [f"{_rows('r', size, size)} = measured_noise"]
    for k in range(size):  # the Cholesky factor of the innovation's covariance
        for j in range(k):
            less = "".join(f" - l{k}_{i} * l{j}_{i}" for i in range(j))
            lines.append(f"l{k}_{j} = (p{k}_{j} + r{k}_{j}{less}) / l{j}_{j}")
        less = "".join(f" - l{k}_{i} * l{k}_{i}" for i in range(k))
        lines += [f"d{k} = p{k}_{k} + r{k}_{k}{less}", f"if d{k} <= 0.0: d{k} = 1.0", f"l{k}_{k} = sqrt(d{k})"]
    for k in range(size):
        less = "".join(f" - l{k}_{j} * w{j}" for j in range(k))
        lines += [f"i{k} = 1.0 / l{k}_{k}", f"w{k} = (m{k} - x{k}{less}) * i{k}"]
        for t in range(terms):
            less = "".join(f" - l{k}_{j} * g{j}_{t}" for j in range(k))
            lines.append(f"g{k}_{t} = (p{k}_{t}{less}) * i{k}")
    for a in range(terms):
        for b in range(a, terms):
            lines += [f"e{k} = g{k}_{a} * g{k}_{b}" for k in range(size)]
            less = "".join(f" - e{k}" for k in range(size))
            lines.append(f"p{a}_{b} = p{a}_{b}{less}")
            if a != b:
                lines.append(f"p{b}_{a} = p{b}_{a}{less}")
    after = ", ".join(f"x{t}" + "".join(f" + w{k} * g{k}_{t}" for k in range(size)) for t in range(terms))
    distance = " + ".join(f"w{k} * w{k}" for k in range(size))
    log_det = " + ".join(f"log(d{k})" for k in range(size))
    lower = ", ".join(f"({_row('l', k + 1, k)},)" for k in range(size))
    lines.append(
        f"return ({after}), ({_rows('p', terms, terms)}), ({lower}), ({_rows('g', size, terms)}), {distance}, {log_det}"
    )
    return _function(f"corrected_{terms}_{size}", "state, noise, measured, measured_noise", lines)


def _mixture(terms: int) -> Callable[..., Any]:
    """Return `kalman.mixture` for so many terms."""
    lines = [f"{_row('x', terms)} = one", f"{_row('y', terms)} = two"]
    lines += [f"{_rows('p', terms, terms)} = one_noise", f"{_rows('q', terms, terms)} = two_noise"]
    lines += ["rest = 1.0 - weight", "between = weight * rest"]
    for t in range(terms):
        lines += [f"d{t} = x{t} - y{t}", f"b{t} = between * d{t}"]
    mean = ", ".join(f"weight * x{t} + rest * y{t}" for t in range(terms))
    noise = ", ".join(
        "(" + ", ".join(f"weight * p{a}_{b} + rest * q{a}_{b} + b{a} * d{b}" for b in range(terms)) + ")"
        for a in range(terms)
    )
    return _function(
        f"mixture_{terms}", "weight, one, one_noise, two, two_noise", [*lines, f"return ({mean}), ({noise})"]
    )


def _burning_spread() -> Callable[..., Any]:
    """Return `models.burning_spread`; `jerk` is its density times the step."""
    lines = [f"{_rows('p', 9, 9)} = noise", "half = 0.5 * step_s * step_s", "squared = step_s * step_s"]
    for a in range(6):
        more = [f" + half * p{a + 6}_{b}" if a < 3 else "" for b in range(9)]  # noqa: PLR2004 - a vector
        lines += [f"m{a}_{b} = p{a}_{b} + step_s * p{a + 3}_{b}{more[b]}" for b in range(9)]
    white = {}
    for k in range(3):
        white[k, k] = "jerk * squared * squared / 20.0"
        white[k + 3, k + 3] = "jerk * squared / 3.0"
        white[k + 6, k + 6] = "jerk"
        white[k, k + 3] = white[k + 3, k] = "jerk * squared * step_s / 8.0"
        white[k, k + 6] = white[k + 6, k] = "jerk * squared / 6.0"
        white[k + 3, k + 6] = white[k + 6, k + 3] = "jerk * step_s / 2.0"
    names = {text: f"z{index}" for index, text in enumerate(dict.fromkeys(white.values()))}
    lines += [f"{name} = {text}" for text, name in names.items()]
    rows = []
    for a in range(9):
        m = "m" if a < 6 else "p"  # noqa: PLR2004 - the last three rows stay
        found = [f"{m}{a}_{b} + step_s * {m}{a}_{b + 3} + half * {m}{a}_{b + 6}" for b in range(3)]
        found += [f"{m}{a}_{b} + step_s * {m}{a}_{b + 3}" for b in range(3, 6)]
        found += [f"{m}{a}_{b}" for b in range(6, 9)]
        terms = [text if (a, b) not in white else f"{text} + {names[white[a, b]]}" for b, text in enumerate(found)]
        rows.append(f"({', '.join(terms)})")
    return _function("burning_spread", "noise, step_s, jerk", [*lines, f"return ({', '.join(rows)})"])


def _falling_spread() -> Callable[..., Any]:
    """Return `models.plus_white(kalman.sandwich(flow, noise), …)`, given what is to be added."""
    lines = [f"{_rows('f', 6, 6)} = flow", f"{_rows('p', 6, 6)} = noise"]
    for a in range(6):
        lines += [f"h{a}_{b} = " + " + ".join(f"f{a}_{k} * p{k}_{b}" for k in range(6)) for b in range(6)]
    rows = []
    for a in range(6):
        terms = []
        for b in range(6):
            text = " + ".join(f"f{b}_{k} * h{a}_{k}" for k in range(6))
            if a % 3 == b % 3:
                text += " + " + ("cross" if a != b else "place" if a < 3 else "speed")  # noqa: PLR2004 - a vector
            terms.append(text)
        rows.append(f"({', '.join(terms)})")
    return _function("falling_spread", "flow, noise, place, cross, speed", [*lines, f"return ({', '.join(rows)})"])


def _times(terms: int) -> Callable[..., Any]:
    """Return flow * rows, where rows have three columns: how what follows from a bias moves on."""
    lines = [f"{_rows('f', terms, terms)} = flow", f"{_rows('p', terms, 3)} = rows"]
    found = ", ".join(
        "(" + ", ".join("0.0" + "".join(f" + f{a}_{k} * p{k}_{b}" for k in range(terms)) for b in range(3)) + ")"
        for a in range(terms)
    )
    return _function(f"times_{terms}", "flow, rows", [*lines, f"return ({found})"])


def _weighed(terms: int) -> Callable[..., Any]:
    """Return the weighted mean of two matrices of three columns."""
    lines = [f"{_rows('p', terms, 3)} = one", f"{_rows('q', terms, 3)} = two", "rest = 1.0 - weight"]
    found = ", ".join(
        "(" + ", ".join(f"weight * p{a}_{b} + rest * q{a}_{b}" for b in range(3)) + ")" for a in range(terms)
    )
    return _function(f"weighed_{terms}", "weight, one, two", [*lines, f"return ({found})"])


def _relinked(terms: int, size: int, *, own: bool) -> Callable[..., Any]:
    """Return how a corrected model depends on a bias of its own track (of that variance), or of another."""
    lower = ", ".join(f"({_row('l', k + 1, k)},)" for k in range(size))
    lines = [f"{_rows('p', terms, 3)} = link", f"{lower} = lower", f"{_rows('g', size, terms)} = gains"]
    for k in range(size):  # f: the whitened measurement's dependence on this bias
        for b in range(3):
            start = f"(p{k}_{b} + variance)" if own and k == b else f"p{k}_{b}"
            less = "".join(f" - l{k}_{j} * f{j}_{b}" for j in range(k))
            lines.append(f"f{k}_{b} = ({start}{less}) / l{k}_{k}")
    found = ", ".join(
        "("
        + ", ".join(f"p{a}_{b} - ({' + '.join(f'g{k}_{a} * f{k}_{b}' for k in range(size))})" for b in range(3))
        + ")"
        for a in range(terms)
    )
    return _function(f"relinked_{terms}_{size}", "link, lower, gains, variance", [*lines, f"return ({found})"])


CORRECTED: Final[dict[tuple[int, int], _Corrected]] = {
    (terms, size): _corrected(terms, size) for terms in (BURNING, FALLING) for size in (3, 6)
}
RELINKED: Final[dict[tuple[int, int, bool], _Relinked]] = {
    (terms, size, own): _relinked(terms, size, own=own)
    for terms in (BURNING, FALLING)
    for size in (3, 6)
    for own in (False, True)
}
TIMES: Final[dict[int, Callable[[Matrix, Matrix], Matrix]]] = {terms: _times(terms) for terms in (BURNING, FALLING)}
WEIGHED: Final[dict[int, Callable[[float, Matrix, Matrix], Matrix]]] = {
    terms: _weighed(terms) for terms in (BURNING, FALLING)
}
_MIXTURE: Final[dict[int, _Mixture]] = {terms: _mixture(terms) for terms in (BURNING, FALLING)}
_BURNING_SPREAD: Final = _burning_spread()
_FALLING_SPREAD: Final = _falling_spread()


def mixture_of(weight: float, one: State, one_noise: Matrix, two: State, two_noise: Matrix) -> tuple[State, Matrix]:
    """Return mean and covariance of two Gaussians, the first weighted so."""
    return _MIXTURE[len(one)](weight, one, one_noise, two, two_noise)


def burning_spread(noise: Matrix, step_s: float, jerk: float) -> Matrix:
    """Return the burning model's covariance a step later, with white jerk of so much in that step."""
    spread: Matrix = _BURNING_SPREAD(noise, step_s, jerk)
    return spread


def falling_spread(flow: Matrix, noise: Matrix, place: float, cross: float, speed: float) -> Matrix:
    """Return flow * noise * flow' and what white acceleration adds: of the place, between both, of the speed."""
    spread: Matrix = _FALLING_SPREAD(flow, noise, place, cross, speed)
    return spread
