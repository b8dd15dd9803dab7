# Sourced by the scripts of this folder: headlines, and the one way to make the project's environment.
# Where packages come from is the machine's business: pip's own configuration and variables apply.

headline() {
    printf '\n== %s\n' "$*"
}

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# Print the first Python that will do; PYTHON=... in the environment names one.
find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
        # Run it: a version manager leaves stand-ins on the PATH that only print an error.
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or newer with its venv module found (tried: ${PYTHON:-python3 and python3.11 to python3.14});" \
        "install one (Debian: apt-get install python3 python3-venv) or name it: PYTHON=/path/to/python $0"
}

# environment LOCK: make .venv from a lock file, or keep it where it was made from the same one, and install the
# project into it, editable. An environment with the development lock serves for the runtime lock as well.
environment() {
    local lock=$1 python want stamp=.venv/made-from project=.venv/project
    python=$(find_python)
    want() { printf '%s ' "$1" && "$python" -V && cksum <"$1"; }
    if [ ! -x .venv/bin/python ] || { ! cmp -s "$stamp" <(want "$lock") && ! cmp -s "$stamp" <(want requirements-dev.lock); }; then
        headline "environment: .venv from $lock ($("$python" -V))"
        "$python" -m venv --clear .venv
        .venv/bin/python -m pip install --quiet --require-hashes --requirement "$lock"
        want "$lock" >"$stamp"
    fi
    # Entry points and version are read from the installed metadata, so it follows pyproject.toml.
    if ! cmp -s "$project" pyproject.toml; then
        headline "environment: the project itself, editable"
        .venv/bin/python -m pip install --quiet --no-deps --editable .
        cp pyproject.toml "$project"
    fi
}
