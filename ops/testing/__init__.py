"""For the tests of other projects: a whole exchange, embedded or in a container.

Installing this package gives pytest the fixture `exchange` (ops/testing/plugin.py).
"""

from ops.testing.running import RunningExchange, run_exchange

__all__ = ["RunningExchange", "run_exchange"]
