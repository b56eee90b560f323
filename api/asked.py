"""One WebSocket message of a client: what was asked, or why it cannot be understood. Pure."""

from typing import Any

from api.connections import KINDS, Kind
from api.errors import ApiError, invalid
from api.schemas import (
    NewOrder,
    Number,
    printable,
    read_identifier,
    read_message,
    read_order_message,
)
from workers.core.instruments import DEFAULT_INSTRUMENT

REQUEST_ID_LENGTH_MAX = 64
# As many digits as a sequence below 2^53 has.
INTEGER_LENGTH_MAX = 16
# Types of messages that submit an order.
ORDER_TYPES = ("order", "limit", "market")
WHERE = "message"


class Asked:
    """A message as it was understood. Its type decides which of the members are set.

    For an order: `body`. For a cancel: `order_id`, and `instrument` when it names one. To subscribe
    and unsubscribe: `kinds` and `instrument`, and `resume_from` and `timeline` when it names them.
    For any: `request_id`, to be echoed; and `error` in place of the others.
    """

    __slots__ = (
        "body", "error", "instrument", "kinds", "order_id", "request_id", "resume_from", "timeline",
        "type",
    )  # fmt: skip

    def __init__(self, payload: bytes) -> None:
        self.type = ""
        self.request_id: str | int | None = None
        self.body: NewOrder | None = None
        self.order_id = ""
        self.instrument: str | None = None
        self.kinds: list[Kind] = []
        self.resume_from: int | None = None
        self.timeline: int | None = None
        self.error: ApiError | None = None
        try:
            self._read(read_message(payload))
        except ApiError as error:
            self.error = error

    @property
    def client_id(self) -> str | None:
        """Whose order it is; None for anything else."""
        return self.body.client_id if self.body else None

    def _read(self, fields: dict[str, Any]) -> None:
        kind = fields.get("type")
        if type(kind) is str:
            self.type = "order" if kind in ORDER_TYPES else kind
        self.request_id = _request_id(fields.get("request_id"))
        match self.type:
            case "order":
                self.body = read_order_message(fields)
            case "cancel":
                _check_names(fields, "order_id", "instrument", "client_id")
                self.order_id = read_identifier(fields.get("order_id"), "order_id", WHERE)
                if fields.get("instrument") is not None:
                    self.instrument = _instrument(fields)
            case "subscribe" | "unsubscribe":
                _check_names(
                    fields, "channel", "channels", "instrument", "resume_from", "timeline",
                    "client_id",
                )  # fmt: skip
                self.kinds = _kinds(fields.get("channels", fields.get("channel")))
                self.instrument = _instrument(fields)
                self.resume_from = _number(fields, "resume_from", "a sequence")
                self.timeline = _number(fields, "timeline", "what `subscribed` said")
            case "ping":
                pass
            case _:
                raise invalid(
                    "type", "must be order, cancel, subscribe, unsubscribe or ping", WHERE
                )


def _request_id(value: object) -> str | int | None:
    if value is None:
        return None
    if type(value) is Number:
        if value.removeprefix("-").isdigit() and len(value) <= INTEGER_LENGTH_MAX:
            return int(value)
    elif type(value) is str and len(value) <= REQUEST_ID_LENGTH_MAX:
        return printable(value)
    raise invalid(
        "request_id",
        f"must be a string of at most {REQUEST_ID_LENGTH_MAX} characters or an integer",
        WHERE,
    )


def _instrument(fields: dict[str, Any]) -> str:
    return read_identifier(fields.get("instrument", DEFAULT_INSTRUMENT), "instrument", WHERE)


def _kinds(names: object) -> list[Kind]:
    choices = ", ".join(KINDS)
    if isinstance(names, str):
        names = [names]
    if not isinstance(names, list) or not names:
        raise invalid("channels", f"must be a list of {choices}", WHERE)
    if unknown := [name for name in names if name not in KINDS]:
        raise invalid("channels", f"has no {printable(str(unknown[0]))}: use {choices}", WHERE)
    return [kind for kind in KINDS if kind in names]


def _number(fields: dict[str, Any], name: str, what: str) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if type(value) is Number and value.isdigit() and len(value) <= INTEGER_LENGTH_MAX:
        return int(value)
    raise invalid(name, f"must be {what}: a whole number", WHERE)


def _check_names(fields: dict[str, Any], *names: str) -> None:
    for name in fields:
        if name not in (*names, "type", "request_id"):
            raise invalid(printable(name), "is not a known field", WHERE)
