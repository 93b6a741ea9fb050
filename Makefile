# Vedette. `make help` lists the targets.
SHELL := /bin/bash
GO    ?= go
# Kernel, container and end-to-end tests need root; the Go toolchain may live outside root's PATH.
ROOT  := $(if $(filter 0,$(shell id -u)),,sudo -E env "PATH=$(PATH)")

.DEFAULT_GOAL := help
.PHONY: help build test unit fuzz bench generate check lint clean

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build ./bin/vedette with the Go toolchain alone
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/vedette ./cmd/vedette

unit: ## run the tests that need no privileges
	$(GO) test ./...

test: ## install what tests need, then run every tier: unit, kernel, container and end-to-end (as root)
	$(ROOT) ./scripts/test-setup
	$(ROOT) ./scripts/test

fuzz: ## fuzz every parser of outside bytes for 20 s each
	./scripts/fuzz 20s

bench: ## measure overhead, latency and the hot paths against their baselines (as root)
	$(ROOT) ./scripts/test-setup
	$(ROOT) ./scripts/bench

generate: ## regenerate committed code: BPF objects, AWS types, docs (needs clang-19 and libbpf-dev)
	$(GO) generate ./...

check: ## format, vet, and fail if generated code is not what the generators make
	@test -z "$$(gofmt -l cmd internal e2e bench)" || { gofmt -l cmd internal e2e bench; echo "these files need gofmt"; exit 1; }
	$(GO) vet ./...
	./scripts/check-generated

clean: ## remove what the build made
	rm -rf bin
