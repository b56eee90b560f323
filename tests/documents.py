"""Documents that are executed: what a reader is told to do is done, and what he is shown compared.

A fenced block is a step according to its info string:

    sh              commands for one shell session, the same for the whole document
    sh terminal     a program in a terminal of its own, which goes on until Ctrl-C
    json typed      lines typed into the newest terminal
    json seen, text seen
                    lines that this terminal shows, by and by and in this order
    json, text      all that the `sh` block before it has printed

**Ctrl-C** outside of a block presses it in the oldest terminal. In what is shown, `...` stands for
anything within a line. Other blocks are not executed.

Blocks of another language, such as `python`, are parts of one program. Each language is for a
reader of its own.

So that a test can have an exchange of its own, REPLACED gives what is replaced in commands, and put
back in what they print.
"""

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.exchange import eventually

ROOT = Path(__file__).parents[1]

COMMAND_TIMEOUT_S = 60.0
PROGRAM_TIMEOUT_S = 60
STOP_TIMEOUT_S = 40

_STEP = re.compile(
    r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$|(?P<stop>\*\*Ctrl-C\*\*)", re.DOTALL | re.MULTILINE
)
_CONTROL = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[78])|\r")


@dataclass(frozen=True)
class Step:
    """A block, or Ctrl-C, and the line where it is."""

    kind: str
    text: str
    line: int


def steps(document: str, language: str = "sh") -> list[Step]:
    """Return all that a reader of one language is to do or to compare."""
    found = []
    runs_before = False
    for match in _STEP.finditer(document):
        line = document.count("\n", 0, match.start()) + 1
        kind = "Ctrl-C" if match["stop"] else " ".join(match["info"].split())
        if kind == "bash":
            kind = "sh"
        if kind in ("json", "text"):
            # A block that nothing printed shows how something looks.
            kind = "printed" if runs_before else ""
        runs_before = kind == language
        kind = {"json seen": "seen", "text seen": "seen", "json typed": "typed"}.get(kind, kind)
        if kind in (language, "sh terminal", "typed", "seen", "printed", "Ctrl-C"):
            found.append(Step(kind, match["text"] or "", line))
    return found


def pattern(shown: str) -> re.Pattern[str]:
    """Return what a shown text matches: itself, with anything in place of `...`."""
    return re.compile(".*".join(map(re.escape, shown.split("..."))))


def is_shown(shown: str, printed: str) -> bool:
    """Tell whether a text was printed as it is shown; spaces at the ends of lines do not count."""
    expected, actual = (
        [line.rstrip() for line in text.strip("\n").splitlines()] for text in (shown, printed)
    )
    return len(expected) == len(actual) and all(
        pattern(one).fullmatch(other) for one, other in zip(expected, actual, strict=True)
    )


