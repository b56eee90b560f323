"""What can go wrong outside, as the rest of the program sees it."""


class AdapterError(Exception):
    """Raised when something outside failed; the subclasses say what that means for us."""


class Unavailable(AdapterError):
    """Raised when a server could not be used and certainly did nothing for us."""


class TimedOut(Unavailable):
    """Raised when a server gave up within the time we allow a statement; it was rolled back."""


class Refused(AdapterError):
    """Raised when a server refuses us as we are set up; the text says what to change."""


class OutcomeUnknown(AdapterError):
    """Raised when a server may or may not have done what was asked: the answer was lost."""


class Fenced(AdapterError):
    """Raised when the epoch has passed to another owner. Say nothing and stop."""


class EpochPassed(Fenced):
    """Raised when Redis knows of `epoch`, which is not before ours, at a take-over."""

    def __init__(self, message: str, epoch: int) -> None:
        super().__init__(message)
        self.epoch = epoch


class Stale(AdapterError):
    """Raised when the stored position is not the one we build on: it was committed before."""


class Contended(AdapterError):
    """Raised when the database rolled us back for another's sake; the same call may be repeated."""


class DataRejected(AdapterError):
    """Raised when the database refused the data itself; repeating the call cannot help."""


class UnknownClients(AdapterError):
    """Raised when the numbers of clients are not at hand; nothing was sent. Ask for them first."""

    def __init__(self, client_ids: set[str]) -> None:
        super().__init__(f"{len(client_ids)} clients")
        self.client_ids = client_ids


class StreamLost(AdapterError):
    """Raised when the stream or its group is gone, or stands before the stored position."""
