"""What a dead letter asked for, as a request that is safe to send once more.

An order keeps its order_id, and the matcher is told to look it up: should the client have sent it
again by itself, or should somebody redrive the letter twice, there is one order. Nobody waits for
the answer any more, so it goes to a channel that nobody reads. The deadline counts anew, from now:
whether an order may still be made is for the person to say who sends it.
"""

from ops.errors import OpsError
from workers.adapters.streams import Append
from workers.core.codec import CodecError, decode_request, encode_request
from workers.core.messages import SubmitOrder

REPLY_TO = "replies.redrive"
# Long enough for a matcher that is just being restarted.
TTL_MS = 60_000


def redriven(payload: bytes) -> Append:
    """Return the request to append. Raises OpsError when the payload still cannot be read."""
    try:
        command, _, _ = decode_request(payload, time_us=0, age_us=0)
    except CodecError as error:
        raise OpsError(
            f"It still cannot be read ({error}): sent again, it would be a dead letter again"
        ) from error
    if isinstance(command, SubmitOrder):
        command = command._replace(order_id_given=True)
    request = encode_request(command, ttl_ms=TTL_MS, reply_to=REPLY_TO, correlation=0)
    if isinstance(command, SubmitOrder):
        return Append("again", command.order_id, command.client_id, "", request)
    return Append("cancel", command.order_id, "", "", request)
