# Spillway's commands. `./just` lists them; `./just up` and `./just test` need nothing prepared.

set shell := ["bash", "-euo", "pipefail", "-c"]
# Recipes take their arguments as "$@", so that one of several words stays one.
set positional-arguments

# Outside the checkout, so that every checkout and CI reuse what is compiled.
export CARGO_TARGET_DIR := env("CARGO_TARGET_DIR", env("XDG_CACHE_HOME", env("HOME") / ".cache") / "spillway/target")

spillway := CARGO_TARGET_DIR / "release/spillway"

# For another site set: `SPILLWAY_CONFIG=FILE ./just spillway status`.
config := env("SPILLWAY_CONFIG", justfile_directory() / "examples/spillway.toml")

# List the commands.
[private]
default:
    @just --list --unsorted

# Run a whole hybrid cloud on this machine until Ctrl-C.
[group('run')]
[no-exit-message]
up *ARGS: build
    SPILLWAY_CONFIG={{ quote(config) }} exec {{ spillway }} up "$@"

# Run `up`, a flash crowd of eight times what the site carries, and print a verdict.
[group('run')]
[no-exit-message]
demo *ARGS: build
    SPILLWAY_CONFIG={{ quote(config) }} exec {{ spillway }} demo "$@"

# Any other command of the program, against the example: `./just spillway status`.
[group('run')]
[no-exit-message]
spillway *ARGS: build
    SPILLWAY_CONFIG={{ quote(config) }} exec {{ spillway }} "$@"

# Build what `up` needs, optimised. No AWS crate is among it.
[group('run')]
build: _compiler
    cargo build --release --locked -p spillway-cli -p spillway-one-code

# Build `spillway-aws`, which scales AWS. The AWS SDK takes minutes and gigabytes the first time.
[group('run')]
build-aws: _compiler
    cargo build --release --locked -p spillway-aws

# Build Debian packages of all parts into FOLDER; that of `spillway-aws` too when `build-aws` was run.
[group('run')]
deb FOLDER=(CARGO_TARGET_DIR / "debian"): build
    agent/cli/debian/build {{ CARGO_TARGET_DIR }}/release "$1"

# Everything CI runs: format, lints, all tests.
[group('check')]
test: setup lint
    cargo test --workspace --locked --no-fail-fast

# Format and lints.
[group('check')]
lint: _compiler
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Licences, sources and duplicate crates (installs cargo-deny when it is missing).
[group('check')]
deny:
    command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
    cargo deny check bans licenses sources

# Install what the tests need besides Rust: PostgreSQL, Redis, iproute2, dig, systemd.
[group('check')]
setup: _compiler
    #!/usr/bin/env bash
    set -euo pipefail
    missing=()
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing+=(postgresql)
    command -v redis-server >/dev/null || missing+=(redis-server)
    command -v setpriv >/dev/null || missing+=(util-linux)
    { command -v ip && command -v tc; } >/dev/null || missing+=(iproute2)
    command -v dig >/dev/null || missing+=(bind9-dnsutils)
    command -v systemd-socket-activate >/dev/null || missing+=(systemd)
    just _install "${missing[@]}"

# A C compiler, for SQLite and for linking.
[private]
_compiler:
    @command -v cc >/dev/null || just _install build-essential

[private]
_install *PACKAGES:
    #!/usr/bin/env bash
    set -euo pipefail
    [ -n "{{ PACKAGES }}" ] || exit 0
    echo "installing with apt-get: {{ PACKAGES }}"
    as_root=""
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || { echo "as root, run: apt-get install {{ PACKAGES }}" >&2; exit 1; }
        as_root="sudo"
    fi
    # Servers that a package brings must not start by themselves.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null
        $as_root chmod +x $policy
        trap '$as_root rm -f $policy' EXIT
    fi
    export DEBIAN_FRONTEND=noninteractive
    # No quoting: the list is ours.
    $as_root apt-get install -y -qq {{ PACKAGES }} >/dev/null 2>&1 ||
        { $as_root apt-get update -qq && $as_root apt-get install -y -qq {{ PACKAGES }} >/dev/null; }
