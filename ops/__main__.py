"""The command line: a table of commands, each in a module of its own, loaded when it is used."""

import argparse
import importlib
import sys

from ops.errors import OpsError

COMMANDS = {
    "run": ("ops.start", "Start the whole exchange on this machine, servers included."),
    "replay": ("ops.replay", "Send a file of orders to a running exchange."),
    "market": ("ops.market", "Make a market that is alive: makers, takers, bursts, cancels."),
    "watch": ("ops.watch", "Look at an instrument: ladder, tape, rates, as they change."),
    "generate": ("ops.generate", "Write a file of orders that looks like a market."),
    "migrate": ("ops.migrate", "Bring the database to the current version; safe to repeat."),
    "dashboards": ("ops.dashboards", "Write Grafana's dashboards anew."),
    "env": ("ops.env", "Write .env.example anew after a setting was added."),
    "postman": ("ops.postman", "Write the Postman collection anew after the API has changed."),
    "doctor": ("ops.doctor", "Check servers, settings and matchers; print a fix per finding."),
    "verify": ("ops.verify", "Check the books, the ledger and the event log against each other."),
    "schema": ("ops.schema", "Write sql/schema.sql anew after a migration was added."),
    "url": ("ops.url", "Print where a server of the running exchange is."),
    "psql": ("ops.psql", "Ask the database in SQL, reading only."),
    "instruments": ("ops.instruments", "List, add or change what is traded."),
    "analyst": ("ops.analyst", "Make, list or remove logins for analysts, who may only read."),
    "export": ("ops.export", "Write trades, orders, ledger, events or book to a file."),
    "fees": ("ops.fees", "List or set what trading costs."),
    "segments": ("ops.segments", "List or add segments of clients, or put clients into one."),
    "deposit": ("ops.deposit", "Credit a client with what came from outside."),
    "withdraw": ("ops.withdraw", "Debit a client with what goes outside."),
    "adjust": ("ops.adjust", "Correct balances by an entry whose legs are all given."),
    "balances": ("ops.balances", "Print what a client, or an account of the house, has."),
    "settle": ("ops.settle", "Settle a day: net and discharge what its trades have moved."),
    "jobs": ("ops.jobs", "List background jobs, run one now, redrive dead letters."),
    "mirror": ("ops.mirror", "List how far the Kafka mirror is, run one, or forget it."),
    "rebuild": ("ops.rebuild", "Restore a lost database from the Kafka mirror's topics."),
    "restored": ("ops.restored", "Say that the database was restored: readers must notice."),
    "bench": ("ops.bench.speed", "Measure how fast the exchange is on this machine."),
    "partitions": ("ops.partitions", "List, make or detach the partitions of history."),
    "shards": ("ops.shards", "Print who matches each instrument, its lease and its lag."),
    "faults": ("ops.faults", "Hurt an exchange of its own and check that nothing is lost."),
    "soak": ("ops.soak", "Trade for a while and see that no process grows."),
}


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the default of each option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return super()._get_help_string(action) if action.default else action.help


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if arguments else 2
    name = arguments[0]
    if name not in COMMANDS:
        print(f"No command {name!r}.\n\n{usage()}", file=sys.stderr)
        return 2
    module_name, purpose = COMMANDS[name]
    command = importlib.import_module(module_name)
    parser = argparse.ArgumentParser(
        prog=f"python -m ops {name}",
        description=purpose,
        formatter_class=HelpFormatter,
    )
    command.add_arguments(parser)
    try:
        return int(command.main(parser.parse_args(data_first(arguments[1:]))))
    except OpsError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def data_first(arguments: list[str]) -> list[str]:
    """Let `--data` stand anywhere, also behind an action, whose parser does not know it."""
    if "--data" not in arguments[:-1]:
        return arguments
    place = arguments.index("--data")
    return [*arguments[place : place + 2], *arguments[:place], *arguments[place + 2 :]]


def usage() -> str:
    """Return the list of commands."""
    lines = [f"  {name:<12} {purpose}" for name, (_, purpose) in COMMANDS.items()]
    head = ["usage: python -m ops COMMAND [OPTION ...]", ""]
    return "\n".join([*head, *lines, "", "Options: python -m ops COMMAND --help"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
