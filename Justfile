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

# Build the functions for Lambda, of arm64 and x86_64, into $CARGO_TARGET_DIR/lambda/ARCH/PROGRAM/bootstrap.
[group('run')]
functions *ARCHS='arm64 x86_64': _compiler
    functions/build {{ ARCHS }}

# Ship the functions' code to AWS by weighted steps, as `./just deploy --dry-run` says; `--help` explains it.
[group('run')]
[no-exit-message]
deploy *ARGS: build build-aws functions
    SPILLWAY_CONFIG={{ quote(config) }} exec {{ spillway }} deploy --from {{ CARGO_TARGET_DIR }}/lambda "$@"

# Build Debian packages of all parts into FOLDER; that of `spillway-aws` too when `build-aws` was run.
[group('run')]
deb FOLDER=(CARGO_TARGET_DIR / "debian"): build
    agent/cli/debian/build {{ CARGO_TARGET_DIR }}/release "$1"

# Everything CI runs: format, lints, all tests.
[group('check')]
test: setup lint
    # Where they cannot be built, it says so, and so do the tests that are left out.
    functions/build arm64 || [ $? = 69 ]
    cargo test --workspace --locked --no-fail-fast

# Format and lints.
[group('check')]
lint: _compiler
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings

# How long a new environment of function one-code takes to its first answer, N times.
[group('check')]
bench-cold-start N='200': (functions replace(arch(), 'aarch64', 'arm64'))
    cargo build --release --locked -p spillway-local --example cold_start --example echo
    {{ CARGO_TARGET_DIR }}/release/examples/cold_start \
        {{ CARGO_TARGET_DIR }}/lambda/{{ replace(arch(), 'aarch64', 'arm64') }}/one-code/bootstrap \
        {{ CARGO_TARGET_DIR }}/release/examples/echo "$1"

# How long one decision takes for 50 sites, 500 routes and 100 levers.
[group('check')]
bench-decision: _compiler
    cargo run --release --locked -p spillway-decide --example decision_time

# Decide each second of DAYS simulated days, and tell after each month how much memory that has taken: some
# minutes for a year.
[group('check')]
bench-year DAYS='365': _compiler
    cargo run --release --locked -p spillway-decide --example year -- "$1"

# Play every CSV trace in FOLDER to the decision and the rules of other systems, and print a Markdown table;
# into OUT too, when one is named, such as docs/decide.md.
[group('check')]
bench-decide FOLDER='agent/simulate/traces' OUT='': _compiler
    cargo run --release --locked -p spillway-simulate --example bench_decide -- "$@"

# The season's forecast beside persistence and augurs on every CSV trace in FOLDER that is three weeks or longer,
# as a Markdown document in OUT.
[group('check')]
bench-forecast FOLDER OUT='docs/forecast.md': _compiler
    cargo run --release --locked -p spillway-simulate --example bench_forecast -- "$@"

# Build the functions of ARCH again, elsewhere and from nothing, and compare them byte by byte.
[group('check')]
reproduce ARCH='arm64': (functions ARCH)
    #!/usr/bin/env bash
    set -euo pipefail
    elsewhere=$(mktemp -d)
    trap 'rm -rf "$elsewhere"' EXIT
    mkdir "$elsewhere/cargo" "$elsewhere/sources"
    git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$elsewhere/sources"
    ln -s "${CARGO_HOME:-$HOME/.cargo}/registry" "$elsewhere/cargo/registry"
    CARGO_HOME="$elsewhere/cargo" CARGO_TARGET_DIR="$elsewhere/target" "$elsewhere/sources/functions/build" "$1"
    for program in one-code alarm; do
        cmp {{ CARGO_TARGET_DIR }}/lambda/"$1"/$program/bootstrap "$elsewhere/target/lambda/$1/$program/bootstrap"
    done
    echo "the same bytes"

# Licences, sources and duplicate crates (installs cargo-deny when it is missing).
[group('check')]
deny:
    command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
    cargo deny check bans licenses sources

# Install what the tests need besides Rust: PostgreSQL, Redis, iproute2, dig, systemd, moto, checkov.
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
    # An arm64 function runs under it.
    [ "$(uname -m)" = aarch64 ] || command -v qemu-aarch64 >/dev/null ||
        missing+=(qemu-user libc6-arm64-cross libgcc-s1-arm64-cross)
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    just _install "${missing[@]}"
    just _python
    # No registry of packages has a current one.
    command -v terraform >/dev/null ||
        echo "!! terraform IS MISSING: its tests are left out; https://developer.hashicorp.com/terraform/install" >&2

# moto, a server of AWS's APIs, and checkov, for the tests of Terraform, in a folder of the user's own.
[private]
_python:
    #!/usr/bin/env bash
    set -euo pipefail
    tools="${XDG_CACHE_HOME:-$HOME/.cache}/spillway/tools"
    wanted=tests/support/requirements.txt
    mkdir -p "$tools"
    # One at a time: another checkout may be at it.
    exec 9>"$tools/python.lock"
    flock 9
    cmp -s "$wanted" "$tools/python/requirements.txt" && exit 0
    echo "installing with pip into $tools/python: $(grep -v '^#' "$wanted" | paste -sd' ')"
    if python3 -m venv --clear "$tools/python" &&
        "$tools/python/bin/pip" install -q --disable-pip-version-check -r "$wanted"; then
        cp "$wanted" "$tools/python/requirements.txt"
    else
        rm -rf "$tools/python"
        echo "!! moto AND checkov COULD NOT BE INSTALLED: the tests of Terraform that need them are left out" >&2
    fi

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
