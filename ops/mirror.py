"""List how far the Kafka mirror is, run one in the foreground, or forget that there was one."""

import argparse
import os
import signal
import time
from types import FrameType

import psycopg

import sql
from ops.database import database_url, query
from ops.errors import OpsError
from ops.instance import add_data_option
from ops.tables import print_table
from workers.adapters.errors import AdapterError
from workers.adapters.kafka import Publisher
from workers.adapters.mirror import SyncConnection
from workers.core.instruments import Instrument
from workers.core.units import parse_units
from workers.jobs.errors import Stopped
from workers.jobs.mirror import mirror_slice
from workers.jobs.mirror_messages import TOPICS
from workers.jobs.progress import Progress
from workers.settings import KafkaSettings, SettingsError

ROLE = "exchange_jobs"
RETRY_AFTER_S = 1.0
# Between two rounds in which no instrument had events.
IDLE_S = 0.2
CONNECT_TIMEOUT_S = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_data_option(parser)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="list how far each instrument is mirrored")
    actions.add_parser("run", help="mirror until SIGINT or SIGTERM; jobs do the same by themselves")
    forget = actions.add_parser(
        "forget",
        help="begin anew next time, or never again: partitions no longer wait for the mirror",
    )
    forget.add_argument("instrument", metavar="INSTRUMENT")


def main(args: argparse.Namespace) -> int:
    """Do it."""
    url = database_url(args)
    if args.action == "run":
        run(url, kafka_settings())
    elif args.action == "forget":
        ((known,),) = query(url, "forget_mirror", {"instrument": args.instrument})
        print("forgotten" if known else f"{args.instrument} was not mirrored")
    else:
        print_table(
            ("instrument", "mirrored", "sequence", "events behind", "seconds behind"),
            [
                (instrument, "never" if mirrored is None else mirrored, *rest, f"{seconds:.1f}")
                for instrument, mirrored, *rest, seconds in query(url, "mirror_lags")
            ],
        )
    return 0


def kafka_settings() -> KafkaSettings:
    """Return the settings of Kafka in the environment. Raises OpsError."""
    try:
        settings = KafkaSettings.from_env(os.environ)
    except SettingsError as error:
        raise OpsError(str(error)) from error
    if settings is None:
        raise OpsError("KAFKA_BROKERS is not set: give the brokers as host:port, comma-separated")
    return settings


def run(url: str, settings: KafkaSettings) -> None:
    """Mirror every instrument, one after another, until a signal comes."""
    stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    def progress(done: int, total: int | None, detail: str = "") -> None:
        if stopping:
            raise Stopped

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    publisher = Publisher(settings, TOPICS)
    try:
        while not stopping:
            try:
                _run_once(url, publisher, progress)
            except Stopped:
                return
            except (AdapterError, psycopg.Error) as error:
                print(f"{type(error).__name__}: {error}", flush=True)
                time.sleep(RETRY_AFTER_S)
    finally:
        publisher.close()


def _run_once(url: str, publisher: Publisher, progress: Progress) -> None:
    with psycopg.connect(url, connect_timeout=CONNECT_TIMEOUT_S, autocommit=True) as connection:
        connection.execute(sql.query("assume_role"), {"role": ROLE})
        while True:
            copied = 0
            for instrument in list_instruments(connection):
                progress(0, None)
                copied += mirror_slice(connection, publisher, instrument, progress)
            if not copied:
                time.sleep(IDLE_S)


def list_instruments(connection: SyncConnection) -> list[Instrument]:
    """Return every instrument."""
    rows = connection.execute(sql.query("list_instruments")).fetchall()
    return [
        Instrument(
            number, name, base, quote, parse_units(f"{tick:f}"), parse_units(f"{lot:f}"), status
        )
        for number, name, base, quote, tick, lot, status, _ in rows
    ]
