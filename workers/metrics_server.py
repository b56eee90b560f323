"""The metrics of this machine over HTTP, for machines without a web process."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import start_http_server

from workers.metrics_folder import MetricsFolder
from workers.settings import Settings, SettingsError


@contextlib.contextmanager
def serving(settings: Settings, folder: Path) -> Iterator[None]:
    """Serve the metrics of this machine over HTTP, if a port is set. Raises SettingsError."""
    if not settings.metrics_port:
        yield
        return
    settings.check_listening()
    registry = MetricsFolder(folder).registry
    try:
        server, thread = start_http_server(settings.metrics_port, settings.host, registry)
    except OSError as error:
        raise SettingsError(
            f"METRICS_PORT {settings.metrics_port} cannot be used ({error.strerror}): "
            "choose another, or unset it"
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
