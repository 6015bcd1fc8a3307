"""Random valid messages, made from the descriptors and their bounds, and random policies over all leaves.

Both are made from one number, so that hypothesis draws and shrinks a number and the rest is plain, fast code.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import strategies as st

from broker.content import LEAVES, SCHEMA_DIGEST, check_content
from broker.gateway.release import Policy, Subject
from broker.leaves import BODIES_UNDER_POLICY
from vedette.v1 import content_pb2, envelope_pb2, options_pb2

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from hypothesis.strategies import SearchStrategy

RECIPIENTS = ("self", "USA", "JPN")
CLASSIFICATIONS = (envelope_pb2.CLASSIFICATION_UNCLASSIFIED, envelope_pb2.CLASSIFICATION_SECRET)
# For each pattern in the .proto files, texts that match it.
TEXTS = {
    "[A-Za-z0-9._-]{1,48}": ("ex-1", "K.2"),
    "[A-Za-z0-9 ._/-]*": ("aegis-3/console 1", "hub"),
    "[A-Za-z0-9._-]*": ("7", "v1.2"),
    "[A-Za-z0-9 ._-]*": ("Aegis 3", "green-pine.1"),
    "[A-Za-z0-9 ./-]*": ("HYDROPAC 1/26", "N-12"),
    "[A-Z]{3,8}": ("KOR", "USA"),
    "[A-Z]{3}": ("JPN", "USA", "KOR"),
    "[A-Z]{2}-[A-Z0-9]{1,3}": ("JP-01", "KR-11", "JP-47"),
    "[a-z0-9_.]*": ("source.name",),
}
WHENS = (
    "true",
    *(f'body == "{body}"' for body in BODIES_UNDER_POLICY),
    'body in ["launch", "track", "impact"]',
    '"NOFORN" in label.caveats',
    "to in label.releasable_to",
    "label.classification >= Classification.CLASSIFICATION_SECRET",
    "precedence >= Precedence.PRECEDENCE_FLASH",
    "mode == Mode.MODE_EXERCISE || mode == Mode.MODE_TEST",
    "content.track.source.kind == SensorKind.SENSOR_KIND_AIRBORNE_RADAR",
    'content.launch.source.kind in [SensorKind.SENSOR_KIND_SEA_RADAR, SensorKind.SENSOR_KIND_OTHER] && to != "JPN"',
    "to in content.impact.nations_affected",
    "has(content.track.state.velocity_mps) && !content.track.manoeuvre_suspected",
    "content.launch.count.most > 3u",
    "content.launch.confidence >= 0.5 || has(content.launch.azimuth_deg)",
    '!(content.header.origin == "KOR") || content.status.state == EventState.EVENT_STATE_NOT_A_LAUNCH',
)
LEVELS = ("withheld", "50km", "10km", "1km", "exact")


class Maker:
    """Makes messages and policies from one number."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - the same messages for the same number

    def content(self, body: str | None = None, *, density: float | None = None) -> content_pb2.Content:
        """Return a valid content with a body of that name, or of any that a policy places."""
        self.density = self.random.choice((0.3, 0.8, 1.0)) if density is None else density
        made = content_pb2.Content()
        self._fill(made.header)
        header = made.header
        header.message_id, header.origin = self.random.randbytes(16), "KOR"
        header.mode = self.random.choice(
            (content_pb2.MODE_REAL_WORLD, content_pb2.MODE_EXERCISE, content_pb2.MODE_TEST)
        )
        if header.mode == content_pb2.MODE_EXERCISE and not header.HasField("exercise"):
            self._fill(header.exercise)
        elif header.mode != content_pb2.MODE_EXERCISE:
            header.ClearField("exercise")
        name = body or self.random.choice(BODIES_UNDER_POLICY)
        getattr(made, name).SetInParent()
        self._fill(getattr(made, name))
        check_content(made, incoming=True)
        return made

    def label(self) -> envelope_pb2.SecurityLabel:
        return envelope_pb2.SecurityLabel(
            policy="KOR",
            classification=self.random.choice(CLASSIFICATIONS),
            releasable_to=self.random.choice((["JPN", "KOR", "USA"], ["KOR", "USA"], ["JPN", "KOR", "USA"])),
            caveats=self.random.choice(([], [], ["NOFORN"])),
        )

    def subject(self, body: str | None = None) -> Subject:
        return Subject(self.content(body), self.label(), self.random.randint(1, 5))

    def policy_text(self, *, rules: int | None = None, whens: tuple[str, ...] = WHENS) -> str:
        names = [f"group_{number}" for number in range(self.random.randint(2, 12))]
        groups: dict[str, list[str]] = {name: [] for name in names}
        window: dict[str, str] = {}
        for path, leaf in LEAVES.items():
            owner = leaf.fields[-1].containing_type
            above = path.rpartition(".")[0] if owner is not None and owner.name == "TimeWindow" else path
            groups[window.setdefault(above, self.random.choice(names))].append(path)
        lines = [
            "format: vedette-release/v1",
            "nation: KOR",
            "version: 3",
            "effective: 2026-01-01T00:00:00Z",
            "expires: 2028-01-01T00:00:00Z",
            f"schema: {SCHEMA_DIGEST}",
            "recipients: [self, USA, JPN]",
            "groups:",
            *(f"  {name}: [{', '.join(paths)}]" for name, paths in groups.items()),
            "rules:",
            # Names the caveat, so that a label that bears it is not denied for an unknown one.
            "- {id: KNOWN, effect: deny, to: [self, USA, JPN], when: '\"NEVER\" in label.caveats', reason: r}",
            "- {id: KNOWN-2, effect: limit, to: [self, USA, JPN], when: 'false', caveats: [NOFORN], reason: r}",
        ]
        count = self.random.randint(1, 12) if rules is None else rules
        lines += [self.rule(number, names, whens) for number in range(count)]
        return "\n".join(lines) + "\n"

    def rule(self, number: int, groups: list[str], whens: tuple[str, ...] = WHENS) -> str:
        effect = self.random.choices(("release", "limit", "deny"), (7, 3, 1))[0]
        to = self.random.sample(RECIPIENTS, self.random.randint(1, 3))
        when = self.random.choice(whens).replace("'", "''")
        key = {"release": "give", "limit": "cap"}.get(effect)
        chosen = self.random.sample(groups, self.random.randint(1, len(groups)))
        levels = {group: self.random.choice(LEVELS[1:] if effect == "release" else LEVELS) for group in chosen}
        parts = [f"id: R-{number}", f"effect: {effect}", f"to: [{', '.join(to)}]", f"when: '{when}'", "reason: r"]
        if key is not None:
            parts.append(f"{key}: {{{', '.join(f'{group}: {level}' for group, level in levels.items())}}}")
            parts.append(f"delay_s: {self.random.choice((0, 0, 2.5, 30))}")
            parts.append(f"minimum_interval_s: {self.random.choice((0, 0, 10))}")
            parts.append(f"caveats: [{self.random.choice(('', 'NO-ONWARD', 'EYES-ONLY'))}]")
        return "- {" + ", ".join(parts) + "}"

    def policy(self, *, rules: int | None = None) -> Policy:
        return Policy.parse(self.policy_text(rules=rules))

    def _fill(self, message: Message) -> None:
        chosen = {self.random.choice([field.name for field in each.fields]) for each in message.DESCRIPTOR.oneofs}
        for field in message.DESCRIPTOR.fields:
            bounds = field.GetOptions().Extensions[options_pb2.bounds]
            in_oneof = field.containing_oneof is not None and len(field.containing_oneof.fields) > 1
            if in_oneof and field.name not in chosen:
                continue
            least = not field.has_presence and not field.is_repeated and bounds.least > 0
            fixed = bool(bounds.items) and 0 not in bounds.items
            if bounds.required or least or fixed or self.random.random() < self.density:
                self._set(message, field, bounds)
        self._settle(message)

    def _set(self, message: Message, field: Any, bounds: options_pb2.Bounds) -> None:
        if not field.is_repeated:
            if field.message_type is not None:
                self._value(field, bounds, getattr(message, field.name))
            else:
                setattr(message, field.name, self._value(field, bounds, None))
            return
        count = self.random.choice(list(bounds.items)) if bounds.items else self.random.randint(0, 3)
        values = getattr(message, field.name)
        for _ in range(count):
            if field.message_type is not None:
                self._value(field, bounds, values.add())
            else:
                values.append(self._value(field, bounds, None))

    def _value(self, field: Any, bounds: options_pb2.Bounds, into: Any) -> Any:
        name = field.message_type.full_name if field.message_type is not None else ""
        if name == "google.protobuf.Timestamp":
            into.SetInParent()
            into.seconds, into.nanos = 1_780_000_000 + self.random.randint(0, 900), self.random.randrange(10**9)
        elif name == "google.protobuf.Duration":
            into.SetInParent()
            into.seconds = self.random.randint(0, 60)
        elif name:
            into.SetInParent()
            self._fill(into)
        elif field.enum_type is not None:
            return self.random.choice([number for number in field.enum_type.values_by_number if number])
        else:
            return self._scalar(field, bounds)
        return into

    def _scalar(self, field: Any, bounds: options_pb2.Bounds) -> Any:
        if field.type == FieldDescriptor.TYPE_BOOL:
            return self.random.random() < 0.5
        if field.type == FieldDescriptor.TYPE_STRING:
            return self.random.choice(TEXTS[bounds.pattern])
        if field.type == FieldDescriptor.TYPE_BYTES:
            return self.random.randbytes(16)
        least = bounds.least if bounds.HasField("least") else 0
        most = bounds.most if bounds.HasField("most") else 1000
        if field.type == FieldDescriptor.TYPE_DOUBLE:
            edges = (least, most, min(max(0.0, least), most))
            return self.random.choice((*edges, self.random.uniform(least, most), self.random.uniform(least, most)))
        return self.random.randint(int(least), int(most))

    def _settle(self, message: Any) -> None:
        match message.DESCRIPTOR.name:
            case "TimeWindow":
                names = [name for name in ("earliest", "best", "latest") if message.HasField(name)]
                stamps = sorted((getattr(message, name).seconds, getattr(message, name).nanos) for name in names)
                for name, (seconds, nanos) in zip(names, stamps, strict=True):
                    getattr(message, name).seconds, getattr(message, name).nanos = seconds, nanos
            case "Count":
                message.least, message.most = sorted((message.least, message.most))
            case "State":
                if len(message.covariance) == 21 and len(message.velocity_mps) != 3:
                    del message.covariance[:]
                for index, term in enumerate(message.covariance):
                    message.covariance[index] = abs(term) ** 0.5  # up to 3e7 m², about 5 km
            case _:
                pass


@pytest.fixture(scope="session")
def makers() -> SearchStrategy[Maker]:
    """Return a strategy of makers: `data.draw(makers).content()`."""
    return st.integers(0, 2**32).map(Maker)


@pytest.fixture(scope="session")
def maker() -> type[Maker]:
    """Return the class itself, for a message or policy of a given number."""
    return Maker
