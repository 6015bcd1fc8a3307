"""What intake must know again after a restart: time bases of exercises, and what adapters noted of their sessions.

Small values in groups. They change while reports are read, outside any batch; each batch of the pipeline takes those
along that are not durable yet, so that a note is durable at the latest with the report that it belongs to. A note may
be durable without its report, if the process dies in between; the report then comes again and finds what it left.
A batch that was not stored leaves them for the next one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX: Final = "intake/"


class Notes:
    """All notes of one gateway. Used on the event loop alone."""

    def __init__(self, state: Mapping[str, bytes]) -> None:
        """Take over what the store's state under `intake/` says."""
        self._groups: dict[str, dict[str, bytes]] = {}
        self._unsaved: dict[str, bytes] = {}
        self._pending: dict[str, bytes] = {}
        for full_name, value in state.items():
            group, _, name = full_name.removeprefix(PREFIX).partition("/")
            self._groups.setdefault(group, {})[name] = value

    def of(self, group: str) -> dict[str, bytes]:
        """Return the notes of a group, by their names."""
        return dict(self._groups.get(group, {}))

    def note(self, group: str, name: str, value: bytes) -> None:
        """Write a note; an empty value forgets it. `group` has no slash in it."""
        notes = self._groups.setdefault(group, {})
        if notes.get(name, b"") == value:
            return
        if value:
            notes[name] = value
        else:
            del notes[name]
        self._unsaved[f"{PREFIX}{group}/{name}"] = value

    # -- the batch under way ----------------------------------------------------------------------------------------
    def pending_state(self) -> dict[str, bytes]:
        """Return what must be stored together with the batch."""
        self._pending = dict(self._unsaved)
        return self._pending

    def keep(self) -> None:
        """Note that the batch is durable. What changed meanwhile goes with the next one."""
        for name, value in self._pending.items():
            if self._unsaved.get(name) == value:
                del self._unsaved[name]
        self._pending = {}
