# Sourced by scripts/test: the servers that the tests start for themselves, on ports of their own.

# One line a server, "program package" (Debian's names). Empty as long as every remote of the tests is our own code;
# an adapter that is tested against a real server adds its line here.
SERVERS=()

# Install what is missing. Where that is not possible: an error in CI, elsewhere the exact command as a note, and the
# tests that need the server are skipped visibly.
servers() {
    local entry program package missing=()
    for entry in ${SERVERS[@]+"${SERVERS[@]}"}; do
        read -r program package <<<"$entry"
        PATH="$PATH:/usr/sbin" command -v "$program" >/dev/null || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    headline "servers: ${missing[*]}"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
        # Debian starts what it installs. The tests start their own: none is to run as a service.
        for package in "${missing[@]}"; do
            if [ -d /run/systemd/system ]; then
                systemctl disable --now "$package"
            else
                service "$package" stop || true
            fi
        done
    elif [ "${CI:-}" = true ]; then
        fail "missing in CI: ${missing[*]} (apt-get install --no-install-recommends ${missing[*]})"
    else
        printf 'NOTE: tests that need them are skipped. To run them: sudo apt-get install --no-install-recommends %s\n' \
            "${missing[*]}"
    fi
}
