#!/bin/bash
# What happens to three hosts from their first setup to a host key that is not theirs. Run by run.sh.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say "three hosts"
mkdir -p /run/netns
mount -t tmpfs netns /run/netns
ip link set lo up
ip link add site type bridge
ip link set site up
ip address add 10.99.0.1/24 dev site
ssh-keygen -q -t ed25519 -N '' -C '' -f "$work/login"
host a 10.99.0.11
host b 10.99.0.12
host c 10.99.0.13
for name in spillway spillway-agent spillway-dns spillway-balancer spillway-gateway spillway-one-code; do deb "$name" 1.0.0; done
deb spillway-gateway 1.1.0
mkdir "$work/keys"
head -c 32 /dev/urandom | base64 >"$work/keys/one-code.key"
if real; then
    "$work/base/usr/libexec/spillway" keygen --to "$work/keys" >/dev/null
else
    for key in plan.key plan.pub operator.token; do head -c 32 /dev/urandom | base64 >"$work/keys/$key"; done
fi

mkdir "$work/stack"
cp "$here/main.tf" "$here/../../../examples/example.test.zone" "$work/stack"
ln -s "$private" "$work/stack/private"
key_of() { cat "$work/$1/fs/etc/ssh/ssh_host_ed25519_key.pub"; }
declare -A settings=()
# change NAME JSON: what of the variables differs from its default, from now on.
change() {
    settings[$1]=$2
    local name
    {
        echo "{ \"folder\": \"$work\""
        for name in "${!settings[@]}"; do echo ", \"$name\": ${settings[$name]}"; done
        echo "}"
    } >"$work/stack/settings.auto.tfvars.json"
}
# keys_are KEY KEY KEY: the host keys that Terraform expects of a, b and c.
keys_are() {
    change hosts "{ \"a\": { \"address\": \"10.99.0.11\", \"host_key\": \"$1\" },
        \"b\": { \"address\": \"10.99.0.12\", \"host_key\": \"$2\" }, \"c\": { \"address\": \"10.99.0.13\", \"host_key\": \"$3\" } }"
}
keys_are "$(key_of a)" "$(key_of b)" "$(key_of c)"
echo 'disable_checkpoint = true' >"$work/terraformrc"
export TF_CLI_CONFIG_FILE=$work/terraformrc
unset SSH_AUTH_SOCK
tf init -no-color >"$work/init.log" 2>&1 || { cat "$work/init.log"; fail "terraform init"; }

say "apply to empty hosts"
must_apply
version() { in_host "$1" dpkg-query --show --showformat='${Version}' "$2"; }
on() { cat "$work/$1/fs$2"; }
same "the packages are installed" "1.0.0 1.0.0 1.0.0" "$(version a spillway-dns) $(version b spillway-gateway) $(version c spillway)"
same "b has only the packages of its roles" "" "$(in_host b dpkg-query --show --showformat='${Version}' spillway-dns 2>/dev/null || true)"
same "a's units were started" \
    "daemon-reload,enable keepalived,enable spillway-agent,enable spillway-balancer,enable spillway-dns,enable spillway-gateway,enable spillway-one-code,reload-or-restart keepalived,restart greeter,restart spillway-agent,restart spillway-balancer,restart spillway-dns,restart spillway-gateway,restart spillway-one-code,restart systemd-sysctl" "$(asked a)"
same "b's units were started" \
    "daemon-reload,enable keepalived,enable spillway-balancer,enable spillway-gateway,enable spillway-one-code,reload-or-restart keepalived,restart greeter,restart spillway-balancer,restart spillway-gateway,restart spillway-one-code,restart systemd-sysctl" "$(asked b)"
expect "all hosts of a site have the same configuration" cmp "$work"/{a,b}/fs/etc/spillway/spillway.toml
expect "what was rendered to a folder is what the hosts have" cmp "$work/rendered/a/etc/spillway/spillway.toml" "$work/a/fs/etc/spillway/spillway.toml"
expect "the parts know their names" grep -qx "Environment=SPILLWAY_NAME=b-gateway" "$work/b/fs/etc/systemd/system/spillway-gateway.service.d/50-site.conf"
attributes() { in_host "$1" stat --format='%a %U' "$2"; }
same "the signing key is its owner's" "600 spillway" "$(attributes a /var/lib/spillway/plan.key)"
expect "and is the one in the folder" cmp "$work/keys/plan.key" "$work/a/fs/var/lib/spillway/plan.key"
same "the state folder is the parts' own" "750 spillway 750 spillway" "$(attributes a /var/lib/spillway) $(attributes b /var/lib/spillway)"
expect "b has no signing key" test ! -e "$work/b/fs/var/lib/spillway/plan.key"
expect "b has the public one" cmp "$work/keys/plan.pub" "$work/b/fs/var/lib/spillway/plan.pub"
same "services know users by one key" "600 spillway" "$(attributes b /var/lib/spillway/one-code.key)"
same "a secret file is its owner's" "*:*:*:*:pass-of-the-database" "$(on b /var/lib/spillway/.pgpass)"
for secret in "$(cat "$work/keys/plan.key")" "$(cat "$work/keys/operator.token")" "$(cat "$work/keys/one-code.key")"; do
    expect "no key is in the state" bash -c '! grep -qF "$1" "$2"' - "$secret" "$work/stack/terraform.tfstate"
