# The real keepalived with the real balancer on two hosts: who has the floating addresses, and who gets
# them when that one's balancer ends.

if ! real; then
    echo "!! SKIPPED: the floating addresses need a built spillway" >&2
    return 0
fi
say "floating addresses"
has() { in_host "$1" ip -o address show to 10.99.0.100 | grep -q .; }
only() { has "$1" && ! has "$2"; }
either() { only a b || only b a; }
balancer() {
    in_host "$1" env SPILLWAY_CONFIG=/etc/spillway/spillway.toml setpriv --reuid=spillway --regid=spillway --clear-groups \
        spillway run balancer east >"$work/$1/balancer.log" 2>&1 &
    echo $! >"$work/$1/balancer.pid"
    disown
}
for name in a b; do
    nsenter --net="/run/netns/$name" sysctl -q -w $(sed -n 's/ = /=/p' "$work/$name/fs/etc/sysctl.d/60-spillway.conf")
    balancer "$name"
    in_host "$name" keepalived --dont-fork --log-console --vrrp >"$work/$name/keepalived.log" 2>&1 &
done
until_true "one of two hosts has the VIP" either
holder=a other=b
has a || { holder=b other=a; }
curl -sf --max-time 2 http://10.99.0.101:9301/healthz >/dev/null || fail "the balancer does not answer on the floating admin address"
echo "ok the agent finds the balancer that has it"
pkill_tree() { for child in $(ps -o pid= --ppid "$1"); do pkill_tree "$child"; done; kill -KILL "$1" 2>/dev/null || true; }
pkill_tree "$(cat "$work/$holder/balancer.pid")"
rm "$work/$holder/fs/run/systemctl/active/spillway-balancer"
until_true "without its balancer the other has it" only "$other" "$holder"
until_true "whose balancer answers" curl -sf --max-time 1 -o /dev/null http://10.99.0.101:9301/healthz
balancer "$holder"
touch "$work/$holder/fs/run/systemctl/active/spillway-balancer"
waits() { grep -oE 'Entering [A-Z]+ STATE' "$work/$1/keepalived.log" | tail -n 1 | grep -q BACKUP; }
until_true "once it is well again it waits" waits "$holder"
expect "and does not take the VIP back" only "$other" "$holder"
