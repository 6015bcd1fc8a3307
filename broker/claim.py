"""Which plugin a name in the settings means. Only that one is imported, and exactly one distribution may claim it.

Plugins are entry points. Two distributions that claim one name would leave it to chance whose code runs beside our keys
and keeps what we acknowledged; so that is refused, and what to remove is said. Looking up reads the entry points of
what is installed and imports nothing.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points


class LoadError(Exception):
    """A plugin cannot be used; the text says what to install or remove."""


def claimed(group: str, name: str) -> EntryPoint:
    """Return the entry point of that name in a group. Raises LoadError."""
    entries = entry_points(group=group)
    claimants = [entry for entry in entries if entry.name == name]
    if not claimants:
        known = ", ".join(sorted({entry.name for entry in entries})) or "none"
        raise LoadError(f"no plugin for {name} is installed ({group}); there are: {known}")
    owners = {(entry.dist.name if entry.dist else "", entry.value) for entry in claimants}
    if len(owners) > 1:
        values = ", ".join(sorted(f"{value} of {owner}" for owner, value in owners))
        raise LoadError(f"several plugins claim {name} ({group}): {values}; remove all but one")
    return claimants[0]
