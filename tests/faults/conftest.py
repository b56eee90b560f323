"""One cluster for all faults: servers are started once, and hurt again and again."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.faulting.cluster import Cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="trade-engine-faults-") as name:
        Path(name).chmod(0o711)
        with Cluster(Path(name)) as cluster:
            yield cluster
