"""The sums of the estimate, written out: straight-line code for each size, made from a few lines when this is imported.

Loops over small matrices spend most of their time on the loops. Here every term is a local variable and every sum one
line; nothing is left of the loops, and the interpreter does little but arithmetic. The same functions are compiled
where a compiler is at hand (broker/jit.py): they use numbers, indexes and loops over whole numbers, and nothing else.
The order of every sum is fixed by what is written here, so the bits are the same either way.

All of them work in place on `s`, the numbers of an estimate, one behind the other:

    0          the probability that the motor burns
    1 … 9      burning: position, velocity, push;    10 … 54  its covariance, the upper triangle row by row
    55 … 60    falling: position and velocity;       61 … 81  its covariance
    82 …       for each bias 45: how the burning state depends on it (9 rows of 3), how the falling one does (6 rows)

What is executed is built from the numbers 3, 6 and 9 in this file and from nothing that comes from outside.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "FALLING_AT",
    "LINK",
    "NEGLIGIBLE",
    "SIZE",
    "Row",
    "blend",
    "blend_links",
    "burning_3",
    "burning_6",
    "burning_own",
    "falling_3",
    "falling_6",
    "falling_own",
    "flow_links",
    "merged",
    "spread_along",
    "spread_burning",
    "spread_falling",
    "triangle",
]

SIZE: Final = 82
LINK: Final = 45
FALLING_AT: Final = 55
NEGLIGIBLE: Final = 1e-2  # the probability of a motor that is kept in mind and not said
_FALLING_LINK: Final = 27  # where the falling model's dependence begins within a bias


class _Model(NamedTuple):
    """Where a model's numbers stand."""

    terms: int
    state: int
    noise: int
    link: int  # after the beginning of a bias


BURNING: Final = _Model(9, 1, 10, 0)
FALLING: Final = _Model(6, FALLING_AT, 61, _FALLING_LINK)


class Row(Protocol):
    """Numbers by place: a list, or an array where this is compiled."""

    def __getitem__(self, place: int, /) -> float: ...
    def __setitem__(self, place: int, value: float, /) -> None: ...
    def __len__(self) -> int: ...


class _Take(Protocol):
    def __call__(self, s: Row, count: int, z: Row, weight: float, variance: float, /) -> tuple[float, float]: ...


def triangle(size: int, row: int, column: int) -> int:
    """Return the place of a term in an upper triangle that is written row by row."""
    low, high = min(row, column), max(row, column)
    return low * size - low * (low - 1) // 2 + high - low


def _function(name: str, arguments: str, lines: Iterable[str]) -> Callable[..., Any]:
    """Return a function of these lines."""
    source = "\n    ".join([f"def {name}({arguments}):", *lines])
    made: dict[str, Any] = {"sqrt": math.sqrt, "__name__": __name__}
    exec(compile(source, f"<{__name__}.{name}>", "exec"), made)  # noqa: S102 - see the module
    function: Callable[..., Any] = made[name]
    return function


# --- reading and writing ----------------------------------------------------------------------------------------------


def _upper(terms: int) -> list[tuple[int, int]]:
    """Return rows and columns of an upper triangle in order."""
    return [(a, b) for a in range(terms) for b in range(a, terms)]


def _read(model: _Model, state: str, noise: str, terms: int | None = None) -> list[str]:
    """Return lines that read the first terms of a model. A covariance's term has one name whichever way it is asked."""
    size = terms or model.terms
    lines = [f"{state}{a} = s[{model.state + a}]" for a in range(size)] if state else []
    if noise:
        places = [(a, b, model.noise + triangle(model.terms, a, b)) for a, b in _upper(size)]
        lines += [f"{noise}{a}_{b} = s[{place}]" for a, b, place in places]
    return lines


def _sym(name: str, a: int, b: int) -> str:
    """Return the name of a term of a symmetric matrix."""
    return f"{name}{min(a, b)}_{max(a, b)}"


def _noise_place(model: _Model, a: int, b: int) -> str:
    """Return where a term of a model's covariance stands."""
    return f"s[{model.noise + triangle(model.terms, a, b)}]"


def _column(name: str, model: _Model) -> list[str]:
    """Return lines that read how a model depends on one axis of a bias, the one whose column begins at `at`."""
    return [f"{name}{a} = s[at + {model.link + 3 * a}]" for a in range(model.terms)]


