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

# Everything of a module at once: while one program is linked, which takes one processor, the others are compiled.
build() { # folder tags package...
  folder=$1 tags=$2
  shift 2
  new=$bin/.new
  rm -rf "$new" && mkdir "$new"
  began=$(date +%s)
  # What was fetched and compiled stays, so that a proxy of modules that stumbles costs a pause and no more.
  for pause in 5 20 60 end; do
    if (cd "$folder" && CGO_ENABLED=0 GOFLAGS=-mod=readonly GOWORK=off go build -trimpath -buildvcs=false -tags "$tags" -ldflags "-s -w $stamp" -o "$new/" "$@"); then break; fi
    [ $pause != end ] || { say "go build did not succeed in four tries: $*"; exit 1; }
    say "go build did not succeed; once more in $pause s"
    sleep $pause
  done
  # Its package has the name of its folder.
  [ ! -e "$new/server" ] || mv "$new/server" "$new/etcd"
  for built in "$new"/*; do
    mv "$built" "$bin/"
    say "${built##*/} is built"
  done
  rmdir "$new"
  say "that took $(($(date +%s) - began)) s"
}

kubernetes= containerd= coredns= helm=
for name in $missing; do
  [ ! -x "$bin/$name" ] || continue
  case $name in
  etcd) kubernetes="$kubernetes go.etcd.io/etcd/server/v3" ;;
  containerd* | ctr) containerd="$containerd github.com/containerd/containerd/v2/cmd/$name" ;;
  coredns) coredns=. ;;
  helm) helm=helm.sh/helm/v4/cmd/helm ;;
  *) kubernetes="$kubernetes k8s.io/kubernetes/cmd/$name" ;;
  esac
done
say "building for Kubernetes $version, once for this machine, some minutes:$missing"
# shellcheck disable=SC2086
{
  [ -z "$kubernetes" ] || build "$here" providerless $kubernetes
  [ -z "$containerd" ] || build "$here/containerd" no_btrfs,no_zfs,no_devmapper $containerd
  [ -z "$coredns" ] || build "$here/coredns" providerless $coredns
  [ -z "$helm" ] || build "$here/helm" providerless $helm
}
