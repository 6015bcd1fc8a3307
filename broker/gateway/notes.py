"""What intake must know again after a restart: time bases of exercises, sessions, and what adapters noted of them.

Small values in groups. They change while reports are read, outside any batch; each batch of the pipeline takes those
along that are not durable yet, so that a note is durable at the latest with the report that it belongs to. A note may
be durable without its report, if the process dies in between; the report then comes again and finds what it left.
A batch that was not stored leaves them for the next one.

What only says when something was used last holds its age, as in the ledger: the number of the next mark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX: Final = "intake/"
SESSIONS: Final = "sessions"  # the group of all sessions of which the store may hold reports, by when they were used
_AGE_BYTES: Final = 4


class Notes:
    """All notes of one gateway. Used on the event loop alone."""

    def __init__(self, state: Mapping[str, bytes]) -> None:
        """Take over what the store's state under `intake/` says."""
        self._groups: dict[str, dict[str, bytes]] = {}
        self._unsaved: dict[str, bytes] = {}
        self._pending: dict[str, bytes] = {}
        self.age = 0  # the number of the next mark
        for full_name, value in state.items():
            group, _, name = full_name.removeprefix(PREFIX).partition("/")
            self._groups.setdefault(group, {})[name] = value

    def of(self, group: str) -> dict[str, bytes]:
        """Return the notes of a group, by their names."""
        return dict(self._groups.get(group, {}))

    def count(self, group: str) -> int:
        """Return how many notes a group has."""
        return len(self._groups.get(group, ()))

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

    def use(self, group: str, name: str) -> None:
        """Note that something was used now."""
        self.note(group, name, self.age.to_bytes(_AGE_BYTES, "big"))

    def forget(self, group: str) -> None:
        """Forget all notes of a group."""
        for name in self.of(group):
            self.note(group, name, b"")

    def forget_unused(self, group: str, *, through: int) -> list[str]:
        """Forget what was used at that age or before, and not since; return the names."""
        names = [name for name, used in self.of(group).items() if int.from_bytes(used, "big") <= through]
        for name in names:
            self.note(group, name, b"")
        return names

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
