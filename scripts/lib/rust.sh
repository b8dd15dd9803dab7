# Sourced by scripts/test: the Cargo workspace in rust/.

# In CI nothing is compiled a second time, and nobody uses a debugger. Backtraces still have their lines.
if [ "${CI:-}" = true ]; then
    export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=line-tables-only
fi

# Compile it, while other checks use one processor. What is wrong is told by `rust`, which finds the rest done.
compile_rust() {
    cd rust && cargo clippy --locked --quiet --all-targets && cargo test --locked --quiet --no-run
} >/dev/null 2>&1

# Check and test it against the sidecar of .venv. Where cargo is missing: an error in CI, elsewhere a visible skip.
rust() {
    if ! command -v cargo >/dev/null; then
        if [ "${CI:-}" = true ]; then
            printf 'missing in CI: cargo (https://rustup.rs)\n' >&2
            return 1
        fi
        headline "rust: SKIPPED, no cargo"
        return 0
    fi
    # In a subshell: the working directory stays that of the caller.
    (
        export NEMO_BRIDGE="$PWD/.venv/bin/nemo-bridge"
        cd rust
        headline "rust: cargo fmt --check"
        cargo fmt --check
        headline "rust: cargo clippy"
        cargo clippy --locked --quiet --all-targets -- -D warnings
        headline "rust: cargo doc"
        RUSTDOCFLAGS="-D warnings" cargo doc --locked --quiet --no-deps
        headline "rust: cargo test"
        # Its tests wait for sidecars, and not for the processor.
        RUST_TEST_THREADS=6 cargo test --locked --quiet
    )
}
