# make run    opens Cordon            make test   runs every test, in sandboxes, keyrings and a real window
# make check  is quick, before a push make build  builds what is shipped into bin/
# make test-vm  runs the sandbox tests on other kernels, in emulated machines
# make fuzz     feeds every parser what nobody would write, FUZZTIME=30s each
# make conformance runs MCP's official suite against Cordon as a client
# make escape   tries every way out of a sandbox that we know of, and compares; JSON=1 for machines
# make hostile  meets servers that do what no server should, and compares; JSON=1 for machines
.DEFAULT_GOAL := build
.DELETE_ON_ERROR:
.PHONY: run test test-vm escape hostile fuzz conformance check build bench deps clean vet frontend-check \
  bin/cordon-desktop bin/cordon-desktop-e2e bin/cordon bin/cordon-cli bin/cordon-launch

DESKTOP     := desktop,production,webkit2_41
RELEASE     := -trimpath -ldflags "-s -w"
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
SOURCES     := $(shell find frontend/src frontend/public frontend/index.html frontend/*.json frontend/*.ts frontend/*.js -type f 2>/dev/null)
MODULES     := frontend/node_modules/.installed
PAGE        := frontend/dist/index.html

BINARIES := bin/cordon-desktop bin/cordon bin/cordon-cli bin/cordon-launch

run: build
	@if [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ]; then exec bin/cordon-desktop; fi; \
	echo "There is no display, so the window cannot open. The same first steps follow in this terminal."; \
	exec bin/cordon try

build: deps $(BINARIES)

test: check bin/cordon-desktop-e2e
	build/deps.sh test
	go test -race -count=1 -run '^TestHostile' ./host/server
	build/test-as-user.sh
	go test -count=1 ./app/e2e/...

test-vm:
	build/deps.sh vm
	build/vm/test.sh

escape:
	@out=$$(mktemp) && trap 'rm -f "$$out"' EXIT && \
	ESCAPE_OUT="$$out" go test -count=1 -timeout 30m -run '^TestEscapeTable$$' ./sandbox >&2 && cat "$$out"

hostile:
	@out=$$(mktemp) && trap 'rm -f "$$out"' EXIT && \
	HOSTILE_OUT="$$out" go test -count=1 -timeout 30m -run '^TestHostileTable$$' ./host/server >&2 && cat "$$out"

conformance:
	build/conformance.sh

fuzz:
	build/fuzz.sh $(or $(FUZZTIME),30s)

check: build vet frontend-check
	go test -race -skip '^TestHostile' $$(go list ./... | grep -v /app/e2e)

vet: $(PAGE)
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -d $$(git ls-files '*.go'); exit 1; }
	go vet ./...
	go vet -tags $(DESKTOP),e2e .
	go run $(STATICCHECK) ./...

frontend-check: $(MODULES)
	cd frontend && npm run --silent check && npm test --silent

bench: build
	go run ./build/bench

deps:
	@build/deps.sh

clean:
	rm -rf bin frontend/node_modules frontend/wailsjs
	find frontend/dist -mindepth 1 ! -name .gitkeep -delete

$(MODULES): frontend/package-lock.json
	cd frontend && npm ci --no-audit --no-fund
	@touch $@

$(PAGE): $(MODULES) $(SOURCES)
	cd frontend && npm run --silent build

# Go itself knows what is up to date.
bin/cordon-desktop: $(PAGE)
	go build -tags $(DESKTOP) $(RELEASE) -o $@ .
bin/cordon-desktop-e2e: $(PAGE)
	go build -tags $(DESKTOP),e2e $(RELEASE) -o $@ .
bin/cordon: # small, because it is what starts a sandbox by hand; cordon-cli does the rest
	CGO_ENABLED=0 go build -tags small $(RELEASE) -o $@ ./app/cli/cordon
bin/cordon-cli:
	CGO_ENABLED=0 go build $(RELEASE) -o $@ ./app/cli/cordon-cli
bin/cordon-launch:
	CGO_ENABLED=0 go build $(RELEASE) -o $@ ./sandbox/launcher