done
expect "no password is in the state" bash -c '! grep -q pass-of-the-database "$1"' - "$work/stack/terraform.tfstate"
expect "no secret is left where files arrive" bash -c '! ls -A "$1"/*/fs/{root,home/deploy}/.spillway-setup 2>/dev/null | grep -E "secrets|deb$"' - "$work"
if real; then
    same "c made its own signing key" "600 spillway" "$(attributes c /var/lib/spillway/plan.key)"
    expect "the program finds the configuration good" in_host c spillway check /etc/spillway/spillway.toml
fi

say "again, without a change"
no_change "after the first apply"
must_apply '-replace=module.pair.module.wave_1["a"].terraform_data.setup'
same "the setup by itself asks a for nothing more" "" "$(asked a)"

say "settings"
change queue_bytes 131072
must_apply
same "the uplink's queue concerns balancer and agent at a" "daemon-reload,restart spillway-agent,restart spillway-balancer" "$(asked a)"
same "and the balancer at b" "daemon-reload,restart spillway-balancer" "$(asked b)"
no_change "after a setting"
change qr_weight 2
must_apply
same "a route concerns gateway, service and agent" "daemon-reload,restart spillway-agent,restart spillway-gateway,restart spillway-one-code" "$(asked a)"
same "gateway and service at b" "daemon-reload,restart spillway-gateway,restart spillway-one-code" "$(asked b)"
change motd '"good day"'
must_apply
same "a file concerns its units" "daemon-reload,restart greeter" "$(asked b)"
expect "the file before is kept" grep -qx hello "$work/b/fs/var/lib/spillway-setup/old/etc/motd"

say "an upgrade"
forget
change gateway_version '"1.1.0"'
must_apply
same "the new version is installed" "1.1.0 1.1.0 1.0.0" "$(version a spillway-gateway) $(version c spillway-gateway) $(version a spillway-dns)"
same "only the gateway was restarted at a" "daemon-reload,restart spillway-gateway" "$(asked a)"
same "and at b" "daemon-reload,restart spillway-gateway" "$(asked b)"
no_change "after an upgrade"

say "an upgrade from an archive"
archive=$work/c/fs/srv/archive
mkdir -p "$archive"
rm -rf "$work"/c/fs/etc/apt/sources.list*
echo "deb [trusted=yes] file:/srv/archive ./" >"$work/c/fs/etc/apt/sources.list"
for name in spillway spillway-agent spillway-dns spillway-balancer spillway-gateway spillway-one-code; do
    deb "$name" 1.2.0
    file=${name}_1.2.0.deb
    cp "$work/dist/$file" "$archive"
    dpkg-deb --field "$archive/$file" >>"$archive/Packages"
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$file" "$(stat -c %s "$archive/$file")" "$(sha256sum "$archive/$file" | cut -d' ' -f1)" >>"$archive/Packages"
done
forget
change version_of_c '"1.2.0"'
must_apply
same "the new version is installed, the program too" "1.2.0 1.2.0" "$(version c spillway) $(version c spillway-gateway)"
same "all parts run the new program" \
    "daemon-reload,restart spillway-agent,restart spillway-balancer,restart spillway-dns,restart spillway-gateway,restart spillway-one-code" "$(asked c)"
same "the other site is as it was" "" "$(asked a)$(asked b)"
no_change "after an upgrade from an archive"

say "what goes wrong"
change tick_ms 500
cp "$work/stack/example.test.zone" "$work/good.zone"
echo "broken IN A nowhere" >>"$work/stack/example.test.zone"
forget
must_not_apply "a configuration that the program refuses"
expect "and says why" grep -q "spillway check refuses the configuration" "$work/apply.log"
same "a was asked for nothing" "" "$(asked a)"
expect "a keeps its configuration" grep -qx "tick_ms = 1000" "$work/a/fs/etc/spillway/spillway.toml"
same "b, of the next wave, was not touched" "" "$(asked b)"
mkdir "$work/a/fs/run/broken"
touch "$work/a/fs/run/broken/spillway-dns"
cp "$work/good.zone" "$work/stack/example.test.zone"
echo "; changed" >>"$work/stack/example.test.zone"
must_not_apply "a unit that does not start"
expect "and is named" grep -q "spillway-dns does not start" "$work/apply.log"
rm "$work/a/fs/run/broken/spillway-dns"
forget
must_apply
same "the next apply starts it" "daemon-reload,restart spillway-dns" "$(asked a)"
no_change "after what went wrong"

say "a role less"
forget
change b_serves false
must_apply
same "b's service is stopped, its gateway knows" "daemon-reload,disable spillway-one-code,restart spillway-gateway" "$(asked b)"
expect "its drop-in is gone" test ! -e "$work/b/fs/etc/systemd/system/spillway-one-code.service.d/50-site.conf"
no_change "after a role less"

say "a host that is not the one"
ssh-keygen -q -t ed25519 -N '' -C '' -f "$work/other"
forget
keys_are "$(cat "$work/other.pub")" "$(key_of b)" "$(key_of c)"
must_not_apply "a host with another key"
expect "because of its key" grep -qiE "host key|knownhosts" "$work/apply.log"
same "a was asked for nothing" "" "$(asked a)"

. "$here/floating.sh"

say "all held"
