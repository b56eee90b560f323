"""What ends a job before it is done."""


class Stopped(Exception):
    """Raised when the process is told to stop; run again, the job goes on where it was."""


class TimeLimitReached(Exception):
    """Raised when a run takes longer than its job may; it counts as a failure."""
