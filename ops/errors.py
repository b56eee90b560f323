"""The one error of the command line."""


class OpsError(Exception):
    """Raised when a command cannot go on for a foreseeable reason; the text is one line that says
    what to do, printed without a traceback."""
