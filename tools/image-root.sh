#!/bin/sh
# Collects the root file system of the image: Node.js, the packet filter's tools, the bundles, and the libraries that these load. No shell,
# no package manager: what is not there cannot be used by who breaks in. Runs in the build stage of the Dockerfile.
#   image-root.sh OUT
set -eu
out=$1
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
app=$out/opt/countersign
list=$(mktemp)

# Every file that a program needs to be loaded, the loader too.
needs() { ldd "$1" 2>/dev/null | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p'; }
copy() {
	# Debian's /lib, /bin and /sbin are links to those under /usr; the same file is found under one name.
	real=$(readlink -f "$1")
	mkdir -p "$out$(dirname "$real")"
	cp -p "$real" "$out$real"
	echo "$real" >>"$list"
	[ "$real" = "$1" ] && return
	case $1 in /lib/* | /lib64/* | /bin/* | /sbin/*) target=$out/usr$1 ;; *) target=$out$1 ;; esac
	[ -e "$target" ] && return
	mkdir -p "$(dirname "$target")"
	ln -s "$real" "$target"
}

mkdir -p "$out/usr/bin" "$out/usr/sbin" "$out/usr/lib" "$out/usr/lib64" "$out/tmp" "$out/run" "$app"
chmod 1777 "$out/tmp"
for link in bin sbin lib lib64; do ln -s "usr/$link" "$out/$link"; done

node=$("$root/.setup/node" -e 'console.log(process.execPath)')
mkdir -p "$out/usr/local/bin"
install -m 0755 "$node" "$out/usr/local/bin/node"
strip --strip-debug "$out/usr/local/bin/node" 2>/dev/null || true
# Permitted, not effective (decision 42): with the effective bit the kernel refuses to start the program where its container lacks one of them
# (capabilities(7)). A container that was given none starts it with none.
setcap cap_net_admin,cap_net_raw+p "$out/usr/local/bin/node"

plugins=$(find /usr/lib -type d -name xtables)
{
	needs "$node"
	for tool in iptables ip6tables iptables-save ip6tables-save iptables-restore ip6tables-restore \
		iptables-legacy ip6tables-legacy iptables-legacy-save ip6tables-legacy-save iptables-legacy-restore ip6tables-legacy-restore \
		iptables-nft ip6tables-nft iptables-nft-save ip6tables-nft-save iptables-nft-restore ip6tables-nft-restore nft ip; do
		path=$(PATH=/usr/sbin:/sbin:/usr/bin:/bin command -v "$tool")
		echo "$path"
		needs "$path"
	done
	for plugin in "$plugins"/*.so; do
		echo "$plugin"
		needs "$plugin"
	done
	needs "$root/native/build/countersign.node"
	find /lib /usr/lib -maxdepth 3 -name 'libnss_files.so.2' -o -maxdepth 3 -name 'libnss_dns.so.2'
} | sort -u | while read -r file; do
	[ -e "$file" ] && copy "$file"
done

# The names that the alternatives system gives these tools.
for tool in iptables ip6tables iptables-save ip6tables-save iptables-restore ip6tables-restore; do
	[ -e "$out/usr/sbin/$tool" ] || ln -s "$tool-nft" "$out/usr/sbin/$tool"
done

mkdir -p "$out/etc" "$app/native/build" "$app/bundle"
printf 'root:x:0:0:root:/:/sbin/nologin\ncountersign:x:14014:14014:countersign:/:/sbin/nologin\n' >"$out/etc/passwd"
printf 'root:x:0:\ncountersign:x:14014:\n' >"$out/etc/group"
printf 'hosts: files dns\n' >"$out/etc/nsswitch.conf"
cp "$root/package.json" "$root/LICENSE" "$app/"
cp "$root"/bundle/*.cjs "$root"/bundle/*.js "$root"/bundle/*.js.cache "$app/bundle/"
chmod 0755 "$app/bundle/countersign.cjs"
ln -s /opt/countersign/bundle/countersign.cjs "$out/usr/local/bin/countersign"
cp "$root/native/build/countersign.node" "$app/native/build/"
cp -r "$root/manifests" "$app/manifests"
"$root/.setup/node" "$root/tools/sbom.ts" "$list" >"$app/sbom.cdx.json"
rm "$list"
