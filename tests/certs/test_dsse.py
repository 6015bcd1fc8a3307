from __future__ import annotations

import pytest

from certs import dsse


@pytest.mark.parametrize(
    "text",
    [
        rb'{"payloadType": "\ud800", "signatures": [{"keyid": "a", "sig": ""}]}',
        rb'{"payloadType": "t", "signatures": [{"keyid": "\udfff", "sig": ""}]}',
        rb'{"payloadType": "t", "payload": "\ud800", "signatures": [{"keyid": "a", "sig": ""}]}',
        rb'{"\ud800": 1}',
    ],
)
def test_text_that_nothing_can_write_is_no_document(text: bytes) -> None:
    with pytest.raises(dsse.DocumentError, match="not JSON"):
        dsse.decode(text)


def test_text_beyond_ascii_is() -> None:
    assert dsse.load_json('{"name": "\\ud83d\\ude80 대한민국"}'.encode()) == {"name": "🚀 대한민국"}
