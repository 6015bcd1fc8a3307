"""Resume tokens, and how a token of another log is told from one of ours.

A log is not the same for ever: the hub's disk may be lost and the store begun anew, or restored from a backup and then
written on differently. A position alone would then point into the middle of another log, and whoever resumed there
would miss what stands before it and never know. So a token names the *run* of the hub that gave it out, and the store
holds, for each of the last `limits.RUNS_KEPT` runs, how far each log went when the next run began. A token holds if its
run is known and had come as far as the token says; a run that the store knows nothing of, or no record of which was
restored, wrote another log. Whoever is refused begins without a token: doubles do no harm, a gap would.

Token: 8 bytes each, the cursor of the urgent lane, that of the normal lane (equal for a follower of the whole log), and
the number of the run, which is random.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.hub.route import LOG_PREFIX
from broker.refusal import Reason, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.store import Store

STATE_NAME: Final = "runs"
POSITION_BYTES: Final = 8
_TOKEN_BYTES: Final = 3 * POSITION_BYTES


@dataclass(frozen=True, slots=True)
class Runs:
    """The run that is under way, and the earlier ones by which the logs were written."""

    current: bytes
    ends: Mapping[bytes, Mapping[str, int]]  # by run, oldest first: where the log of each recipient ended

    @classmethod
    async def begin(cls, store: Store) -> Runs:
        """Begin a run, durably: no token of it is given out before. Raises StoreError."""
        known = json.loads((await store.state(STATE_NAME)).get(STATE_NAME, b"[]"))
        streams = await store.streams(LOG_PREFIX)
        heads = {stream.removeprefix(LOG_PREFIX): (await store.bounds(stream)).last for stream in streams}
        ends = {bytes.fromhex(run): heads if went is None else went for run, went in known[-limits.RUNS_KEPT :]}
        current = secrets.token_bytes(POSITION_BYTES)
        state = [[run.hex(), went] for run, went in ends.items()] + [[current.hex(), None]]
        await store.append([], state={STATE_NAME: json.dumps(state).encode()})
        return cls(current, ends)

    def token(self, cursors: Sequence[int]) -> bytes:
        """Return the resume token for one cursor per lane, or for one cursor in all."""
        return position_of(cursors[0]) + position_of(cursors[-1]) + self.current

    def cursors(self, token: bytes, recipient: str, *, lanes: int, head: int) -> tuple[int, ...]:
        """Return a token's cursors, one per lane, given where the log ends now. Raises Refused: not of this log."""
        if not token:
            return (0,) * lanes
        urgent, normal, run = (token[start : start + POSITION_BYTES] for start in (0, 8, 16))
        if len(token) != _TOKEN_BYTES or (lanes == 1 and urgent != normal):
            raise _other_log()
        both = int.from_bytes(urgent, "big"), int.from_bytes(normal, "big")
        known = run == self.current or run in self.ends
        end = head if run == self.current else self.ends.get(run, {}).get(recipient, 0)
        if not known or max(both) > min(end, head):
            raise _other_log()
        return both[:lanes]


def position_of(position: int) -> bytes:
    """Return a position in a log as the wire has it."""
    return position.to_bytes(POSITION_BYTES, "big")


def _other_log() -> Refused:
    return Refused(Reason.REASON_BAD_POSITION, "not a token of this log: begin without one")
