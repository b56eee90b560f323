"""What ends a job before it is done."""


class Stopped(Exception):
    """Raised when the process is told to stop; the job goes on where it was when it runs again."""
