#!/bin/bash
# Brings this host to what is described at the end, where one line is a step. Every step compares
# first, so that a second run does nothing; whatever failed is done by the next run, as what is still
# to be restarted is on disk before anything is put in place.
set -euo pipefail
umask 022
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

inbox=$PWD
trap 'rm -f "$inbox/secrets" "$inbox/setup" /var/lib/spillway-setup/secret' EXIT
setup=/var/lib/spillway-setup
state=/var/lib/spillway
new=$setup/new
install -d -m 0700 "$setup" "$setup/old" "$setup/pending" "$setup/packages"

# Two of these at once would undo each other's work.
exec 9>"$setup/lock"
flock 9
rm -rf "$new"
install -d -m 0700 "$new"
: >"$setup/files.new"

wanted=()
paths=()
declare -A mode_of owner_of units_of

say() { echo "$(uname -n): $*"; }
fail() {
    say "$*" >&2
    exit 1
}

# These units are to be restarted, by this run or the next.
concerns() {
    local unit
    for unit in "$@"; do : >"$setup/pending/$unit"; done
}

installed() { dpkg-query --show --showformat='${db:Status-Abbrev}${Version}' "$1" 2>/dev/null || true; }

# package NAME VERSION SHA256 UNIT…: in this version of the archives, or from the upload of that digest.
package() {
    local name=$1 version=$2 sha256=$3 now
    shift 3
    now=$(installed "$name")
    if [ "$sha256" = - ]; then
        if [ "$version" = any ]; then
            [[ $now != ii* ]] || return 0
            wanted+=("$name")
        else
            [ "$now" != "ii $version" ] || return 0
            wanted+=("$name=$version")
        fi
    else
        if [[ $now == ii* ]] && [ "$(cat "$setup/packages/$name" 2>/dev/null)" = "$sha256 $now" ]; then
            rm -f "$inbox/$name.deb"
            return 0
        fi
        [ "$(digest "$inbox/$name.deb")" = "$sha256" ] ||
            fail "$name.deb is not in $inbox any more: upload it again with terraform apply -replace"
        wanted+=("$inbox/$name.deb")
        # Trusted only together with the version that is installed then.
        echo "$sha256" >"$setup/packages/$name"
    fi
    concerns "$@"
}