def _columns(first: str, lines: Iterable[str]) -> list[str]:
    """Return lines that do something for each axis of each of the first `count` biases."""
    return [*first.splitlines(), "for column in range(3 * count):", "    at = 82 + column + column // 3 * 42"] + [
        f"    {line}" for line in lines
    ]


# --- two models, one object -------------------------------------------------------------------------------------------


def _blend() -> Callable[..., Any]:
    """Return how each model begins a step: as a mixture of both, the falling one with a motor that just started."""
    lines = [*_read(BURNING, "x", "p"), *_read(FALLING, "y", "q")]
    lines += ["stays_not = 1.0 - stays", "comes_not = 1.0 - comes"]
    lines += ["between = stays * stays_not", "among = comes * comes_not"]
    lines += [f"d{a} = x{a} - y{a}" for a in range(6)] + [f"d{a} = x{a}" for a in range(6, 9)]
    lines += [f"b{a} = between * d{a}" for a in range(9)] + [f"c{a} = among * d{a}" for a in range(6)]
    for a in range(9):
        rest = f" + stays_not * y{a}" if a < FALLING.terms else ""
        lines.append(f"s[{BURNING.state + a}] = stays * x{a}{rest}")
    for a, b in _upper(9):
        rest = f" + stays_not * q{a}_{b}" if b < FALLING.terms else " + stays_not * push" if a == b else ""
        lines.append(f"{_noise_place(BURNING, a, b)} = stays * p{a}_{b}{rest} + b{a} * d{b}")
    lines += [f"s[{FALLING.state + a}] = comes * x{a} + comes_not * y{a}" for a in range(6)]
    for a, b in _upper(6):
        lines.append(f"{_noise_place(FALLING, a, b)} = comes * p{a}_{b} + comes_not * q{a}_{b} + c{a} * d{b}")
    return _function("blend", "s, stays, comes, push", lines)


def _blend_links() -> Callable[..., Any]:
    """Return the same for what depends on the biases: the motor's push does not."""
    inner = [*_column("p", BURNING), *_column("q", FALLING)]
    for a in range(9):
        rest = f" + stays_not * q{a}" if a < FALLING.terms else ""
        inner.append(f"s[at + {3 * a}] = stays * p{a}{rest}")
    inner += [f"s[at + {_FALLING_LINK + 3 * a}] = comes * p{a} + comes_not * q{a}" for a in range(6)]
    first = "stays_not = 1.0 - stays\ncomes_not = 1.0 - comes"
    return _function("blend_links", "s, count, stays, comes", _columns(first, inner))


def _merged() -> Callable[..., Any]:
    """Return position, velocity and their covariance, both models weighed, into `out`: 6 and 21 numbers.

    A motor that burns with less than `NEGLIGIBLE` probability is left out.
    """
    lines = [*_read(BURNING, "x", "p", 6), *_read(FALLING, "y", "q")]
    lines += [f"weight = s[0] if s[0] >= {NEGLIGIBLE!r} else 0.0", "rest = 1.0 - weight", "between = weight * rest"]
    lines += [line for a in range(6) for line in (f"d{a} = x{a} - y{a}", f"b{a} = between * d{a}")]
    lines += [f"out[{a}] = weight * x{a} + rest * y{a}" for a in range(6)]
    lines += [
        f"out[{6 + place}] = weight * p{a}_{b} + rest * q{a}_{b} + b{a} * d{b}"
        for place, (a, b) in enumerate(_upper(6))
    ]
    return _function("merged", "s, out", lines)


# --- time passes ------------------------------------------------------------------------------------------------------


