"""Write the Python side of the protocol next to each .proto file; with --check, only say what differs.

The generated code is committed, so that nobody needs a compiler to use it, and it is made with the oldest
grpcio-tools that we support (pinned in pyproject.toml): code from an older generator runs under a newer runtime,
never the other way round (protobuf.dev/support/cross-version-runtime-guarantee).
"""

from __future__ import annotations

import os
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
PACKAGE = Path("vedette", "v1")
MARKER = "# Generated from the .proto file of the same name by protos/generate.py. Do not edit.\n"


def main() -> int:
    """Exit status: 0 written or up to date, 1 out of date, 2 the compiler refused."""
    checking = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not checking:
        print("usage: generate.py [--check]", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        made = _compile(Path(scratch))
        if made is None:
            return 2
        stale = _stale(made)
        if checking:
            for name in stale:
                print(f"{name} is out of date: run `make generate` and commit the result", file=sys.stderr)
            return 1 if stale else 0
        for path in _generated():
            path.unlink()
        for name, text in made.items():
            (PROTOS / name).write_text(text, encoding="utf-8")
    return 0


def _compile(scratch: Path) -> dict[str, str] | None:
    sources = sorted(str(path.relative_to(PROTOS)) for path in (PROTOS / PACKAGE).glob("*.proto"))
    include = resources.files("grpc_tools") / "_proto"
    # The compiler's plugins are installed beside this interpreter, which need not be on the path.
    os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    status = protoc.main(
        [
            "protoc",
            f"--proto_path={PROTOS}",
            f"--proto_path={include}",
            f"--python_out={scratch}",
            f"--grpc_python_out={scratch}",
            f"--mypy_out=quiet:{scratch}",  # it would name every file that it writes
            f"--mypy_grpc_out=quiet:{scratch}",
            *sources,
        ]
    )
    if status != 0:
        return None
    made: dict[str, str] = {}
    services = {path.stem for path in map(Path, sources) if "\nservice " in (PROTOS / path).read_text(encoding="utf-8")}
    for path in sorted((scratch / PACKAGE).iterdir()):
        is_stub_of_nothing = "_pb2_grpc" in path.name and path.name.split("_pb2_grpc")[0] not in services
        if not is_stub_of_nothing:
            made[str(PACKAGE / path.name)] = MARKER + path.read_text(encoding="utf-8")
    return made


def _generated() -> list[Path]:
    return sorted(path for pattern in ("*_pb2*.py", "*_pb2*.pyi") for path in (PROTOS / PACKAGE).glob(pattern))


def _stale(made: dict[str, str]) -> list[str]:
    present = {str(path.relative_to(PROTOS)): path.read_text(encoding="utf-8") for path in _generated()}
    return sorted(name for name in made.keys() | present.keys() if made.get(name) != present.get(name))


if __name__ == "__main__":
    sys.exit(main())
