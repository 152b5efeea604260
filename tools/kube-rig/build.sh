#!/bin/sh
# Builds a current Kubernetes control plane for the tests from the modules that go.mod pins and go.sum proves, into a cache that is named by both.
#   build.sh NAME...   builds what is missing of kube-apiserver etcd kubectl kube-controller-manager kube-scheduler kubelet kube-proxy helm
#                      containerd containerd-shim-runc-v2 ctr coredns
#   build.sh --path    prints the folder of the binaries
set -eu
here=$(cd "$(dirname "$0")" && pwd)
say() { echo "kube-rig: $*" >&2; }

version=$(sed -n 's|^.*k8s.io/kubernetes v\([0-9.]*\).*$|\1|p' "$here/go.mod" | head -n 1)
# Count this up when the flags below change.
recipe=1
sum=$( (echo $recipe && cat "$here"/go.mod "$here"/go.sum "$here"/*/go.mod "$here"/*/go.sum "$here"/*/*.go) | sha256sum | cut -c 1-12)
bin=${XDG_CACHE_HOME:-$HOME/.cache}/countersign/kube-rig/$version-$sum
if [ "${1:-}" = --path ]; then
  echo "$bin"
  exit 0
fi

missing=
for name in "$@"; do
  case $name in
  kube-apiserver | etcd | kubectl | kube-controller-manager | kube-scheduler | kubelet | kube-proxy | helm) ;;
  containerd | containerd-shim-runc-v2 | ctr | coredns) ;;
  *)
    say "nothing is called $name here"
    exit 2
    ;;
  esac
  [ -x "$bin/$name" ] || missing="$missing $name"
done
[ -n "$missing" ] || exit 0

mkdir -p "$bin"
# One at a time: two test runs on a fresh machine would build everything twice.
exec 9>"$bin/.lock"
flock -n 9 || { say "another run is building; waiting for it"; flock 9; }

wanted=$(sed -n 's/^go \([0-9.]*\).*/\1/p' "$here/go.mod")
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }
have=$(go env GOVERSION 2>/dev/null | sed 's/^go//' || true)
if ! at_least 1.21 "${have:-0}"; then
  say "Go is needed, $wanted or any from 1.21 on, which fetches $wanted by itself; this machine has ${have:-none}. Install it from https://go.dev/dl/, or on Debian: apt-get install golang-go, where needed from backports"
  exit 1
fi
at_least "$wanted" "$have" || export GOTOOLCHAIN="go$wanted+auto"

major=${version%%.*}
minor=${version#*.}
minor=${minor%%.*}
v=k8s.io/component-base/version
stamp="-X $v.gitVersion=v$version -X $v.gitMajor=$major -X $v.gitMinor=$minor -X $v.gitTreeState=clean"
for name in $missing; do
  [ ! -x "$bin/$name" ] || continue
  case $name in
  etcd) folder=$here package=go.etcd.io/etcd/server/v3 tags=providerless ;;
  containerd* | ctr) folder=$here/containerd package=github.com/containerd/containerd/v2/cmd/$name tags=no_btrfs,no_zfs,no_devmapper ;;
  coredns) folder=$here/coredns package=. tags=providerless ;;
  helm) folder=$here/helm package=helm.sh/helm/v4/cmd/helm tags=providerless ;;
  *) folder=$here package=k8s.io/kubernetes/cmd/$name tags=providerless ;;
  esac
  say "building $name for Kubernetes $version, once for this machine (the first takes minutes)"
  began=$(date +%s)
  (cd "$folder" && CGO_ENABLED=0 GOFLAGS=-mod=readonly GOWORK=off go build -trimpath -buildvcs=false -tags $tags -ldflags "-s -w $stamp" -o "$bin/.$name.new" "$package")
  mv "$bin/.$name.new" "$bin/$name"
  say "$name is built, $(($(date +%s) - began)) s"
done
