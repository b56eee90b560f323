"""The generated passwords of the embedded servers, kept beside their data."""

import json
import os
import secrets
from pathlib import Path

from ops.errors import OpsError


def password(path: Path, name: str) -> str:
    """Return the password kept under `name`, made on first use."""
    try:
        kept = json.loads(path.read_text())
    except FileNotFoundError:
        kept = {}
    except (OSError, ValueError) as error:
        raise OpsError(f"The passwords in {path} cannot be read: {error}") from error
    if name not in kept:
        kept[name] = secrets.token_urlsafe(24)
        write_private(path, json.dumps(kept))
    return str(kept[name])


def write_private(path: Path, text: str) -> None:
    """Replace the file at once by one that only its owner can read."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
