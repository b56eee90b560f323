"""Write .env.example: every setting, with its default and what it does.

workers/settings.py is where all of that is said, once: `from_env` reads a variable and gives it to
a field of the class, whose default and comment this module reads from the text.
"""

import argparse
import ast
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import workers.settings

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / ".env.example"
WIDTH = 98

HEAD = """\
# Every setting of Trade engine: written by `python -m ops env`, from workers/settings.py.
#
# What is commented out shows its default. Copy it to .env and set what should differ: honcho and
# compose read that file. Never commit it: URLs hold passwords.
"""

# What Settings.from_env reads and no field stands for, and what is read elsewhere.
BESIDES = {
    "EXCHANGE_ENV": (
        "development",
        "`production`: no embedded servers, and 10,000 requests a minute instead of 1,000,000.",
    ),
    "EXCHANGE_DATA": (
        "",
        "Where ./ops/run keeps the data of its servers; empty: a folder of the user.",
    ),
    "PROMETHEUS_MULTIPROC_DIR": (
        "",
        "A folder in which the metrics of all processes of this machine add up; empty: each "
        "process answers for itself.",
    ),
    "REDIS_CLUSTER_NODES": (
        "",
        "REDIS_URL is a node of a Redis Cluster, and these are more of them, as "
        "`host:port,host:port`: whichever answers tells of the others.",
    ),
    "REDIS_CA": (
        "",
        "For rediss://: the certificate of who signed the server's, as PEM text or a file's path.",
    ),
    "REDIS_TLS_VERIFY": ("1", "0: for rediss://, take any certificate."),
}
# Those without which nothing starts, outside of ./ops/run.
EXAMPLES = {
    "DATABASE_URL": "postgresql://exchange:secret@127.0.0.1:5432/exchange",
    "REDIS_URL": "redis://127.0.0.1:6379/0",
}
NAMES = re.compile(r"[A-Z][A-Z0-9]+(?:_[A-Z0-9]+)*")


@dataclass(frozen=True)
class Variable:
    """An environment variable: its default as text, and what it does."""

    name: str
    default: str
    purpose: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--output", type=Path, default=EXAMPLE, metavar="FILE", help="the file")


def main(args: argparse.Namespace) -> int:
    """Write the file."""
    args.output.write_text(example(), encoding="utf-8")
    return 0


def example() -> str:
    """Return the text of .env.example."""
    return HEAD + "".join(f"\n{_entry(variable)}" for variable in variables())


def _entry(variable: Variable) -> str:
    purpose = textwrap.fill(
        variable.purpose, WIDTH, initial_indent="# ", subsequent_indent="# ",
        break_on_hyphens=False,
    )  # fmt: skip
    if variable.name in EXAMPLES:
        return f"{purpose}\n{variable.name}={EXAMPLES[variable.name]}\n"
    return f"{purpose}\n#{variable.name}={variable.default}\n"


def variables() -> list[Variable]:
    """Return every variable, in the order in which they are read; those read elsewhere last."""
    return read_from(Path(workers.settings.__file__).read_text(encoding="utf-8"))


def read_from(text: str) -> list[Variable]:
    """Return the variables of a text like that of workers/settings.py."""
    found: dict[str, Variable] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef) and any(map(_reads_env, node.body)):
            for variable in _of_class(node, text.splitlines()):
                found.setdefault(variable.name, variable)
    for name, (default, purpose) in BESIDES.items():
        found[name] = Variable(name, default, purpose)
    return list(found.values())


def _reads_env(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == "from_env"


def _of_class(node: ast.ClassDef, lines: list[str]) -> list[Variable]:
    """Return the variables that the fields of a class of settings are read from."""
    fields = {
        item.target.id: (item.value, _comment_above(lines, item.lineno))
        for item in node.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    }
    reader = next(filter(_reads_env, node.body))
    places: dict[str, int] = {}
    owners: dict[str, str] = {}
    values = {
        keyword.arg: [keyword.value] for keyword in _keywords(reader) if keyword.arg in fields
    }
    first = {field: expressions[0] for field, expressions in values.items()}
    # A field is read from what its own expression names, else from what the variables in it were
    # read from, and so on: the nearest field has it.
    while any(values.values()):
        # What was read into a variable is first of all for the field that takes it as it is.
        plain = sorted(values, key=lambda field: not isinstance(first[field], ast.Name))
        for field in plain:
            expressions = values[field]
            for expression in expressions:
                for name, line in _names(expression):
                    owners.setdefault(name, field)
                    places.setdefault(name, line)
        values = {field: _behind(reader, expressions) for field, expressions in values.items()}
    found = []
    for name in sorted(owners, key=lambda name: places[name]):
        field = owners[name]
        default, comment = fields[field]
        said = comment or field.replace("_", " ").capitalize() + "."
        found.append(Variable(name, _default(default, first[field]), said))
    return found


def _keywords(reader: ast.stmt) -> list[ast.keyword]:
    """Return the arguments of the call that makes the settings."""
    calls = [node for node in ast.walk(reader) if isinstance(node, ast.Call)]
    return [word for call in calls if ast.unparse(call.func) == "cls" for word in call.keywords]


def _behind(reader: ast.stmt, expressions: list[ast.expr]) -> list[ast.expr]:
    """Return what was assigned, further up, to the variables in some expressions."""
    found = []
    for expression in expressions:
        names = {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}
        for node in ast.walk(reader):
            if (
                isinstance(node, ast.Assign)
                and ast.unparse(node.targets[0]) in names
                and node.end_lineno is not None
                and node.end_lineno < expression.lineno
            ):
                found.append(node.value)
    return found


def _names(value: ast.expr) -> Iterator[tuple[str, int]]:
    """Yield the variables that an expression reads, and where: all the names given with `env`."""
    for node in ast.walk(value):
        if not isinstance(node, ast.Call):
            continue
        if ast.unparse(node.func) == "_redis_url":
            yield "REDIS_URL", node.lineno
        of_env = ast.unparse(node.func).startswith("env.")
        if of_env or any(ast.unparse(argument) == "env" for argument in node.args):
            for argument in node.args:
                if isinstance(argument, ast.Constant) and NAMES.fullmatch(str(argument.value)):
                    yield str(argument.value), argument.lineno


def _comment_above(lines: list[str], number: int) -> str:
    """Return the comment that ends on the line before line `number`, without its marks."""
    comment: list[str] = []
    while (line := lines[number - 2 - len(comment)].strip()).startswith("#"):
        comment.insert(0, line.removeprefix("#").strip())
    return " ".join(comment)


def _default(value: ast.expr | None, reading: ast.expr) -> str:
    """Return a field's default as it is written in the environment, where `reading` reads it."""
    match value:
        case ast.Constant(value=bool(flag)) if "'true'" in ast.unparse(reading):
            return str(flag).lower()
        case ast.Constant(value=bool(flag)):
            return str(int(flag))
        case ast.Constant(value=str() | int() as plain):
            return str(plain)
        case ast.Call(func=ast.Name(id="time"), args=[ast.Constant(hour), ast.Constant(minute)]):
            return f"{int(str(hour)):02}:{int(str(minute)):02}"
        case _:
            return ""
