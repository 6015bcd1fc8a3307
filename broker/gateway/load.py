"""Load the one nation that this gateway is for.

Only its plugin is imported: the process holds that nation's signing keys, and nobody else's code belongs beside them.
Exactly one distribution may claim the code, and nobody else may claim our import names: a wheel that overwrites
`broker` or `certs` would run with the keys.
"""

from __future__ import annotations

from importlib.metadata import distributions
from typing import Final

from broker.claim import LoadError, claimed
from broker.plugin import Nation

__all__ = ["LoadError", "check_names", "load_nation"]

GROUP: Final = "vedette.nations"
DISTRIBUTION: Final = "vedette"
NAMES: Final = ("broker", "certs", "nations", "vedette")


def load_nation(code: str) -> Nation:
    """Return the plugin of a nation. Raises LoadError."""
    check_names()
    entry = claimed(GROUP, code)
    nation = entry.load()
    if not isinstance(nation, Nation):
        raise LoadError(f"{entry.value} is not a broker.plugin.Nation")
    if nation.code != code:
        raise LoadError(f"{entry.value} is the plugin of {nation.code}, not of {code}")
    return nation


def check_names() -> None:
    """Refuse to run beside another distribution that claims one of our import names. Raises LoadError."""
    for other in distributions():
        # The list of files is searched and not parsed: a gateway that starts anew must be there within a second.
        files = "\n" + (other.read_text("RECORD") or "")
        named = (other.read_text("top_level.txt") or "").split()
        for name in NAMES:
            claims = name in named or f"\n{name}/" in files or f"\n{name}.py," in files
            if claims and other.name.lower() != DISTRIBUTION:
                raise LoadError(f"{other.name} also installs {name!r}: uninstall it, or keep Vedette apart from it")
