"""Clients of Redis for many instruments: a cluster spreads these over its nodes."""

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from workers.adapters.cluster import is_cluster
from workers.adapters.redis import ANSWER_TIMEOUT_S, close, connect, load_script


class Clients:
    """One client; in a cluster, one for each name asked for, where keys with its hash tag are."""

    def __init__(
        self, url: str, answer_timeout_s: float = ANSWER_TIMEOUT_S, script: str = ""
    ) -> None:
        self._url = url
        self._answer_timeout_s = answer_timeout_s
        self._script_name = script
        self._is_cluster = is_cluster(url)
        self._clients: dict[str, Redis] = {}
        self._scripts: dict[str, AsyncScript] = {}

    async def close(self) -> None:
        """Close every connection; never fails."""
        for client in self._clients.values():
            await close(client)

    def of(self, name: str) -> Redis:
        """Return the client of an instrument, or of a channel."""
        name = name if self._is_cluster else ""
        client = self._clients.get(name)
        if client is None:
            client = connect(self._url, self._answer_timeout_s, f"{{{name}}}")
            self._clients[name] = client
        return client

    def script(self, name: str) -> AsyncScript:
        """Return the Lua script, ready to be called where an instrument is."""
        client = self.of(name)
        name = name if self._is_cluster else ""
        script = self._scripts.get(name)
        if script is None:
            script = self._scripts[name] = load_script(client, self._script_name)
        return script

    def all(self) -> list[Redis]:
        """Return every client there is; at least one."""
        return list(self._clients.values()) or [self.of("")]
