"""Places in a listing as opaque text."""

import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2s

from api.errors import invalid
from api.queries import TIME_US_MAX
from workers.core.records import OrderPlace

# created_us, instrument_id, order_no; then a digest, so that a damaged cursor is told from a place.
_PLACE = struct.Struct(">qiq")
_DIGEST_LENGTH = 4
_TEXT = re.compile(r"[A-Za-z0-9_-]{32}")


def encode_cursor(place: OrderPlace) -> str:
    """Return the cursor of the page after `place`."""
    packed = _PLACE.pack(*place)
    return urlsafe_b64encode(packed + _digest(packed)).decode()


def decode_cursor(text: str) -> OrderPlace:
    """Return the place that the page begins after. Raises ApiError (400)."""
    raw = urlsafe_b64decode(text) if _TEXT.fullmatch(text) else b""
    packed, digest = raw[: _PLACE.size], raw[_PLACE.size :]
    if digest == _digest(packed):
        place = OrderPlace(*_PLACE.unpack(packed))
        if 0 <= place.created_us <= TIME_US_MAX:
            return place
    raise invalid("cursor", "must be the next_cursor of an earlier answer", "query")


def _digest(packed: bytes) -> bytes:
    return blake2s(packed, digest_size=_DIGEST_LENGTH, person=b"orders").digest()
