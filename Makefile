# Everything goes through here; Go, make and bash are all it takes. `make` says what one can do.

BIN     := bin/berth
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# The version that .ci/tools puts into .cache/bin.
LINT    := .cache/bin/golangci-lint

# SQLite is C that was translated to Go: to look for races and stray pointers within it, too, takes four
# fifths of the time of the tests. Its driver, and all else, is looked at.
RACE    := -race -gcflags='modernc.org/sqlite/lib=-race=false -d=checkptr=0' -gcflags='modernc.org/libc/...=-d=checkptr=0'

# A virtual environment with a real vLLM, made by test-vllm; bench-promises takes it if it is there.
VLLM    := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/berth-vllm/venv

.DEFAULT_GOAL := help
.PHONY: help build demo test test-vllm proof lint bench bench-control bench-promises bench-money fmt

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/berth
	@echo "building $(BIN); the first time takes up to a minute"
	@CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o $(BIN) ./cmd/berth

demo: build ## a server with the demo model, deployed and answering
	@$(BIN) demo

test: ## all tests, with the race detector, the real llama.cpp engine and official clients
	.ci/tools test
	$(MAKE) --no-print-directory build
	$(BIN) engine install llamacpp
	go test $(RACE) -count=1 -timeout 15m ./test ./... # the longest first

test-vllm: ## the tests of engines on a real vLLM; the first time takes some minutes and 6 GB
	.ci/tools test
	.ci/install-vllm-cpu $(VLLM)
	BERTH_VLLM=$(VLLM)/bin/vllm go test -count=1 -timeout 40m -p 1 -run VLLM ./engine/process ./test

lint: ## what CI asks of the code before its tests
	.ci/tools lint
	$(LINT) run

bench: build ## all benchmarks, and the gateway beside nginx
	go test -run '^$$' -bench . -benchmem ./...
	.ci/tools bench
	go run ./test/bench

bench-control: ## the control plane with 10,000 deployments
	go run ./test/bench/control

proof: ## 10,000 mixed calls under kills of engines and of Berth: every token accounted for
	BERTH_CALLS=10000 go test -count=1 -timeout 20m -v -run TestEveryTokenIsAccountedFor ./test

bench-promises: build ## whether reserved calls get what was sold while others flood, on three engines
	$(BIN) engine install llamacpp
	go run ./test/bench/promises -berth $(BIN) -vllm $(VLLM)/bin/vllm

bench-money: ## usage and money with 10,000,000 records and 1,000,000 postings; RECORDS=N for fewer
	go test -count=1 -v -timeout 2h -run TestFigures ./test/bench/money -figures -records $(or $(RECORDS),10000000)

fmt: ## format all Go files
	.ci/tools lint
	$(LINT) fmt
