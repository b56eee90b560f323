"""rediss:// against servers whose certificate is self-signed, as platforms have them."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from workers.adapters.errors import OutcomeUnknown
from workers.adapters.pubsub import DepthReader
from workers.settings import Settings


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a self-signed certificate for localhost, `c.pem`, and its key, `k.pem`."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not on PATH")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", "k.pem", "-out", "c.pem", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
        ],
        cwd=folder,
        capture_output=True,
        check=True,
    )
    return folder


@asynccontextmanager
async def behind_tls(redis_url: str, certificate: Path) -> AsyncIterator[str]:
    """Give the rediss:// URL of a proxy in front of a Redis. The embedded one speaks no TLS."""
    parts = urlsplit(redis_url)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "c.pem", certificate / "k.pem")

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        yield f"rediss://{user}localhost:{port}{parts.path}"


async def ping(url: str, **env: str) -> None:
    settings = Settings.from_env({"DATABASE_URL": "postgresql://x", "REDIS_URL": url, **env})
    reader = DepthReader(settings.redis_url)
    try:
        await reader.ping()
    finally:
        await reader.close()


async def test_an_unknown_signer_is_refused(redis_url: str, certificate: Path) -> None:
    async with behind_tls(redis_url, certificate) as url:
        with pytest.raises(OutcomeUnknown, match="certificate"):
            await ping(url)


async def test_the_signer_may_be_named(redis_url: str, certificate: Path) -> None:
    async with behind_tls(redis_url, certificate) as url:
        await ping(url, REDIS_CA=str(certificate / "c.pem"))
        # As platforms give it: the text itself.
        await ping(url, REDIS_CA=(certificate / "c.pem").read_text())
        with pytest.raises(OutcomeUnknown, match=r"[Hh]ostname|IP address mismatch|certificate"):
            await ping(url.replace("localhost", "127.0.0.1"), REDIS_CA=str(certificate / "c.pem"))


async def test_anybody_may_be_trusted_on_demand(redis_url: str, certificate: Path) -> None:
    async with behind_tls(redis_url, certificate) as url:
        await ping(url, REDIS_TLS_VERIFY="0")
        await ping(url.replace("localhost", "127.0.0.1"), REDIS_TLS_VERIFY="0")
