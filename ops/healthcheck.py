"""Exit code 0 while the web process of this machine lives: HEALTHCHECK of the image.

    python -m ops.healthcheck [--ready]

It asks /livez: to start a web process again does not bring a matcher back. With --ready it asks
/readyz, for who waits for the whole exchange.
"""

import http.client
import os
import sys

TIMEOUT_S = 2.0


def well(port: int, path: str) -> bool:
    """Tell whether the web process says yes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    path = "/readyz" if "--ready" in sys.argv[1:] else "/livez"
    sys.exit(0 if well(int(os.environ.get("PORT") or "3000"), path) else 1)
