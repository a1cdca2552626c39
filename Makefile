# What a person or CI runs; `make help` lists it. Tools and environments are kept in .tools/, built from the Go module proxy
# and the Python registry alone: nothing here downloads a prebuilt binary.

TOOLS ?= $(CURDIR)/.tools
GOLANGCI_VERSION := v2.15.0
GOVULNCHECK_VERSION := v1.9.0
FUZZTIME ?= 10s
BENCH ?= .
BENCHTIME ?= 1s
# The race detector needs cgo and a C compiler; without one the tests run without it.
RACE := $(if $(shell command -v gcc || command -v cc),-race)

GOLANGCI := $(TOOLS)/bin/golangci-lint-$(GOLANGCI_VERSION)
GOVULNCHECK := $(TOOLS)/bin/govulncheck-$(GOVULNCHECK_VERSION)

.DEFAULT_GOAL := help
.PHONY: help build demo test race lint fuzz golden interop bench system clean

help: ## list what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

build: ## build bin/tracefleet
	go build -o bin/tracefleet .

demo: build ## collect a small dataset from the simulated engine into demo-out/, publish it to a local Hub, and show it
	@test/demo.sh

test: ## go vet and all Go tests, with the race detector where a C compiler is
	go vet ./...
	go test $(RACE) -shuffle=on -timeout 20m ./...

race: ## the tests of the packages with goroutines, ten times with the race detector
	go test -race -shuffle=on -count=10 -timeout 30m ./internal/bus/... ./internal/tensorstore/... ./coordinator/... ./gpuworker/... ./sanitizer/... ./publisher/...

lint: $(GOLANGCI) $(GOVULNCHECK) ## gofmt, go vet, golangci-lint, govulncheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$unformatted" ]; then echo "not gofmt'ed:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	$(GOLANGCI) run
	@GOVULNCHECK=$(GOVULNCHECK) ./.ci/govulncheck

fuzz: ## each fuzz target for FUZZTIME (10s)
	@grep -rHoE '^func Fuzz[A-Za-z0-9_]+' --include='*_test.go' . | sed 's/func //' | sort | while IFS=: read -r file target; do \
		echo "== $$target in $$(dirname $$file) for $(FUZZTIME)"; \
		go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$(dirname $$file)" </dev/null || exit 1; \
	done

golden: ## recorded dumps (../shared) through the built binary, scored by those who recorded them
	go test -count=1 -v ./test/golden

interop: build ## flashinfer-bench and the safetensors package judge what we write (6 GB of Python in .tools/)
	TOOLS=$(TOOLS) ./test/interop/run.sh

bench: ## speed and memory as ratios, then every Go benchmark that matches BENCH
	TRACEFLEET_BENCH=1 TRACEFLEET_HUB_PYTHON=$${TRACEFLEET_HUB_PYTHON:-$(wildcard $(TOOLS)/hub-venv/bin/python)} \
	TRACEFLEET_PYTHON=$${TRACEFLEET_PYTHON:-$(wildcard $(TOOLS)/interop-venv/bin/python)} go test -count=1 -v -timeout 20m ./test/bench
	go test -p 1 -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) ./...

system: ## the fleet as processes, killed and restarted
	go test -count=1 -v -timeout 20m ./test/system/...

clean: ## remove what the targets above made, but for the tools
	rm -rf bin demo-out

$(GOLANGCI):
	GOBIN=$(TOOLS)/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv $(TOOLS)/bin/golangci-lint $@

$(GOVULNCHECK):
	GOBIN=$(TOOLS)/bin go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)
	mv $(TOOLS)/bin/govulncheck $@
