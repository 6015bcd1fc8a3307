"""One XML element tree a line, read safely.

A line of this feed needs no document type, entity, comment, CDATA section or processing instruction, so `<!` and `<?`
are refused before the parser sees them: nothing can be declared, fetched or expanded. Depth is bounded afterwards:
an event has children, and those have none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from broker.plugin import UnreadableLine
from nations import fields

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Event", "event_of"]

FORBIDDEN = ("<!", "<?")


class Event:
    """An event's attributes, and its children taken one by one; what is left over is an error."""

    def __init__(self, attributes: Mapping[str, str], children: Mapping[str, Mapping[str, str]]) -> None:
        """Take the attributes of the event and of its children, by the children's names."""
        self.attributes = fields.TextFields(attributes)
        self._left = dict(children)

    def child(self, name: str) -> fields.TextFields:
        """Return the attributes of a child; of a missing one, none."""
        return fields.TextFields(self._left.pop(name, {}), name)

    def has(self, name: str) -> bool:
        """Whether the child is there and not yet taken."""
        return name in self._left

    def close(self) -> None:
        """Raise UnreadableLine if something was not taken: nobody understands it."""
        self.attributes.close()
        if self._left:
            raise UnreadableLine("an element that does not belong there")


def event_of(line: bytes) -> Event:
    """Return the event that a line holds. Raises UnreadableLine."""
    text = fields.text_of(line)
    if any(mark in text for mark in FORBIDDEN):
        raise UnreadableLine("a declaration, comment or instruction: none belongs in an event")
    try:
        root = ET.fromstring(text)  # noqa: S314 - see FORBIDDEN
    except (ET.ParseError, ValueError):
        raise UnreadableLine("not XML") from None
    if root.tag != "event":
        raise UnreadableLine("not an event")
    children: dict[str, Mapping[str, str]] = {}
    for child in root:
        if len(child) or child.tag in children:
            raise UnreadableLine("an element twice, or one inside another")
        children[child.tag] = child.attrib
    if any((element.text or "").strip() or (element.tail or "").strip() for element in root.iter()):
        raise UnreadableLine("text between the elements")
    return Event(root.attrib, children)
