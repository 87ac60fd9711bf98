.DEFAULT_GOAL := help
.PHONY: help run stop connect build test lint format check migrate bench

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## run everything on this machine (./ops/run)
	@./ops/run

stop: ## end what `make run` or ./ops/run --background started
	@./ops/stop

connect: ## connect to the demo servers as ChatGPT does
	@./ops/demo/connect

build: ## build the executables (debug)
	@swift build

test: ## run every test on servers of its own
	@./ops/test

lint: ## check the format
	@./ops/test --only lint

format: ## format the sources in place
	@swift format --in-place --parallel --recursive Sources Tests Package.swift

check: ## what CI runs
	@./.ci/run

migrate: ## bring the database of DATABASE_OWNER_URL up to date
	@swift run gatehouse migrate

bench: ## measure (./ops/bench --help)
	@./ops/bench
