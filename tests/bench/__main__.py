"""Measure, print, write out/bench.json.

Every contestant runs in turn, round after round, on the same machine in the same minutes, so that its drift meets all
of them; what counts are the ratios. The marks are those of the issue: p50 at most 3 times the bare relay's, p99 at most
20 ms at 200 messages a second; the first durable acknowledgement within a second of exec.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker.demo.process import free_port
from broker.demo.world import OPERATOR, make_world, running
from certs import issue
from tests.bench import fusion, policy, policy_impact, policy_proof
from tests.bench.figures import Figures, Row, figures, middle
from tests.bench.first import first_acknowledgement_s

if TYPE_CHECKING:
    from collections.abc import Iterator

OUT = Path(__file__).resolve().parents[2] / "out" / "bench.json"
WAIT_S = 120.0
P50_RATIO_MARK = 3.0
P99_MARK_MS = 20.0
FIRST_ACK_MARK_S = 1.0
RELAYS = {"relay": "ram", "relay, fsync": "fsync"}


def main() -> int:
    """Exit status: 0 measured, whatever the marks; 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="make bench BENCH='…'")
    parser.add_argument("only", nargs="?", choices=["policy", "fusion"], help="what policies or fusion cost and reach")
    parser.add_argument("part", nargs="*", metavar="PART", help=f"of fusion: {', '.join(fusion.parts())}")
    parser.add_argument("--rate", type=float, default=200.0, help="messages a second")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.only == "policy":
        write({"policy": policy_figures()})
        return 0
    if unknown := set(options.part) - set(fusion.parts()):
        parser.error(f"no part of fusion: {', '.join(sorted(unknown))}")
    if options.only == "fusion":
        write({"fusion": fusion_figures(options.part or fusion.parts())})
        return 0
    count = int(options.rate * options.seconds)
    runs: dict[str, list[Figures]] = {"vedette": [], **{name: [] for name in RELAYS}}
    with tempfile.TemporaryDirectory(prefix="vedette-bench-") as scratch:
        folder = Path(scratch)
        for number in range(options.rounds):
            for name, made in runs.items():
                say(f"round {number + 1} of {options.rounds}: {name}")
                made.append(one_run(name, folder / f"{number}-{name.replace(', ', '-')}", options.rate, count))
        say("from exec to the first durable acknowledgement")
        firsts = {what: first_acknowledgement_s(folder / what, what) for what in ("hub", "gateway")}
    report = summary(runs, firsts, options.rate)
    report["policy"] = policy_figures()
    report["fusion"] = fusion_figures(fusion.parts())
    show(report)
    write(report)
    return 0


def policy_figures() -> list[dict[str, Any]]:
    """Measure and print what a release policy costs."""
    found: list[Row] = []
    for what, part in (("decisions", policy), ("proofs", policy_proof), ("impact", policy_impact)):
        say(f"release policies: {what}")
        for row in part.rows():
            print(row)
            found.append(row)
    return [asdict(row) for row in found]


def fusion_figures(parts: list[str]) -> list[dict[str, Any]]:
    """Measure and print what the fusion core reaches."""
    found: list[Row] = []
    for part in parts:
        say(f"fusion: {part}")
        for row in fusion.rows(part):
            print(row, flush=True)
            found.append(row)
    return [asdict(row) for row in found]


def write(report: dict[str, Any]) -> None:
    """Write out/bench.json; what was measured only now replaces what stood there."""
    known = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(known | report, indent=1) + "\n", encoding="utf-8")
    print(f"written to {OUT}")


def one_run(name: str, folder: Path, rate: float, count: int) -> Figures:
    """Return the figures of one contestant, started afresh."""
    if name in RELAYS:
        with running_relay(folder, RELAYS[name]) as (entry, exit_, certs):
            return measure(["push", entry, certs], ["pull", exit_, certs], rate, count)
    world = make_world(folder, nations=("KOR", "USA"), systems=(OPERATOR,), pictures=True)
    with running(world):
        home = world.authority.directory
        report = ["report", world.address("KOR"), str(home / "kor" / "systems" / "exercise" / OPERATOR)]
        watch = ["watch", world.address("USA"), str(home / "usa" / "watch" / "exercise" / "floor-1")]
        return measure(report, watch, rate, count)


