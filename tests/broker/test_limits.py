"""The list of bounds is the list of what is bounded."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ELSEWHERE = {"SEAL_PATH_MAX"}  # `certs` imports nothing of ours and keeps its own; tests/certs compares the two


def test_every_limit_bounds_something() -> None:
    names = re.findall(r"^([A-Z_]+): Final", (ROOT / "broker" / "limits.py").read_text(encoding="utf-8"), re.MULTILINE)
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("broker", "certs", "nations")
        for path in (ROOT / folder).rglob("*.py")
    )
    assert [name for name in names if len(re.findall(rf"\b{name}\b", code)) == 1] == [*ELSEWHERE]
