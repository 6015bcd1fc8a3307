"""Remake what is published of what sharing buys, in README.md, docs/fusion.md and docs/value.svg.

`python -m tests.bench.published`, whenever the estimator changes: a slow test in tests/broker/exercise/test_value.py
says when. The sentences beside the tables are not remade: read them again.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"(```text value\n).*?(\n```)", re.DOTALL)


def main() -> None:
    """Run the command with its defaults, and put its tables where they are published."""
    command = [sys.executable, "-m", "broker", "fusion", "value", "--plot", str(ROOT / "docs" / "value.svg")]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - our own
    kinds = printed.split("\n\n")[:-1]
    medium = next(kind for kind in kinds if kind.startswith("medium:"))
    for page, table in (("README.md", medium), ("docs/fusion.md", "\n\n".join(kinds))):
        path = ROOT / page
        path.write_text(BLOCK.sub(rf"\g<1>{table}\g<2>", path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
