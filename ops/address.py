"""The address the exchange listens on: is it free, and does the exchange answer there?"""

import errno
import http.client
import json
import socket
from dataclasses import dataclass
from typing import Self

from ops.errors import OpsError

PROBE_TIMEOUT_S = 2.0

# Where to find on this machine what listens on every address.
LOCAL = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True)
class Address:
    """A host and a port."""

    host: str
    port: int

    @classmethod
    def claim(cls, host: str, port: int) -> Self:
        """Return the address if nobody listens there, with any free port for port 0.

        Raises OpsError saying what is wrong with it.
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            family, kind, protocol, _, name = found[0]
            with socket.socket(family, kind, protocol) as listener:
                # Connections of an earlier run that are still closing do not matter.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(name)
                listener.listen()
                return cls(host, listener.getsockname()[1])
        except socket.gaierror as error:
            raise OpsError(f"No such host: {host}; choose another with --host") from error
        except PermissionError as error:
            raise OpsError(
                f"Port {port} needs more rights than yours; choose one above 1023 with --port"
            ) from error
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortTakenError(
                    f"Port {port} is taken: another program listens on {host}:{port}; "
                    "stop it, or choose another with --port"
                ) from error
            raise OpsError(f"Cannot listen on {host}:{port}: {error.strerror}") from error

    @property
    def url(self) -> str:
        """The URL for clients on this machine."""
        host = self._local
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def missing(self) -> str | None:
        """Ask /readyz; return what is missing, or None when the exchange is ready."""
        connection = http.client.HTTPConnection(self._local, self.port, timeout=PROBE_TIMEOUT_S)
        try:
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            return f"nothing answers at {self.url}"
        finally:
            connection.close()
        if response.status == 200:
            return None
        try:
            return "; ".join(json.loads(body)["missing"])
        except (ValueError, KeyError, TypeError):
            return f"/readyz answers {response.status}"

    @property
    def _local(self) -> str:
        return LOCAL.get(self.host, self.host)


class PortTakenError(OpsError):
    """Raised when somebody listens on the port."""