def _spread_burning() -> Callable[..., Any]:
    """Return the burning covariance a step later: three integrations, and white jerk of so much in that step."""
    lines = [*_read(BURNING, "", "p"), "half = 0.5 * step_s * step_s", "squared = step_s * step_s"]
    white = {"0": "jerk * squared * squared / 20.0", "3": "jerk * squared / 3.0", "6": "jerk"}
    white |= {"03": "jerk * squared * step_s / 8.0", "06": "jerk * squared / 6.0", "36": "jerk * step_s / 2.0"}
    lines += [f"z{name} = {text}" for name, text in white.items()]
    for a in range(6):  # rows of flow * covariance, as far as the upper triangle needs them
        for b in range(a, 9):
            push = f" + half * {_sym('p', a + 6, b)}" if a < 3 else ""  # noqa: PLR2004 - a vector
            lines.append(f"m{a}_{b} = {_sym('p', a, b)} + step_s * {_sym('p', a + 3, b)}{push}")
    for a, b in _upper(9):
        m = "m" if a < 6 else "p"  # noqa: PLR2004 - the last three rows stay
        text = f"{m}{a}_{b}"
        if b < 6:  # noqa: PLR2004 - the last three columns stay
            text += f" + step_s * {m}{a}_{b + 3}"
        if b < 3:  # noqa: PLR2004 - a vector
            text += f" + half * {m}{a}_{b + 6}"
        if a % 3 == b % 3:
            kinds = sorted({a - a % 3, b - b % 3})
            text += f" + z{''.join(map(str, kinds))}"
        lines.append(f"{_noise_place(BURNING, a, b)} = {text}")
    return _function("spread_burning", "s, step_s, jerk", lines)


def _flow(terms: int) -> str:
    """Return the names of a flow's terms: how the later state depends on the earlier one."""
    return ", ".join(f"f{a}_{k}" for a in range(terms) for k in range(terms))


def _spread_falling() -> Callable[..., Any]:
    """Return the falling covariance along its flow, with what white acceleration adds to place, both and speed."""
    lines = [f"{_flow(6)} = flow", *_read(FALLING, "", "q")]
    for a in range(6):
        lines += [f"h{b} = " + " + ".join(f"f{a}_{k} * {_sym('q', k, b)}" for k in range(6)) for b in range(6)]
        for b in range(a, 6):
            text = " + ".join(f"f{b}_{k} * h{k}" for k in range(6))
            if a % 3 == b % 3:
                text += " + " + ("cross" if a != b else "place" if a < 3 else "speed")  # noqa: PLR2004 - a vector
            lines.append(f"{_noise_place(FALLING, a, b)} = {text}")
    return _function("spread_falling", "s, flow, place, cross, speed", lines)


def _spread_along() -> Callable[..., Any]:
    """Add to the falling covariance what white acceleration along a unit vector adds to place, both and speed."""
    lines = []
    for a in range(6):
        for b in range(a, 6):
            name = "place" if b < 3 else "speed" if a >= 3 else "cross"  # noqa: PLR2004 - a vector
            found = _noise_place(FALLING, a, b)
            lines.append(f"{found} = {found} + {name} * ({'uvw'[a % 3]} * {'uvw'[b % 3]})")
    return _function("spread_along", "s, u, v, w, place, cross, speed", lines)


def _flow_links() -> Callable[..., Any]:
    """Return how what depends on the biases moves on with both models."""
    inner = [*_column("p", BURNING), *_column("q", FALLING)]
    for a in range(6):
        push = f" + half * p{a + 6}" if a < 3 else ""  # noqa: PLR2004 - a vector
        inner.append(f"s[at + {3 * a}] = p{a} + step_s * p{a + 3}{push}")
    sums = [" + ".join(f"f{a}_{k} * q{k}" for k in range(6)) for a in range(6)]
    inner += [f"s[at + {_FALLING_LINK + 3 * a}] = {text}" for a, text in enumerate(sums)]
    first = f"{_flow(6)} = flow\nhalf = 0.5 * step_s * step_s"
    return _function("flow_links", "s, count, step_s, flow", _columns(first, inner))


# --- a report comes ---------------------------------------------------------------------------------------------------


