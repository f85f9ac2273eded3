# `make` lists the targets. Everything a target needs it sets up itself; nothing is installed outside .venv and
# .cache, but for Debian packages where root runs this on a machine that lacks them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
PACKAGES := $(wildcard resolver lab bench tests)

PIP_INSTALL := $(BIN)/pip install -qq --disable-pip-version-check
# One lock for all Pythons we support; uv is only the tool that writes it.
LOCK := .cache/lock/bin/uv pip compile --quiet --upgrade --universal --python-version=3.11 --generate-hashes \
  --custom-compile-command="make lock"

LOCKS := requirements.lock requirements-dev.lock requirements-build.lock

PREFIX ?= /usr/local
DESTDIR ?=
UNITS ?= $(PREFIX)/lib/systemd/system
HOME_OF := $(PREFIX)/lib/resolver
INSTALLED := $(DESTDIR)$(HOME_OF)

N ?= 2000
MINUTES ?= 10
KEEP ?=
STRICT ?=
QUICK ?=

.PHONY: help
help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 27

.PHONY: setup
setup: $(STAMP)  ## make .venv from the lock file, the project installed in it

$(STAMP): requirements-dev.lock pyproject.toml
	@.ci/python3-venv $(PYTHON)
	$(PYTHON) -m venv .venv
	$(PIP_INSTALL) --require-hashes -r requirements-dev.lock
	$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: test
test: setup lint  ## set everything up, check the code, run all tests (unit first, then on a real engine)
	$(BIN)/pytest

.PHONY: demo
demo: setup  ## show the resolver at work with real containers (KEEP=1 leaves it up)
	$(BIN)/python -m lab.demo $(if $(KEEP),--keep)

.PHONY: lint
lint: setup  ## ruff, its formatter, mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy $(PACKAGES)

.PHONY: oracle
oracle: setup  ## ask Docker's resolver and ours N questions each (N=2000) and compare
	$(BIN)/pytest tests/oracle --questions=$(N) $(if $(SEED),--seed=$(SEED))

.PHONY: bench
bench: setup  ## measure (QUICK=1: a minute)
	$(BIN)/python -m bench $(if $(QUICK),--quick)

.PHONY: fuzz
fuzz: setup  ## packets, replies and changes at random, guided by coverage (MINUTES=10)
	@$(BIN)/pip install -qq --disable-pip-version-check --target .cache/fuzz/atheris atheris \
	  || echo "atheris cannot be installed here: hypothesis alone, without guidance by coverage"
	@end=$$(($$(date +%s) + $(MINUTES) * 60)); \
	for target in query reply change; do [ ! -d .cache/fuzz/atheris/atheris ] || \
	  PYTHONPATH=.cache/fuzz/atheris $(BIN)/python -m tests.fuzz $$target .cache/fuzz/$$target \
	  -max_total_time=$$(($(MINUTES) * 15)) -max_len=2048 -timeout=5 -artifact_prefix=.cache/fuzz/; done; \
	until [ "$${seed:-}" ] && [ $$(date +%s) -ge $$end ]; do seed=$$RANDOM$$RANDOM; echo "hypothesis, seed $$seed"; \
	  HYPOTHESIS_PROFILE=fuzz $(BIN)/pytest -q -m hypothesis --hypothesis-seed=$$seed --timeout=0 \
	  tests/fuzz tests/wire tests/names; done

.PHONY: soak
soak: setup  ## judge every answer while the engine is driven (MINUTES=10 SEED=… AGAINST=docker STRICT=1)
	$(BIN)/pytest tests/history --minutes=$(MINUTES) $(if $(SEED),--history-seed=$(SEED)) \
	  $(if $(AGAINST),--against=$(AGAINST)) $(if $(STRICT),--targets-decide)

.PHONY: audit
audit: setup  ## look all that is locked up in the public list of known faults
	@$(PYTHON) -m venv .cache/audit
	@.cache/audit/bin/pip install -qq --disable-pip-version-check pip-audit
	@.cache/audit/bin/pip-audit --strict --require-hashes --disable-pip --timeout 10 $(addprefix -r ,$(LOCKS)) \
	  2>.cache/audit/said || { grep -q "known vulnerabilit" .cache/audit/said && cat .cache/audit/said >&2 \
	  || echo "audit: nothing could be looked up here: $$(tail -n 1 .cache/audit/said)" >&2; exit 1; }

.PHONY: lock
lock:  ## renew the lock files
	$(PYTHON) -m venv .cache/lock
	.cache/lock/bin/pip install -qq uv
	$(LOCK) pyproject.toml --output-file=requirements.lock
	$(LOCK) pyproject.toml --extra=dev --group=build --output-file=requirements-dev.lock
	$(LOCK) --group=build --output-file=requirements-build.lock

.PHONY: image
image: setup  ## build the image on the engine that answers
	$(BIN)/python -m lab image

.PHONY: install-systemd
install-systemd: setup  ## install program and systemd unit for attaching (PREFIX=/usr/local DESTDIR=)
	rm -rf .cache/wheel
	$(BIN)/pip wheel -qq --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir .cache/wheel .
	$(PYTHON) -m venv --without-pip --clear $(INSTALLED)
	$(BIN)/pip --python $(INSTALLED)/bin/python install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip --python $(INSTALLED)/bin/python install -qq --disable-pip-version-check --no-deps --no-index .cache/wheel/*.whl
	sed -i '1s|^#!$(DESTDIR)|#!|' $(INSTALLED)/bin/resolver
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(UNITS)
	ln -sfn $(HOME_OF)/bin/resolver $(DESTDIR)$(PREFIX)/bin/resolver
	sed 's|/usr/local|$(PREFIX)|' deploy/resolver.service > $(DESTDIR)$(UNITS)/resolver.service
	@$(RELOAD_UNITS)
	@echo "installed: $(INSTALLED), $(DESTDIR)$(PREFIX)/bin/resolver, $(DESTDIR)$(UNITS)/resolver.service"
	@echo "needed besides: libnftables.so.1 (Debian, Ubuntu: libnftables1). Settings: RESOLVER_… in /etc/default/resolver"
	@echo "next:      systemctl enable --now resolver && resolver attached"

.PHONY: uninstall-systemd
uninstall-systemd:  ## stop it, and remove what install-systemd put there (same PREFIX, DESTDIR)
	@[ -n "$(DESTDIR)" ] || [ ! -d /run/systemd/system ] || systemctl disable --now resolver || true
	rm -rf $(INSTALLED)
	rm -f $(DESTDIR)$(PREFIX)/bin/resolver $(DESTDIR)$(UNITS)/resolver.service
	@$(RELOAD_UNITS)

# Where systemd runs, and it is its own folders that were written to.
RELOAD_UNITS = [ -n "$(DESTDIR)" ] || [ ! -d /run/systemd/system ] || systemctl daemon-reload

.PHONY: clean
clean:  ## remove what was made in this checkout
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
