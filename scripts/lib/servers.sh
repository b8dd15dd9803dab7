# Sourced by scripts/test: the servers that the tests start for themselves, on ports of their own, the browser, and
# Prometheus' tool for alert rules.

# One line a program: "program package" (Debian's names).
SERVERS=(
    "mosquitto mosquitto"
    "nats-server nats-server"
    "redis-server redis-server"
    "chromium chromium"
    "promtool prometheus"
)

# Install what is missing. Where that is not possible: an error in CI, elsewhere the exact command as a note, and the
# tests that need the server are skipped visibly.
servers() {
    local entry program package missing=()
    for entry in "${SERVERS[@]}"; do
        read -r program package <<<"$entry"
        PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v "$program" >/dev/null || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    headline "servers: ${missing[*]}"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
        # Debian starts what it installs. The tests start their own: none is to run as a service.
        for package in "${missing[@]}"; do
            if [ -d /run/systemd/system ]; then
                systemctl disable --now "$package" || true
            else
                service "$package" stop >/dev/null 2>&1 || true
            fi
        done
    elif [ "${CI:-}" = true ]; then
        printf 'missing in CI: %s (apt-get install --no-install-recommends %s)\n' "${missing[*]}" "${missing[*]}" >&2
        return 1
    else
        printf 'NOTE: tests that need them are skipped. To run them: sudo apt-get install --no-install-recommends %s\n' \
            "${missing[*]}"
    fi
}
