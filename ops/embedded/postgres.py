"""A private PostgreSQL, as durable as any: fsync and synchronous commit are never off."""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import LiteralString

import psutil

from ops import processes
from ops.embedded.installation import check_reachable, programs, server_owner
from ops.embedded.passwords import password
from ops.embedded.server import Server
from ops.errors import OpsError

USER: LiteralString = "exchange"
DATABASE: LiteralString = "exchange"

# For a small machine. On the command line, so that no configuration file can undo the durable ones.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "off",
    # Our queries are many and short: compiling one costs more than running it.
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}

INITDB_TIMEOUT_S = 120


class Postgres(Server):
    """PostgreSQL on DIR/postgres, with the superuser and the database `exchange`.

    `version` picks one of the wheel's (18 or 16), `bin_dir` an installed one instead.
    """

    program = "postgres"
    name = "postgres"
    stop_signal = signal.SIGINT  # PostgreSQL's fast shutdown

    def __init__(
        self, data: Path | str, version: int = 18, bin_dir: Path | str | None = None
    ) -> None:
        super().__init__(data)
        self.version = version
        self.bin_dir = None if bin_dir is None else Path(bin_dir)

    @property
    def url(self) -> str:
        return self._url(DATABASE)

    def _url(self, database: str) -> str:
        return f"postgresql://{USER}:{self._password}@127.0.0.1:{self.port}/{database}"

    @property
    def _password(self) -> str:
        return password(self.data / "secrets.json", self.name)

    def start(self, port: int | None = None) -> "Postgres":
        """Start the server, wait until it answers, and make the database on first use."""
        super().start(port)
        try:
            self._create_database()
        except BaseException:
            self.stop()
            raise
        return self

    def _owner(self) -> tuple[int, int] | None:
        return server_owner(self.folder)

    @property
    def programs(self) -> Path:
        """The folder of `postgres`, `initdb` and `pg_dump`."""
        return self.bin_dir or programs(self.version, self._owner())

    def _prepare(self) -> None:
        check_reachable(self.data, self._owner())
        if not self.folder.exists():
            self._initialise()
        self._check_version()
        self._forget_recycled_pid()

    def _initialise(self) -> None:
        """Make the cluster beside its place and move it there whole, so that none is ever half."""
        owner = self._owner()
        draft = self.folder.with_name("postgres.new")
        password_file = self.folder.with_name("postgres.password")
        shutil.rmtree(draft, ignore_errors=True)
        password_file.unlink(missing_ok=True)
        draft.mkdir(mode=0o700)
        with open(os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self._password)
        if owner is not None:
            os.chown(draft, *owner)
            os.chown(password_file, *owner)
        command: list[str | Path] = [
            *(self.programs / "initdb", f"--pgdata={draft}", f"--username={USER}"),
            *("--encoding=UTF8", "--no-locale", "--auth=scram-sha-256"),
            *(f"--pwfile={password_file}", "--no-instructions"),
        ]
        try:
            made = subprocess.run(
                processes.bound_to_us(command, signal.SIGKILL, owner),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=draft,
                env=self._environment(),
                text=True,
                check=False,
                timeout=INITDB_TIMEOUT_S,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired as error:
            raise OpsError(f"initdb did not end in {INITDB_TIMEOUT_S} s") from error
        finally:
            password_file.unlink()
        if made.returncode != 0:
            with self.log.open("a") as log:
                log.write(made.stdout)
            errors = [line for line in made.stdout.splitlines() if "error" in line.lower()]
            reason = (errors or made.stdout.splitlines() or ["it said nothing"])[0]
            raise OpsError(f"initdb failed: {reason} (see {self.log})")
        draft.rename(self.folder)

    def _check_version(self) -> None:
        try:
            found = (self.folder / "PG_VERSION").read_text().strip()
        except FileNotFoundError as error:
            raise OpsError(f"{self.folder} is not a PostgreSQL folder; move it away") from error
        if self.bin_dir is None and found != str(self.version):
            raise OpsError(
                f"{self.folder} was written by PostgreSQL {found}, this is {self.version}: "
                "choose another folder with --data"
            )

    def _forget_recycled_pid(self) -> None:
        """Remove a pid file whose number now belongs to something else.

        PostgreSQL would take that process for a running server and refuse to start; common in
        containers, where the same few numbers are given again after each restart.
        """
        pid_file = self.folder / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split("\n")[0])
            process = psutil.Process(pid)
            if process.name() != self.program or not processes.running(process):
                pid_file.unlink()
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            pass  # nothing there, or a number of nobody's, which PostgreSQL sees itself

    def _command(self) -> list[str | Path]:
        settings = {**SETTINGS, "port": str(self.port)}
        options = [word for name in settings for word in ("-c", f"{name}={settings[name]}")]
        return [self.programs / "postgres", "-D", self.folder, *options]

    def _answers(self) -> bool:
        import psycopg

        if not self._says_ready():
            return False
        try:
            with psycopg.connect(self._url("postgres"), connect_timeout=2) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise OpsError(
                    f"The password in {self.data / 'secrets.json'} is not that of {self.folder}: "
                    "put the right file back, or choose another folder with --data"
                ) from error
            return False
        return True

    def _says_ready(self) -> bool:
        """Tell whether our server, and not another on the same port, says it accepts clients."""
        try:
            lines = (self.folder / "postmaster.pid").read_text().split("\n")
        except FileNotFoundError:
            return False
        return lines[0] == str(self.pid) and "ready" in [line.strip() for line in lines]

    def _create_database(self) -> None:
        import psycopg

        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            made = connection.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,))
            if made.fetchone() is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")