def measure(source: list[str], sink: list[str], rate: float, count: int) -> Figures:
    """Run both ends as processes; return the figures that the sink printed."""
    program = [sys.executable, "-m", "tests.bench.systems"]
    with subprocess.Popen([*program, *sink, str(count)], stdout=subprocess.PIPE, text=True) as receiving:  # noqa: S603
        assert receiving.stdout is not None
        if receiving.stdout.readline().strip() != "ready":
            raise SystemExit(f"{sink[0]} did not connect")
        subprocess.run([*program, *source, str(rate), str(count)], check=True, timeout=WAIT_S)  # noqa: S603
        line = next(line for line in receiving.stdout if line.startswith("["))
        receiving.wait(WAIT_S)
    return figures(json.loads(line), sent=count)


@contextmanager
def running_relay(folder: Path, mode: str) -> Iterator[tuple[str, str, str]]:
    """Run the three processes of a relay; give where to push, where to pull, and the certificates' folder."""
    authority = issue.authority(folder / "certs", nations=["KOR"])
    home = authority.home("KOR")
    ports = [free_port() for _ in range(3)]
    processes: list[subprocess.Popen[bytes]] = []
    # The hub first: the gateway of the origin connects up to it, that of the recipient pulls from it.
    links = [(ports[1], None), (ports[0], f"up:localhost:{ports[1]}"), (ports[2], f"localhost:{ports[1]}")]
    try:
        for number, (port, following) in enumerate(links):
            place = folder / f"process-{number}"
            (place / "data").mkdir(parents=True)
            for name in ("gateway.pem", "gateway.key", "root.pem"):
                (place / name).symlink_to(home / name)
            command = [sys.executable, "-m", "tests.bench.relay", str(number), f"127.0.0.1:{port}", str(place), mode]
            processes.append(subprocess.Popen([*command, *([following] if following else [])]))  # noqa: S603
            time.sleep(1.5)
        yield f"localhost:{ports[0]}", f"localhost:{ports[2]}", str(home)
    finally:
        for process in processes:  # all at once: none is to complain of another's end
            process.kill()
        for process in processes:
            process.wait()


def summary(runs: dict[str, list[Figures]], firsts: dict[str, float], rate: float) -> dict[str, Any]:
    """Return everything as JSON has it."""
    middles = {
        name: {figure: round(middle(made, figure), 3) for figure in ("p50_ms", "p90_ms", "p99_ms", "most_ms")}
        for name, made in runs.items()
    }
    way = middles["vedette"]
    ratios = {
        name: {figure: round(way[figure] / middles[name][figure], 2) for figure in ("p50_ms", "p99_ms")}
        for name in RELAYS
    }
    return {
        "messages_per_second": rate,
        "medians_over_rounds": middles,
        "vedette_over": ratios,
        "first_durable_acknowledgement_s": {what: round(value, 3) for what, value in firsts.items()},
        "marks": {
            f"p50 at most {P50_RATIO_MARK:g} times the bare relay's": ratios["relay"]["p50_ms"] <= P50_RATIO_MARK,
            f"p99 at most {P99_MARK_MS:g} ms": way["p99_ms"] <= P99_MARK_MS,
            f"first durable acknowledgement under {FIRST_ACK_MARK_S:g} s": max(firsts.values()) < FIRST_ACK_MARK_S,
            "nothing lost": all(run.lost == 0 for made in runs.values() for run in made),
        },
        "rounds": {name: [asdict(run) for run in made] for name, made in runs.items()},
    }


def show(report: dict[str, Any]) -> None:
    """Print the table."""
    title = f"at {report['messages_per_second']:g}/s, ms"
    print(f"\n{title:24} {'p50':>8} {'p90':>8} {'p99':>8} {'most':>8}")
    for name, row in report["medians_over_rounds"].items():
        print(f"{name:24} {row['p50_ms']:8.2f} {row['p90_ms']:8.2f} {row['p99_ms']:8.2f} {row['most_ms']:8.2f}")
    for name, row in report["vedette_over"].items():
        print(f"vedette / {name:14} {row['p50_ms']:8.2f} {'':8} {row['p99_ms']:8.2f}")
    for what, value in report["first_durable_acknowledgement_s"].items():
        print(f"exec -> first durable acknowledgement, {what}: {value:.2f} s")
    for mark, held in report["marks"].items():
        print(f"{'reached' if held else 'MISSED'}: {mark}")


def say(text: str) -> None:
    """Show progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
