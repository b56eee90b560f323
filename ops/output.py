"""What `ops/run` prints: each line with the name of the process it comes from."""

import os
import sys
from collections.abc import Mapping, Sequence

COLOURS = {"run": 37, "web": 36, "matcher": 33, "jobs": 35, "mirror": 34, "clock": 32, "market": 96}


class Output:
    """Prints lines to stdout, coloured on a terminal; a reader that went away does not matter."""

    def __init__(self, names: Sequence[str], env: Mapping[str, str]) -> None:
        self._width = max(map(len, ["run", *names]))
        self._coloured = sys.stdout.isatty() and not env.get("NO_COLOR")
        self._open = True

    def line(self, name: str, text: str) -> None:
        """Print one line of a process."""
        label = f"{name:<{self._width}} |"
        if self._coloured:
            label = f"\033[{COLOURS.get(name, 37)}m{label}\033[0m"
        self.text(f"{label} {text}")

    def text(self, text: str) -> None:
        """Print it as it is."""
        if not self._open:
            return
        try:
            print(text, flush=True)
        except OSError:
            # Nobody reads any more (`./ops/run | head`, a closed terminal): go on without words.
            self._open = False
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
