# Sourced by the scripts of this folder: headlines, and the one way to make the project's environment.
# Where packages come from is the machine's business: pip's own configuration and variables apply.

# Where this is set, as in some containers, every process compiles the whole package again, which takes longer than what
# most tests do, and is no part of what the others measure.
unset PYTHONDONTWRITEBYTECODE

headline() {
    printf '\n== %s\n' "$*"
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
    printf '%s\n' "$0: no Python 3.11 or newer with its venv module (tried: ${PYTHON:-python3, python3.11 to python3.14})." \
        "Install one (Debian: apt-get install python3 python3-venv) or name it: PYTHON=/path/to/python $0" >&2
    return 1
}

# Make .venv from requirements-dev.lock and install the project into it, editable; keep it where lock, Python and
# pyproject.toml are as they were when it was made.
environment() {
    local python made_from=.venv/made-from installed=.venv/installed-from
    python=$(find_python)
    describe_environment() { "$python" -V && cat requirements-dev.lock; }
    if ! cmp -s "$made_from" <(describe_environment); then
        headline "environment: .venv from requirements-dev.lock ($("$python" -V))"
        "$python" -m venv --clear .venv
        .venv/bin/python -m pip install --quiet --require-hashes --requirement requirements-dev.lock
        describe_environment >"$made_from"
    fi
    # Version and entry points are read from the installed metadata, so it follows pyproject.toml.
    if ! cmp -s "$installed" pyproject.toml; then
        headline "environment: the project itself, editable"
        .venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
        cp pyproject.toml "$installed"
    fi
}
