#!/bin/sh
# Brings a fresh machine to the point where the program and its tests run. Every step is skipped when its result is
# already there, so it costs nothing to call it again.
#   setup.sh node      Node.js 24: the machine's own, else the one in tools/node
#   setup.sh packages  npm packages, exactly as locked, without install scripts
#   setup.sh native    the native addon, with the C compiler that is there
#   setup.sh cluster   Debian packages of the cluster tests (root)
#   setup.sh system    Debian packages that the demo and the system tests use (root)
#   setup.sh bench     Debian packages that `make bench` compares with (root)
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
state=$root/.setup
mkdir -p "$state"

# A mirror that stumbles costs a pause, not the run.
patient='-o Acquire::Retries=5'

say() { echo "setup: $*"; }
fail() {
	echo "setup: $*" >&2
	exit 1
}

# Runs a command that may take minutes, and says so every 20 seconds. $1: what it does.
with_progress() {
	what=$1
	shift
	(
		seconds=0
		while sleep 5 >/dev/null 2>&1 </dev/null; do
			seconds=$((seconds + 5))
			[ $((seconds % 20)) = 0 ] && say "$what, $seconds s so far"
			# Whoever is killed outright leaves this loop behind otherwise.
			kill -0 "$$" 2>/dev/null || exit
		done
	) &
	ticker=$!
	status=0
	"$@" || status=$?
	kill "$ticker" 2>/dev/null || true
	wait "$ticker" 2>/dev/null || true
	return "$status"
}

setup_node() {
	if [ -x "$state/node" ] && "$state/node" -e 'process.exit(Number(process.versions.node.split(".")[0]) < 24 ? 1 : 0)' 2>/dev/null; then
		return
	fi
	command -v npm >/dev/null 2>&1 || fail "npm is not installed: install Node.js (any version from 20) with npm, then run this again"
	own=$(command -v node || true)
	if [ -n "$own" ] && "$own" -e 'process.exit(Number(process.versions.node.split(".")[0]) < 24 ? 1 : 0)'; then
		ln -sfn "$own" "$state/node"
	else
		say "this machine's Node.js is $("$own" --version 2>/dev/null || echo absent), fetching Node.js 24"
		with_progress "Node.js 24" locked_packages "$root/tools/node"
		for arch in x64 arm64; do
			found=$root/tools/node/node_modules/node-linux-$arch/bin/node
			[ -x "$found" ] && ln -sfn "$found" "$state/node"
		done
	fi
	[ -x "$state/node" ] || fail "no Node.js 24 for $(uname -s) $(uname -m): install it yourself, then run this again"
}

# The packages of a folder exactly as its lock file names them, by the Node.js of this checkout where it is there already.
locked_packages() {
	(cd "$1" && PATH=$state:$PATH npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null)
}

setup_packages() {
	setup_node
	if [ -f "$state/packages" ] && cmp -s "$root/package-lock.json" "$state/packages" && [ -d "$root/node_modules" ]; then
		return
	fi
	say "npm packages"
	with_progress "npm packages" locked_packages "$root"
	cp "$root/package-lock.json" "$state/packages"
}

setup_native() {
	setup_packages
	if ! command -v cc >/dev/null 2>&1 || ! command -v make >/dev/null 2>&1; then
		fail "no C compiler: install gcc and make (Debian: apt-get install build-essential), then run this again"
	fi
	log=$state/native.log
	make -C "$root/native" >"$log" 2>&1 || {
		cat "$log" >&2
		fail "the native addon does not build"
	}
}

setup_system() {
	missing=
	need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
	need ip iproute2
	need nft nftables
	need iptables iptables
	need setpriv util-linux
	need setcap libcap2-bin
	need sysctl procps
	need curl curl
	need tcpdump tcpdump
	need strace strace
	install_missing
}

setup_bench() {
	missing=
	need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
	need haproxy haproxy
	need nginx nginx
	need openssl openssl
	[ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || missing="$missing libnginx-mod-stream"
	[ -z "$missing" ] && return
	# Their packages start a service of their own, on port 80 of this machine, unless this file tells them not to.
	policy=/usr/sbin/policy-rc.d
	if [ "$(id -u)" = 0 ] && [ ! -e "$policy" ]; then
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
		trap 'rm -f "$policy"' EXIT
	fi
	install_missing
}

setup_wire() {
	missing=
	need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
	need tshark tshark
	install_missing
}

setup_cluster() {
	missing=
	need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
	need runc runc
	need openssl openssl
	[ -x /usr/lib/cni/bridge ] || missing="$missing containernetworking-plugins"
	install_missing
	setup_promtool
}

# Out of Debian's package and nothing else of it: installed, it would start a server.
setup_promtool() {
	[ -x "$state/promtool" ] && return
	say "promtool"
	work=$(mktemp -d "$state/promtool.XXXXXX")
	# shellcheck disable=SC2086
	{ cd "$work" && apt-get $patient update && apt-get $patient -o APT::Sandbox::User=root download prometheus && dpkg -x prometheus_*.deb .; } >"$state/apt.log" 2>&1 ||
		fail "Debian's package prometheus cannot be downloaded; apt-get's output is in $state/apt.log"
	cd "$root"
	mv "$work/usr/bin/promtool" "$state/promtool"
	rm -rf "$work"
}

# Installs what `need` found missing.
install_missing() {
	[ -z "$missing" ] && return
	[ "$(id -u)" = 0 ] || fail "these packages are missing and installing them needs root:$missing"
	command -v apt-get >/dev/null 2>&1 || fail "install these by hand, there is no apt-get here:$missing"
	say "Debian packages:$missing"
	log=$state/apt.log
	# shellcheck disable=SC2086
	{ apt-get $patient update && DEBIAN_FRONTEND=noninteractive apt-get $patient install -y --no-install-recommends $missing; } >"$log" 2>&1 ||
		fail "apt-get did not succeed; its output is in $log"
}

case ${1:-} in
node) setup_node ;;
packages) setup_packages ;;
native) setup_native ;;
system) setup_system ;;
bench) setup_bench ;;
wire) setup_wire ;;
cluster) setup_cluster ;;
*) fail "usage: setup.sh node|packages|native|system|bench|wire|cluster" ;;
esac
