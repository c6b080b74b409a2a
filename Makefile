# The two commands: `make run` and `make test`. Everything else serves those who change the code.
# Both install what they need (Debian, as root) and can be run again at any time.

SHELL := /bin/bash
CARGO ?= cargo
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# Kept outside of the tree, so that a run started as root leaves nothing of root's in it.
BIN := target/release/ferrokube

RUN_PACKAGES := containerd runc containernetworking-plugins nftables iptables conntrack iproute2
BUILD_PACKAGES := build-essential pkg-config protobuf-compiler libprotobuf-dev
TEST_PACKAGES := $(RUN_PACKAGES) busybox-static curl python3-venv

.PHONY: run test build bench packages test-packages fmt lint all-tests deny clean help

help:
	@echo "make run    build and start a cluster on this machine"
	@echo "make test   everything that has to hold before a change lands"
	@echo "make bench  the benchmarks behind docs/performance.md"

# $(call install,PACKAGES): apt-get only for what dpkg does not know yet.
define install
	@missing=$$(for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	if [ -n "$$missing" ]; then \
		command -v apt-get >/dev/null || { echo "install these packages first: $$missing"; exit 1; }; \
		$(SUDO) apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends $$missing; \
	fi
endef

packages:
	$(call install,$(BUILD_PACKAGES) $(RUN_PACKAGES))

test-packages:
	$(call install,$(BUILD_PACKAGES) $(TEST_PACKAGES))

build: packages
	$(CARGO) build --release --locked --bin ferrokube
	@$(SUDO) ln -sf "$(CURDIR)/$(BIN)" /usr/local/bin/ferrokube

run: build
	$(SUDO) env KUBECONFIG="$$KUBECONFIG" HOME="$$HOME" $(BIN) start

# The same order as a reader would want failures in: form, then meaning, then the whole.
test: test-packages fmt lint deny all-tests

fmt:
	$(CARGO) fmt --all --check

lint:
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

# One run for everything; `.config/nextest.toml` has whole clusters take turns, as they share this machine's network.
all-tests:
	@$(CARGO) nextest --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-nextest
	$(CARGO) nextest run --workspace --locked --no-fail-fast

# Without a network the advisories cannot be fetched: licences, bans and sources are checked all the same. The fetch
# brings what only other platforms need, which a build leaves out and `--offline` asks for.
deny:
	@if ! $(CARGO) deny --version >/dev/null 2>&1 && ! $(CARGO) install --locked --quiet cargo-deny; then \
		echo "deny: skipped, cargo-deny cannot be installed here"; \
	elif ! $(CARGO) fetch --locked --quiet; then \
		echo "deny: skipped, the dependencies cannot be fetched here"; \
	else \
		$(CARGO) deny --offline check licenses bans sources && \
		{ $(CARGO) deny check advisories 2>/dev/null || echo "deny: advisories not checked (no advisory database within reach)"; }; \
	fi

bench:
	$(CARGO) bench --workspace

clean:
	$(CARGO) clean
