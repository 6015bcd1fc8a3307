"""The committed Python code is what the .proto files say, and the check notices when it is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def check(protos: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(protos / "generate.py"), "--check"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603


def test_the_generated_code_is_what_the_agreement_says(protos: Path) -> None:
    done = check(protos)
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == "", "what is in order says nothing"


def test_a_change_that_was_not_generated_is_noticed(protos: Path, tmp_path: Path) -> None:
    copy = tmp_path / "protos"
    shutil.copytree(protos, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert check(copy).returncode == 0
    path = copy / "vedette" / "v1" / "refusal.proto"
    text = path.read_text(encoding="utf-8")
    assert "string incident = 3;" in text
    path.write_text(text.replace("string incident = 3;", "string incident = 3; uint32 extra = 4;"), encoding="utf-8")
    done = check(copy)
    assert done.returncode == 1
    assert "refusal_pb2.py is out of date" in done.stderr
