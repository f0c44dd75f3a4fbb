# `make help` lists the targets from the comments behind them.

GO            ?= go
GOLANGCI_LINT := v2.15.0
GOTESTSUM     := v1.13.0
# wireguard-go, which the benchmark measures; its module has no tags.
WIREGUARD     := v0.0.0-20260522210424-ecfc5a8d5446
# The compiler that the committed BPF objects were made with. Another one
# makes other objects, and `make check` compares them.
CLANG         := clang-14
LLVM_STRIP    := llvm-strip-14
CLANG_FORMAT  := clang-format-14

VERSION  ?= 0.1.0-dev+$(shell git describe --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X main.version=$(VERSION)
FUZZTIME ?= 30s
TOOLS    := $(CURDIR)/bin/tools

export PATH := $(TOOLS):$(PATH):/usr/local/sbin:/usr/sbin:/sbin
export CGO_ENABLED := 0

# What the tests, the demo and the benchmark run, beside ovl itself.
TEST_PROGRAMS  := ip ethtool ping tracepath nsenter taskset iperf3 sockperf wrk tcpdump tshark bpftool ps sysctl setpriv nft dig getent dnsmasq
DEMO_PROGRAMS  := ip bridge ss sysctl nsenter flock pgrep ping iperf3 bpftool dig getent
BENCH_PROGRAMS := ip ethtool nsenter taskset iperf3 sockperf wrk dockerd iptables mount nft dnsmasq

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/ovlctl, one static binary
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ovlctl ./cmd/ovlctl

.PHONY: generate
generate: ## compile the BPF programs and regenerate their Go bindings
	@.ci/need $(CLANG) $(LLVM_STRIP) /usr/include/bpf/bpf_helpers.h /usr/include/linux/bpf.h
	$(GO) generate ./bpf/...

.PHONY: bpffs
bpffs: # mount the BPF file system, if nobody has
	@mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf

.PHONY: test
test: build bpffs $(TOOLS)/gotestsum ## run every test, and each Go benchmark once (as root; installs what they run)
	@.ci/need $(TEST_PROGRAMS)
	$(GO) vet ./...
	.ci/test

.PHONY: test-kernel
test-kernel: bpffs ## run the kernel datapath's tests under Linux 6.1, in qemu (as root)
	@.ci/need qemu-system-x86_64 busybox modprobe /boot/vmlinuz-6.1
	@.ci/need $(TEST_PROGRAMS)
	.ci/test-kernel

.PHONY: test-pairs
test-pairs: bpffs ## run iperf3 and 100 MB between every two kinds of endpoint (as root; 2 minutes)
	@.ci/need $(TEST_PROGRAMS)
	$(GO) test -count=1 -v -run TestPairs ./datapath/kernel -whole

.PHONY: test-frames
test-frames: bpffs ## send a million random frames through each datapath, from each side (as root)
	$(GO) test -count=1 -p 1 -timeout 30m -v -run TestRandomFrames ./datapath/kernel ./datapath/userspace -frames 1000000 -seed 0

.PHONY: test-overload
test-overload: bpffs ## send a userspace host far more than it can forward, a minute for each way (as root)
	@.ci/need $(TEST_PROGRAMS)
	$(GO) test -count=1 -v -run TestOverload ./cmd/ovlctl/e2e -overload 60s

.PHONY: test-services
test-services: bpffs ## balance 60 000 connections, replace backends, lose hosts and take a million SYNs, with each datapath (as root; 7 minutes)
	@.ci/need $(TEST_PROGRAMS)
	$(GO) test -count=1 -timeout 20m -v -run '^TestService' ./cmd/ovlctl/e2e -services

.PHONY: test-names
test-names: bpffs ## ask for names while backends go, agents restart and somebody floods, with each datapath (as root; 10 minutes)
	@.ci/need $(TEST_PROGRAMS)
	$(GO) test -count=1 -timeout 20m -v -run '^TestNames' ./cmd/ovlctl/e2e -names

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (30s)
	@for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package || exit 1; \
		done; \
	done

.PHONY: lint
lint: $(TOOLS)/golangci-lint ## run golangci-lint and clang-format, changing nothing
	@.ci/need $(CLANG_FORMAT)
	golangci-lint run ./...
	$(CLANG_FORMAT) --dry-run --Werror $(wildcard bpf/*.c bpf/*.h)

.PHONY: fmt
fmt: $(TOOLS)/golangci-lint ## format Go and C in place
	@.ci/need $(CLANG_FORMAT)
	golangci-lint fmt
	$(CLANG_FORMAT) -i $(wildcard bpf/*.c bpf/*.h)

.PHONY: check
check: generate lint ## what a change must pass, beside the tests
	git diff --exit-code -- "bpf/*_bpfel.*"
	$(GO) mod tidy -diff
	$(GO) vet ./...
	GOARCH=arm64 $(GO) build ./...

.PHONY: demo
demo: build bpffs ## three hosts on this machine: an overlay from nothing to iperf3 (as root)
	@.ci/need $(DEMO_PROGRAMS)
	@docs/demo.sh

.PHONY: bench
bench: bin/bench ## measure ovl beside its alternatives (as root; less than half an hour)
	bin/bench

.PHONY: bench-quick
bench-quick: bin/bench ## measure the most telling of it, in fewer rounds (as root; a few minutes)
	bin/bench -quick

.PHONY: bin/bench
bin/bench: build bpffs $(TOOLS)/wireguard # the benchmark, with what it runs
	@.ci/need $(BENCH_PROGRAMS)
	$(GO) build -o bin/bench ./bench

.PHONY: tools
tools: $(TOOLS)/golangci-lint $(TOOLS)/gotestsum ## build the pinned developers' tools into bin/tools

.PHONY: clean
clean: ## remove what the other targets built
	rm -rf bin bench/out

# A tool is built again when its version changes: the stamp names it.
$(TOOLS)/golangci-lint: $(TOOLS)/.golangci-lint-$(GOLANGCI_LINT)
$(TOOLS)/.golangci-lint-$(GOLANGCI_LINT):
	GOBIN=$(TOOLS) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT)
	@rm -f $(TOOLS)/.golangci-lint-*; touch $@

$(TOOLS)/gotestsum: $(TOOLS)/.gotestsum-$(GOTESTSUM)
$(TOOLS)/.gotestsum-$(GOTESTSUM):
	GOBIN=$(TOOLS) $(GO) install gotest.tools/gotestsum@$(GOTESTSUM)
	@rm -f $(TOOLS)/.gotestsum-*; touch $@

$(TOOLS)/wireguard: $(TOOLS)/.wireguard-$(WIREGUARD)
$(TOOLS)/.wireguard-$(WIREGUARD):
	GOBIN=$(TOOLS) $(GO) install golang.zx2c4.com/wireguard@$(WIREGUARD)
	@rm -f $(TOOLS)/.wireguard-*; touch $@