def _take(model: _Model, size: int, *, own: bool) -> Callable[..., Any]:
    """Return how a model takes a measurement `z` of its first `size` terms: those, then their covariance's triangle.

    `weight` multiplies that covariance. All of the `count` biases are of other tracks; with `own`, one more is behind
    them: the reporting track's, of that variance. Returns the squared distance and the determinant, both of the miss.
    """
    terms = model.terms
    lines = _read(model, "x", "p")
    if own:  # how the terms go with the bias that is measured together with the first three of them
        places = [(a, b, model.link + 3 * a + b) for a in range(terms) for b in range(3)]
        lines += ["own_at = 82 + 45 * count", *(f"o{a}_{b} = s[own_at + {place}]" for a, b, place in places)]
    lines += _factor(size, own=own)
    for k in range(size):
        less = "".join(f" - l{k}_{j} * w{j}" for j in range(k))
        lines.append(f"w{k} = (z[{k}] - x{k}{less}) * i{k}")
        for t in range(terms):
            less = "".join(f" - l{k}_{j} * g{j}_{t}" for j in range(k))
            more = f" + o{t}_{k}" if own else ""
            lines.append(f"g{k}_{t} = ({_sym('p', k, t)}{more}{less}) * i{k}")
    for t in range(terms):
        more = "".join(f" + w{k} * g{k}_{t}" for k in range(size))
        lines.append(f"s[{model.state + t}] = x{t}{more}")
    for a, b in _upper(terms):
        less = "".join(f" - g{k}_{a} * g{k}_{b}" for k in range(size))
        lines.append(f"{_noise_place(model, a, b)} = p{a}_{b}{less}")
    lines += _columns("", _relink(model, size, own=False))
    if own:
        lines += ["for column in range(3):", "    at = own_at + column"]
        lines += [f"    {line}" for line in _relink(model, size, own=True)]
    distance = " + ".join(f"w{k} * w{k}" for k in range(size))
    lines.append(f"return {distance}, {' * '.join(f'd{k}' for k in range(size))}")
    name = f"take_{terms}_{size}{'_own' if own else ''}"
    return _function(name, "s, count, z, weight, variance", lines)


def _factor(size: int, *, own: bool) -> list[str]:
    """Return lines for the Cholesky factor of the miss's covariance. A pivot that rounding has eaten is made 1 m2."""
    lines = []
    for k in range(size):
        text = ""
        for j in range(k + 1):
            text = f"{_sym('p', j, k)} + weight * z[{size + triangle(size, j, k)}]"
            if own:
                text += f" + o{k}_{j} + o{j}_{k}" + (" + variance" if j == k else "")
            text += "".join(f" - l{k}_{i} * l{j}_{i}" for i in range(j))
            if j < k:
                lines.append(f"l{k}_{j} = ({text}) * i{j}")
        lines += [f"d{k} = {text}", f"if d{k} <= 0.0: d{k} = 1.0"]
        lines += [f"l{k}_{k} = sqrt(d{k})", f"i{k} = 1.0 / l{k}_{k}"]
    return lines


def _relink(model: _Model, size: int, *, own: bool) -> list[str]:
    """Return lines for how the corrected model depends on an axis of a bias: another track's, or the own."""
    lines = _column("o", model)
    for k in range(size):  # f: how the whitened miss depends on it
        less = "".join(f" - l{k}_{j} * f{j}" for j in range(k))
        lines.append(f"f{k} = o{k}")
        if own:
            lines.append(f"if column == {k}: f{k} = o{k} + variance")
        lines.append(f"f{k} = (f{k}{less}) * i{k}")
    for a in range(model.terms):
        less = "".join(f" - g{k}_{a} * f{k}" for k in range(size))
        lines.append(f"s[at + {model.link + 3 * a}] = o{a}{less}")
    return lines


blend: Final[Callable[[Row, float, float, float], None]] = _blend()
blend_links: Final[Callable[[Row, int, float, float], None]] = _blend_links()
merged: Final[Callable[[Row, Row], None]] = _merged()
spread_burning: Final[Callable[[Row, float, float], None]] = _spread_burning()
spread_along: Final[Callable[[Row, float, float, float, float, float, float], None]] = _spread_along()
spread_falling: Final[Callable[[Row, tuple[float, ...], float, float, float], None]] = _spread_falling()
flow_links: Final[Callable[[Row, int, float, tuple[float, ...]], None]] = _flow_links()
burning_3: Final[_Take] = _take(BURNING, 3, own=False)
burning_6: Final[_Take] = _take(BURNING, 6, own=False)
burning_own: Final[_Take] = _take(BURNING, 3, own=True)
falling_3: Final[_Take] = _take(FALLING, 3, own=False)
falling_6: Final[_Take] = _take(FALLING, 6, own=False)
falling_own: Final[_Take] = _take(FALLING, 3, own=True)
