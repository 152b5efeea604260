# Every target does its own set-up. `make demo` and `make test` are for everybody, the rest is for people who change Countersign.
export PATH := $(CURDIR)/.setup:$(PATH)

.PHONY: help setup native bundle image demo test test-cluster kube-rig kube-rig-for-tests bench bench-authority native-sanitize check sabotage soak long-test clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: ## Node.js, npm packages, Debian packages, native addon
	@tools/setup.sh packages
	@tools/setup.sh system
	@tools/setup.sh native

native: ## the native addon alone, when its source is newer
	@tools/setup.sh native

bundle: setup ## the two programs of an image as single files: bundle/
	@node tools/bundle.ts

image: setup ## the container image, built from Debian packages without a registry (root): .setup/image/countersign.tar
	@tools/image.sh

demo: setup ## the product at work: pods as network namespaces on this machine (root)
	@bin/countersign demo

test: setup kube-rig-for-tests ## checks, unit tests, system tests in network namespaces (root), sabotage
	@npm run --silent check
	@node tools/test.ts $(if $(COUNTERSIGN_TEST_NO_SKIP),--no-skip)
	@node tools/sanitize.ts
	@node tools/sabotage.ts

bench: setup ## what two sidecars cost beside HAProxy, nginx and nothing (root; twelve minutes, QUICK=1: under two; BENCH="--write-docs")
	@tools/setup.sh bench
	@node bench/run.ts $(if $(QUICK),--quick) $(BENCH)

bench-authority: setup kube-rig-for-tests ## what the authority costs a cluster, on a real API server with 500 simulated sidecars (some four minutes; BENCH="--write-docs")
	@node bench/authority-scale.ts $(BENCH)

kube-rig-for-tests:
	@tools/kube-rig/build.sh kube-apiserver etcd kubectl

kube-rig: ## every program of a current Kubernetes, containerd and helm, built from Go modules into ~/.cache/countersign (some 15 minutes, once)
	@tools/kube-rig/build.sh kube-apiserver etcd kubectl kube-controller-manager kube-scheduler kubelet kube-proxy helm \
		containerd containerd-shim-runc-v2 ctr coredns

test-cluster: setup kube-rig image ## Countersign in real clusters of one node on this machine; what CI runs after `make test` (root; six to ten minutes)
	@tools/setup.sh cluster
	@exec node tools/test.ts --no-skip --timeout=900 --jobs=2 test/cluster/*.cluster.ts

native-sanitize: setup ## the addon's tests and a fuzz run under the address, undefined-behaviour and thread sanitizers
	@node tools/sanitize.ts

check: setup ## format, lint, types, generated docs
	@npm run --silent check

sabotage: setup ## breaks the product in many ways and demands that a test notices each
	@node tools/sabotage.ts

soak: setup ## packets looked at by tshark; 100,000 open connections in NFQUEUE mode; then two sidecars under mixed load, policy changes and restarts: leaks, wrong verdicts (root; fifteen minutes, HOURS=n)
	@tools/setup.sh wire
	@node bench/wire.ts
	@node bench/many-flows.ts
	@node bench/soak.ts $(if $(HOURS),--hours $(HOURS))

long-test: setup ## the tests with fifty times the search in handshake properties
	@COUNTERSIGN_SOAK=1 node tools/test.ts --timeout=3600
	@node tools/sanitize.ts --valgrind

clean: ## remove what setup and build made
	@rm -rf bundle native/build node_modules tools/node/node_modules .setup .tap
