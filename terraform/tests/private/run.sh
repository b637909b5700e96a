#!/bin/bash
# Module private against real hosts: each has a network namespace of its own with a real sshd in it, and
# a root of its own laid over this machine's, so that packages are really installed and nothing of it
# is seen outside. No systemd runs there; a stand-in for systemctl writes down what is asked of it.
#
# Takes no arguments, needs root, and ends with 0 when everything held, with 77 when it could not begin. SPILLWAY names the program that
# checks the configuration on the hosts; without it that of the last build is taken.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/lib.sh"

# A process tree, mounts and later a network of its own: all of it is gone when this ends.
if [ "${1-}" != inside ]; then
    [ "$(id -u)" = 0 ] || missing "root: the hosts are namespaces"
    for program in terraform unshare nsenter ip dpkg-deb ssh-keygen; do
        command -v "$program" >/dev/null || missing "the program $program"
    done
    exec unshare --mount --pid --fork --kill-child --mount-proc --propagation private "$0" inside
fi

make_base
# Only the hosts' packages came from outside; from here on there is no outside.
exec unshare --net "$here/story.sh"
