# Sourced by the commands here: use_venv makes .venv in the checkout ready and sets $python.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$root/.venv
python=$venv/bin/python

# use_venv EXTRA: install the checkout with that extra ("" or "dev"), unless it is already.
use_venv() {
    local wanted
    wanted=$( (echo "$root" && cat "$root/pyproject.toml" "$root/ops/constraints.txt") | cksum)
    venv_is_ready "$1" && return
    local base
    base=$(find_python) || exit 1
    # Two commands at once: the second waits here. Python locks, because not every system has flock.
    exec 9<"$root/ops/venv.sh"
    "$base" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'
    venv_is_ready "$1" || install_venv "$1" "$base" || exit 1
    exec 9<&-
}

# A stamp is written after a whole install, so that one that was interrupted starts anew.
venv_is_ready() {
    [ "$(cat "$venv/installed-$1" 2>/dev/null)" = "$wanted" ] && "$python" -I -c 'import ops' 2>/dev/null
}

install_venv() {
    local log=$venv/install.log what=$root
    [ -z "$1" ] || what="$root[$1]"
    if ! venv_is_ours; then
        rm -rf "$venv"
        "$2" -m venv "$venv" || return
        echo "$root" >"$venv/made-in"
    fi
    rm -f "$venv"/installed-*
    echo "Installing Trade engine${1:+ with what $1 needs} into .venv (about a minute) ..." >&2
    if ! "$python" -m pip install --disable-pip-version-check --no-input \
        -c "$root/ops/constraints.txt" -e "$what" </dev/null >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        echo "Error: the installation failed; all of its output is in $log" >&2
        return 1
    fi
    # The extra holds all of the plain install.
    echo "$wanted" >"$venv/installed-"
    [ -z "$1" ] || echo "$wanted" >"$venv/installed-$1"
}

# Whole, and made here: a virtual environment does not survive the checkout being moved.
venv_is_ours() {
    [ -f "$venv/installed-" ] && [ -f "$venv/made-in" ] && [ "$(cat "$venv/made-in")" = "$root" ] &&
        "$python" -I -c 'import pip' 2>/dev/null
}

find_python() {
    local name venv_missing=
    for name in python3 python3.13 python3.12 python3.11; do
        "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || continue
        if "$name" -c 'import ensurepip, venv' 2>/dev/null; then
            command -v "$name"
            return
        fi
        venv_missing=$name
    done
    if [ -n "$venv_missing" ]; then
        echo "Error: $venv_missing has no venv module: install it (Debian, Ubuntu: apt install python3-venv)" >&2
    else
        echo "Error: Python 3.11, 3.12 or 3.13 is needed and not found on PATH" >&2
    fi
    return 1
}
