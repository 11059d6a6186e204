# The short way in. What is built and how: CMakeLists.txt and CMakePresets.json.
#
#   make               build/umbel, build/libumbel.so, build/libumbel.a
#   make run           a small web server on every core, port 8000 (PORT=...)
#   make test          everything: unit, fuzz corpus, scenarios, checks, plain and under sanitizers
#   make test-programs  servers of many languages, packages from npm, programs of tutorials, as they stand; docs/PROGRAMS.md
#   make test-node-versions  what concerns Node, with Node 20, 22, 24 and 26: docs/NODE_VERSIONS.md
#   make torture       reloads, kills and everything at random, under load, at full length
#   make bench         the figures
#   make bench-reload  broken code reloaded here, by PM2 and by gunicorn
#   make fuzz          each fuzz target for FUZZ_SECONDS (600)
#   make docs          docs/LIFE.md from the tables of src/life/life.c
#   make lint          clang-tidy, and how far clang-format would go
#   make install       DESTDIR= PREFIX=/usr/local
#
# Without Debian's packages: make BOOTSTRAP=true

PREFIX ?= /usr/local
PORT ?= 8000
PYTHON ?= /usr/bin/python3
UMBEL_WERROR ?= ON
FUZZ_SECONDS ?= 600
BOOTSTRAP ?= scripts/bootstrap

.PHONY: all release debug asan run test test-node-versions test-programs torture bench bench-reload fuzz docs lint install clean

all:
	@$(BOOTSTRAP) build
	@$(MAKE) --no-print-directory release

release debug asan:
	@cmake --preset $@ -DUMBEL_WERROR=$(UMBEL_WERROR) --log-level=WARNING >/dev/null
	@cmake --build --preset $@

run: all
	@echo
	@echo "A web server on every core, http://localhost:$(PORT)/. In another terminal try"
	@echo "    curl http://localhost:$(PORT)/     (a few times: the workers take turns)"
	@echo "    build/umbel status hello"
	@echo "Ctrl-C stops it."
	@echo
	@exec build/umbel run --name hello -- build/examples/hello_http $(PORT)

test:
	@$(BOOTSTRAP) test
	@PYTHON=$(PYTHON) UMBEL_WERROR=$(UMBEL_WERROR) tests/run

bench:
	@$(BOOTSTRAP) bench
	@$(MAKE) --no-print-directory release
	@UMBEL_BUILD=$(CURDIR)/build $(PYTHON) bench/run.py

bench-reload:
	@$(BOOTSTRAP) bench
	@$(MAKE) --no-print-directory release
	@UMBEL_BUILD=$(CURDIR)/build $(PYTHON) bench/reload.py

test-node-versions:
	@$(BOOTSTRAP) test
	@$(MAKE) --no-print-directory release
	@UMBEL_BUILD=$(CURDIR)/build $(PYTHON) tests/node-versions

test-programs:
	@$(BOOTSTRAP) test
	@$(MAKE) --no-print-directory release
	@UMBEL_BUILD=$(CURDIR)/build $(PYTHON) tests/packages/run

torture:
	@$(BOOTSTRAP) test
	@$(MAKE) --no-print-directory release
	@UMBEL_BUILD=$(CURDIR)/build $(PYTHON) tests/torture/run

fuzz:
	@$(BOOTSTRAP) test
	@cmake --preset fuzz --log-level=WARNING >/dev/null
	@cmake --build --preset fuzz
	@scripts/fuzz $(FUZZ_SECONDS)

docs: release
	@build/scripts/life >build/LIFE.md && mv build/LIFE.md docs/LIFE.md

lint: release
	@scripts/lint

# No bootstrap and no compiling as root after a build as somebody else: only what changed.
install:
	@cmake --preset release -DUMBEL_WERROR=$(UMBEL_WERROR) -DCMAKE_INSTALL_PREFIX=$(PREFIX) >/dev/null
	@cmake --build --preset release
	@DESTDIR=$(DESTDIR) cmake --install build

clean:
	rm -rf build
