"""The solver is never on the way of a message."""

from __future__ import annotations

import subprocess
import sys

RUNNING = "broker.gateway.server, broker.hub.server, broker.hub.supervise"


def _run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)  # noqa: S603


def test_what_runs_never_imports_the_solver() -> None:
    code = f"import sys, {RUNNING}; print([name for name in sys.modules if name in ('z3', 'broker.gateway.proof')])"
    assert _run(code).stdout == "[]\n"


def test_without_the_solver_the_answer_says_what_to_install() -> None:
    found = _run("import sys; sys.modules['z3'] = None\nimport broker.gateway.proof")
    assert found.returncode == 1
    assert "ImportError: proofs need the solver z3: pip install vedette[prove]" in found.stderr


def test_without_the_solver_the_command_says_so_too() -> None:
    code = (
        "import sys; sys.modules['z3'] = None\n"
        "from broker.cli import main\n"
        "main(['policy', 'prove', 'nations/kor/release.yaml'], prog_name='vedette')"
    )
    found = _run(code)
    assert found.returncode == 2
    assert "pip install vedette[prove]" in found.stderr
