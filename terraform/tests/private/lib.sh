# What the story is told with: hosts, packages, Terraform, and what must hold.

# Nobody else sees what is mounted here, and nothing of it stays.
work=/mnt
private=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../modules/private" && pwd)

say() { echo "== $* (${SECONDS} s)"; }
# With what a test ends that could not begin.
missing() {
    echo "!! THIS TEST CANNOT RUN: it lacks $*" >&2
    exit 77
}
fail() {
    echo "FAILED: $*" >&2
    exit 1
}
expect() {
    local what=$1
    shift
    "$@" || fail "$what"
    echo "ok $what"
}
same() {
    [ "$2" = "$3" ] || fail "$1: expected <$2>, found <$3>"
    echo "ok $1"
}
until_true() {
    local what=$1 deadline=$((SECONDS + 30))
    shift
    until "$@"; do
        [ $SECONDS -lt $deadline ] || fail "$what: not within 30 s"
        sleep 0.1 # between two looks; what is waited for is the condition
    done
    echo "ok $what"
}

# The layer that all hosts share: this machine, and what its hosts need that it has not.
make_base() {
    mount -t tmpfs -o mode=0755 hosts "$work"
    mkdir "$work"/{base,base-work,base-root}
    mount -t overlay base -o "lowerdir=/,upperdir=$work/base,workdir=$work/base-work" "$work/base-root"
    local root=$work/base-root lacks=() package
    for package in openssh-server sudo keepalived curl iproute2; do
        dpkg-query --show --showformat='${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q ^ii || lacks+=("$package")
    done
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 0755 "$root/usr/sbin/policy-rc.d"
    if [ ${#lacks[@]} -gt 0 ]; then
        say "the hosts lack ${lacks[*]}: apt-get"
        mount --bind /dev "$root/dev"
        mount -t proc proc "$root/proc"
        DEBIAN_FRONTEND=noninteractive chroot "$root" sh -c "
            apt-get install -qq --yes --no-install-recommends ${lacks[*]} ||
                { apt-get update -qq && apt-get install -qq --yes --no-install-recommends ${lacks[*]}; }" \
            </dev/null >"$work/apt.log" 2>&1 || {
            tail -n 5 "$work/apt.log" >&2
            missing "${lacks[*]}, which apt-get does not get"
        }
        umount "$root/dev" "$root/proc"
    fi
    install -m 0755 "$(dirname "${BASH_SOURCE[0]}")/systemctl" "$root/usr/bin/systemctl"
    rm -rf "$root"/etc/ssh/ssh_host_* "$root/etc/spillway" "$root/var/lib/spillway" "$root/var/lib/spillway-setup"
    find_program
    umount "$work/base-root"
}

# The real program checks the real configuration; with a stand-in the rest can still be shown.
find_program() {
    local target=${CARGO_TARGET_DIR:-$HOME/.cache/spillway/target} program
    for program in "${SPILLWAY-}" "$target/release/spillway" "$target/debug/spillway"; do
        if [ -n "$program" ] && [ -x "$program" ]; then
            say "the hosts run $program"
            mkdir -p "$work/base-root/usr/libexec"
            install -m 0755 "$program" "$work/base-root/usr/libexec/spillway"
            touch "$work/real"
            return
        fi
    done
    echo "!! THERE IS NO BUILT spillway: a stand-in checks nothing, and keys and the floating addresses are left out" >&2
    printf '#!/bin/sh\n! grep -q nowhere "$(dirname "$2")/zones/example.test.zone"\n' >"$work/base-root/usr/libexec/spillway"
    chmod 0755 "$work/base-root/usr/libexec/spillway"
}
real() { [ -e "$work/real" ]; }

# deb NAME VERSION: a package as small as can be, with a unit, or with the program.
deb() {
    local name=$1 version=$2 tree=$work/deb/$1
    rm -rf "$tree"
    mkdir -p "$tree/DEBIAN" "$work/dist"
    if [ "$name" = spillway ]; then
        mkdir -p "$tree/usr/bin"
        printf '#!/bin/sh\nexec /usr/libexec/spillway "$@"\n' >"$tree/usr/bin/spillway"
        chmod 0755 "$tree/usr/bin/spillway"
        printf '#!/bin/sh\nid spillway >/dev/null 2>&1 || useradd --system --home-dir /var/lib/spillway spillway\n' >"$tree/DEBIAN/postinst"
        chmod 0755 "$tree/DEBIAN/postinst"
    else
        mkdir -p "$tree/lib/systemd/system"
        printf '[Service]\nExecStart=/bin/true %s\n' "$version" >"$tree/lib/systemd/system/$name.service"
    fi
    printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: Test <test@example.test>\nDescription: test\n' \
        "$name" "$version" >"$tree/DEBIAN/control"
    [ "$name" = spillway ] || echo "Depends: spillway" >>"$tree/DEBIAN/control"
    dpkg-deb --root-owner-group -Znone --build "$tree" "$work/dist/${name}_$version.deb" >/dev/null
}

# host NAME ADDRESS: its network, its root and its sshd.
host() {
    local name=$1 address=$2 root=$work/$1/fs
    ip netns add "$name"
    ip link add name "to-$name" type veth peer name eth0 netns "$name"
    ip link set "to-$name" master site up
    ip -n "$name" address add "$address/24" dev eth0
    ip -n "$name" link set eth0 up
    ip -n "$name" link set lo up
    mkdir -p "$work/$name"/{upper,work,fs}
    mount -t overlay "$name" -o "lowerdir=$work/base:/,upperdir=$work/$name/upper,workdir=$work/$name/work" "$root"
    mount --bind /dev "$root/dev"
    mount -t proc proc "$root/proc"
    mount -t devpts -o ptmxmode=0666,mode=0620,gid=5 devpts "$root/dev/pts"
    mount -t tmpfs -o mode=0755 run "$root/run"
    mount -t tmpfs tmp "$root/tmp"
    mkdir -p "$root/run/sshd" "$root/etc/ssh/logins"
    ssh-keygen -q -t ed25519 -N '' -C '' -f "$root/etc/ssh/ssh_host_ed25519_key"
    chroot "$root" sh -c 'id deploy >/dev/null 2>&1 || useradd --create-home --shell /bin/bash deploy
        usermod -p "*" deploy; echo "deploy ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/deploy'
    install -m 0644 "$work/login.pub" "$root/etc/ssh/logins/root"
    install -m 0644 "$work/login.pub" "$root/etc/ssh/logins/deploy"
    printf '%s\n' "ListenAddress $address" "HostKey /etc/ssh/ssh_host_ed25519_key" "PasswordAuthentication no" \
        "AuthorizedKeysFile /etc/ssh/logins/%u" "UsePAM no" "PidFile none" "MaxStartups 100" "Subsystem sftp internal-sftp" >"$root/etc/ssh/sshd_config"
    in_host "$name" /usr/sbin/sshd -D -e 2>"$work/$name/sshd.log" &
    until_true "sshd of $name answers" bash -c "exec 3<>/dev/tcp/$address/22" 2>/dev/null
}

in_host() {
    local name=$1
    shift
    nsenter --net="/run/netns/$name" unshare --uts bash -c 'hostname "$1"; shift; exec chroot "$@"' - "$name" "$work/$name/fs" "$@"
}

# What was asked of systemctl since the last look, a line each, in the order of the alphabet.
asked() {
    local log=$work/$1/fs/var/log/systemctl
    sort -u "$log" 2>/dev/null | paste -sd, -
    rm -f "$log"
}
forget() {
    local name
    for name in a b c; do rm -f "$work/$name/fs/var/log/systemctl"; done
}

tf() { terraform -chdir="$work/stack" "$@"; }
apply() {
    tf apply -auto-approve -input=false -no-color "$@" >"$work/apply.log" 2>&1
}
must_not_apply() {
    ! apply || fail "$1: the apply went through"
    echo "ok terraform apply fails: $1"
}
must_apply() {
    apply "$@" || {
        grep -v '^$' "$work/apply.log" | tail -n 40 >&2
        fail "terraform apply"
    }
    echo "ok terraform apply"
}
no_change() {
    local code=0
    tf plan -detailed-exitcode -input=false -no-color >"$work/plan.log" 2>&1 || code=$?
    [ $code = 0 ] || tail -n 40 "$work/plan.log" >&2
    same "a second plan is empty ($1)" 0 $code
}
