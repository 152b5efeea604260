# Every target does its own set-up. Everything but `make test` is for people who change Countersign.
export PATH := $(CURDIR)/.setup:$(PATH)

.PHONY: help setup test check clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: ## Node.js, npm packages, Debian packages, native addon
	@tools/setup.sh packages
	@tools/setup.sh system
	@tools/setup.sh native

test: setup ## checks, unit tests, system tests in network namespaces (root)
	@npm run --silent check
	@npm run --silent test -- test

check: setup ## format, lint, types, generated docs
	@npm run --silent check

clean: ## remove what setup and build made