class Session:
    """One shell, in which blocks are run one after the other; the first failure is an error."""

    _LOOP = (
        "set -euo pipefail;"
        ' while IFS= read -r -d "" block <&3; do eval "$block"; printf "\\0"; done'
    )

    def __init__(self, environment: Mapping[str, str]) -> None:
        commands, self._commands = os.pipe()
        self._shell = subprocess.Popen(
            ["bash", "-c", f"exec 3<&{commands}; {self._LOOP}"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[commands],
        )
        os.close(commands)

    def run(self, block: str) -> str:
        """Run a block and return what it prints."""
        os.write(self._commands, block.encode() + b"\0")
        assert self._shell.stdout is not None
        printed = b""
        while not printed.endswith(b"\0"):
            ready, _, _ = select.select([self._shell.stdout], [], [], COMMAND_TIMEOUT_S)
            assert ready, f"silent for {COMMAND_TIMEOUT_S} s:\n{block}\n{printed.decode()}"
            piece = os.read(self._shell.stdout.fileno(), 65_536)
            assert piece, f"failed:\n{block}\n{printed.decode()}"
            printed += piece
        return printed[:-1].decode()

    def close(self) -> None:
        os.close(self._commands)
        self._shell.kill()
        self._shell.communicate()


class Terminal:
    """A program in the foreground of a terminal of its own, and all that it has shown."""

    def __init__(self, block: str, environment: Mapping[str, str]) -> None:
        self.block = block
        self.shown: list[str] = []
        self._compared = 0
        self._program = subprocess.Popen(
            ["bash", "-c", block],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._program.stdout is not None
        self.shown.extend(_CONTROL.sub("", line) for line in self._program.stdout)

    def type(self, lines: str) -> None:
        assert self._program.stdin is not None
        self._program.stdin.write(lines)
        self._program.stdin.flush()

    def has_shown(self, line: str) -> bool:
        """Tell whether a line came after those that were compared already."""
        for place in range(self._compared, len(self.shown)):
            if pattern(line.strip()).search(self.shown[place]):
                self._compared = place + 1
                return True
        return False

    def interrupt(self) -> int:
        """Press Ctrl-C; return the exit code."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._program.pid, signal.SIGINT)
        return self._program.wait(STOP_TIMEOUT_S)

    def close(self) -> None:
        if self._program.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.interrupt()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._program.pid, signal.SIGKILL)
        self._program.wait()
        self._reader.join(STOP_TIMEOUT_S)
        for stream in (self._program.stdin, self._program.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()


class Reader:
    """Somebody who does everything that a document says."""

    def __init__(self, environment: Mapping[str, str], replaced: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._replaced = dict(replaced)
        self._session = Session(self._environment)
        self._terminals: list[Terminal] = []
        self._printed = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()
        for terminal in reversed(self._terminals):
            terminal.close()

    def read(self, document: str) -> int:
        """Do and compare everything; return how many steps that were. Raises AssertionError."""
        everything = steps(document)
        for step in everything:
            try:
                self._do(step)
            except AssertionError as error:
                raise AssertionError(f"line {step.line}: {error}") from None
        return len(everything)

    def _do(self, step: Step) -> None:
        match step.kind:
            case "sh":
                self._printed = self._back(self._session.run(self._there(step.text)))
            case "sh terminal":
                self._terminals.append(Terminal(self._there(step.text), self._environment))
            case "printed":
                assert is_shown(step.text, self._printed), (
                    f"shown:\n{step.text}\nprinted:\n{self._printed}"
                )
            case "typed":
                self._terminals[-1].type(step.text)
            case "seen":
                terminal = self._terminals[-1]
                for line in filter(str.strip, map(self._there, step.text.splitlines())):
                    eventually(lambda line=line: terminal.has_shown(line), self._missing(line))
            case "Ctrl-C":
                self._stop()

    def _missing(self, line: str) -> str:
        return f"{line!r} in\n{''.join(self._terminals[-1].shown[-40:])}"

    def _stop(self) -> None:
        terminal = self._terminals.pop(0)
        code = terminal.interrupt()
        terminal.close()
        assert code == 0, f"{terminal.block} ended with {code}:\n{''.join(terminal.shown[-40:])}"

    def _there(self, text: str) -> str:
        for written, real in self._replaced.items():
            text = text.replace(written, real)
        return text

    def _back(self, text: str) -> str:
        for written, real in self._replaced.items():
            text = text.replace(real, written)
        return text


def run_program(
    document: str, language: str, command: Sequence[str | Path], mark: str, port: int
) -> int:
    """Run all blocks of one language as one program, and compare what each prints.

    The program is the last argument of `command`, and `mark` a statement that prints a NUL. Returns
    how many blocks there were; raises AssertionError.
    """
    everything = steps(document, language)
    blocks = [step for step in everything if step.kind == language]
    text = "".join(f"{step.text}{mark}\n" for step in blocks)
    program = Path(command[-1])
    program.write_text(text.replace("127.0.0.1:3000", f"127.0.0.1:{port}"))
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=PROGRAM_TIMEOUT_S,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    printed = iter(done.stdout.split("\0"))
    last = ""
    for step in everything:
        if step.kind == language:
            last = next(printed, "")
        else:
            assert is_shown(step.text, last), (
                f"line {step.line}: shown:\n{step.text}\nprinted:\n{last}\n{done.stderr}"
            )
    assert done.returncode == 0, done.stderr
    return len(blocks)


@contextlib.contextmanager
def reader(folder: Path, port: int) -> Iterator[Reader]:
    """Give somebody who has nothing yet: no servers, no data, and a port of his own."""
    given = ("DATABASE_URL", "REDIS_URL", "KAFKA_", "EXCHANGE_", "PORT", "HOST", "PYTEST_")
    environment = {
        name: value for name, value in os.environ.items()
        if not name.startswith(given) or name == "EXCHANGE_TEST_SESSION"
    }  # fmt: skip
    environment |= {"PORT": str(port), "EXCHANGE_DATA": str(folder / "data")}
    # `python` is the one of the virtual environment.
    environment["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment |= {"EXCHANGE_URL": f"http://127.0.0.1:{port}", "COLUMNS": "100"}
    replaced = {
        "127.0.0.1:3000": f"127.0.0.1:{port}",
        "localhost:3000": f"localhost:{port}",
        # Not all tests from within one of them: whether they can be found and start.
        "./ops/test\n": "./ops/test --collect-only --quiet >/dev/null\n",
        # What the commands write.
        "orders.jsonl": str(folder / "orders.jsonl"),
        "trades.csv": str(folder / "trades.csv"),
    }
    with Reader(environment, replaced) as made:
        yield made
