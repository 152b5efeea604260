#!/bin/bash
# `make image`: builds the Dockerfile with buildah, on a base made of Debian packages instead of one from a registry, and writes the image as
# an OCI archive: .setup/image/countersign.tar. Root; nothing outside .setup/image is changed.
#   image.sh            build what has changed
#   image.sh --clean    remove .setup/image
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
state=$root/.setup/image
# A mirror that stumbles costs a pause, not the run.
patient='-o Acquire::Retries=5'
say() { echo "image: $*"; }
fail() {
	echo "image: $*" >&2
	exit 1
}
[ "$(id -u)" = 0 ] || fail "needs root: buildah makes a root file system"
if [ "${1:-}" = --clean ]; then
	rm -rf "$state"
	exit 0
fi
missing=
command -v buildah >/dev/null || missing="$missing buildah crun"
command -v mmdebstrap >/dev/null || missing="$missing mmdebstrap arch-test"
if [ -n "$missing" ]; then
	say "Debian packages:$missing"
	mkdir -p "$state"
	# shellcheck disable=SC2086
	{ apt-get $patient update && DEBIAN_FRONTEND=noninteractive apt-get $patient install -y --no-install-recommends $missing; } >"$state/apt.log" 2>&1 ||
		fail "apt-get did not succeed; its output is in $state/apt.log"
fi
mkdir -p "$state"
node=$("$root/.setup/node" -e 'console.log(process.execPath)')
npm=$(readlink -f "$(command -v npm)")
npm=${npm%/bin/npm-cli.js}
build() { buildah --root "$state/storage" --runroot "$state/run" --storage-driver vfs "$@"; }

packages=ca-certificates,gcc,libc6-dev,libcap2-bin,libstdc++6,make,iptables,nftables,iproute2,binutils
name=base-$(printf '%s' "$packages $("$node" --version)" | sha256sum | cut -c1-12)
if ! build images --format '{{.Name}}' 2>/dev/null | grep -q "localhost/$name"; then
	say "base of Debian packages (a minute, once)"
	base=$(mktemp -d "$state/base.XXXXXX")
	trap 'rm -rf "$base"' EXIT
	mmdebstrap --variant=minbase --aptopt='Acquire::Retries "5"' --include="$packages" \
		--customize-hook="mkdir -p \$1/usr/local/bin \$1/usr/local/lib/node_modules" \
		--customize-hook="copy-in $node /usr/local/bin" \
		--customize-hook="cp -r $npm \$1/usr/local/lib/node_modules/npm" \
		--customize-hook="ln -s ../lib/node_modules/npm/bin/npm-cli.js \$1/usr/local/bin/npm" \
		bookworm "$base/root.tar" >"$state/base.log" 2>&1 || {
		tail -20 "$state/base.log" >&2
		fail "mmdebstrap did not succeed; its output is in $state/base.log"
	}
	printf 'FROM scratch\nADD root.tar /\n' >"$base/Dockerfile"
	build bud --quiet --tag "$name" "$base" >/dev/null
fi

# The build stage trusts whom this machine trusts; nothing of that gets into the image.
trusted=/etc/ssl/certs/ca-certificates.crt
printf 'cafile=%s\n' "$trusted" >"$state/npmrc"
say "Dockerfile"
build bud --isolation chroot --network host --layers=false --timestamp 0 \
	--volume "$trusted:$trusted:ro" --volume "$state/npmrc:/root/.npmrc:ro" \
	--build-arg BASE="localhost/$name" --tag countersign:dev --file "$root/Dockerfile" "$root" >"$state/build.log" 2>&1 || {
	tail -30 "$state/build.log" >&2
	fail "the build did not succeed; its output is in $state/build.log"
}
rm -f "$state/countersign.tar"
# The whole name: kubelet asks for that one, and an OCI archive is imported under what it says.
build push --quiet countersign:dev "oci-archive:$state/countersign.tar:docker.io/library/countersign:dev"
say "$state/countersign.tar  $(($(stat -c %s "$state/countersign.tar") / 1000000)) MB, countersign:dev"