# Installs what the steps before asked for, in one go: they may depend on each other.
packages() {
    [ ${#wanted[@]} -gt 0 ] || return 0
    local one archives=
    for one in "${wanted[@]}"; do
        if [[ $one != *.deb ]] && ! apt-get install --simulate -qq "$one" >/dev/null 2>&1; then archives=old; fi
    done
    [ -z "$archives" ] || apt-get update -qq
    # The configuration is this script's to place, whatever a package brings.
    apt-get install -qq --yes --no-install-recommends --allow-downgrades \
        -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold "${wanted[@]}" </dev/null >"$setup/apt.log" 2>&1 || {
        tail -n 20 "$setup/apt.log" >&2
        fail "cannot install ${wanted[*]##*/}"
    }
    for one in "${wanted[@]}"; do
        [[ $one == *.deb ]] || continue
        local name
        name=$(basename "$one" .deb)
        echo "$(cut -d' ' -f1 "$setup/packages/$name") $(installed "$name")" >"$setup/packages/$name"
        rm -f "$one"
    done
    say "installed ${wanted[*]##*/}"
}

# file MODE USER:GROUP PATH UNIT… <<END: takes its content, in base64, into the folder that is checked.
file() {
    local mode=$1 owner=$2 path=$3
    shift 3
    install -d -m 0755 "$(dirname "$new$path")"
    base64 --decode >"$new$path"
    chmod "$mode" "$new$path"
    paths+=("$path")
    mode_of[$path]=$mode owner_of[$path]=$owner units_of[$path]=$*
    echo "$path $*" >>"$setup/files.new"
}

# Nothing is put in place that the programs who read it refuse.
check() {
    if [ -e "$new/etc/spillway/spillway.toml" ]; then
        spillway check "$new/etc/spillway/spillway.toml" >"$setup/check.log" 2>&1 || {
            cat "$setup/check.log" >&2
            fail "spillway check refuses the configuration; nothing was put in place"
        }
    fi
    if [ -e "$new/etc/keepalived/keepalived.conf" ]; then
        # It looks for its script, which is not in place yet; and while it only tests, keepalived 2.2 ends
        # itself when it tries on the rights of another user.
        sed -e 's/^ *script_user .*/script_user root/' -e "s|/etc/spillway/healthy|$new&|" \
            "$new/etc/keepalived/keepalived.conf" >"$setup/keepalived.conf"
        keepalived --config-test --use-file="$setup/keepalived.conf" >"$setup/check.log" 2>&1 || {
            cat "$setup/check.log" >&2
            fail "keepalived refuses its configuration; nothing was put in place"
        }
    fi
}

# Puts a file where another may be, in one step, and keeps that.
put() {
    local from=$1 path=$2 mode=$3 owner=$4
    if [ -e "$path" ]; then
        install -d -m 0700 "$(dirname "$setup/old$path")"
        cp -p "$path" "$setup/old$path"
    fi
    mkdir -p "$(dirname "$path")" # which leaves the mode of one that is there
    install -m "$mode" -o "${owner%:*}" -g "${owner#*:}" "$from" "$path.spillway-new"
    mv -f "$path.spillway-new" "$path"
}

attributes() { stat --format='0%a %U:%G' "$1" 2>/dev/null || true; }

# Puts the files in place that differ, and takes away those that are no longer described.
place() {
    local path rest
    # First, or a file in it would have its folder made as root's.
    [ -d "$state" ] || install -d -m 0750 -o spillway -g spillway "$state"
    for path in "${paths[@]}"; do
        if cmp -s "$new$path" "$path" && [ "$(attributes "$path")" = "${mode_of[$path]} ${owner_of[$path]}" ]; then continue; fi
        # shellcheck disable=SC2086 # names of units, divided by spaces
        concerns ${units_of[$path]}
        put "$new$path" "$path" "${mode_of[$path]}" "${owner_of[$path]}"
        say "placed $path"
    done
    while read -r path rest; do
        if cut -d' ' -f1 "$setup/files.new" | grep -qxF "$path" || [ ! -e "$path" ]; then continue; fi
        # shellcheck disable=SC2086
        concerns $rest
        rm -f "$path"
        say "removed $path"
    done < <(cat "$setup/files" 2>/dev/null)
    mv -f "$setup/files.new" "$setup/files"
    rm -rf "$new"
}

digest() { sha256sum "$1" 2>/dev/null | cut -d' ' -f1; }

# secret USER:GROUP PATH UNIT… <<END: for its owner alone. One that is replaced is not kept.
secret() {
    local owner=$1 path=$2
    shift 2
    mkdir -p "$(dirname "$path")" # which leaves the mode of one that is there
    (umask 077 && base64 --decode >"$setup/secret")
    if ! cmp -s "$setup/secret" "$path" || [ "$(attributes "$path")" != "0600 $owner" ]; then
        concerns "$@"
        install -m 0600 -o "${owner%:*}" -g "${owner#*:}" "$setup/secret" "$path.spillway-new"
        mv -f "$path.spillway-new" "$path"
        say "placed $path"
    fi
    rm -f "$setup/secret"
}

# Keys that are missing are made here and stay here.
keys() {
    runuser -u spillway -- spillway keygen --config /etc/spillway/spillway.toml >"$setup/keygen.log" 2>&1 ||
        fail "cannot make the keys: $(cat "$setup/keygen.log")"
}

# stop UNIT: of a role that this host does not have, or no longer.
stop() {
    rm -f "$setup/pending/$1"
    if systemctl --quiet is-enabled "$1" 2>/dev/null || systemctl --quiet is-active "$1" 2>/dev/null; then
        systemctl --quiet disable --now "$1"
        say "stopped $1"
    fi
}

# run UNIT: from now on and after the next boot.
run() {
    systemctl --quiet is-enabled "$1" 2>/dev/null || systemctl --quiet enable "$1"
    systemctl --quiet is-active "$1" || concerns "$1"
}

# A part reads its configuration when it starts, and takes a reload as leave to open its log anew; so
# it is restarted. keepalived can reload, and then keeps the addresses that it has.
restart() {
    local file unit how
    [ -z "$(ls "$setup/pending")" ] || systemctl daemon-reload
    # What others need first, and the addresses when all that is behind them is well.
    for unit in systemd-sysctl $(ls "$setup/pending" | grep -vx keepalived) keepalived; do
        file=$setup/pending/$unit
        [ -e "$file" ] || continue
        how=restart
        [ "$unit" != keepalived ] || how=reload-or-restart
        systemctl "$how" "$unit" || {
            journalctl --no-pager --lines=20 --unit="$unit" >&2 || true
            fail "$unit does not start; the files it had before are in $setup/old"
        }
        rm -f "$file"
        say "restarted $unit"
    done
    say "is as described"
}
