# Everything is installed into .venv and written into build/; `make help` lists the targets.
# PYTHON names the interpreter that makes .venv, JOBS the number of parallel test processes.

PYTHON ?= python3
JOBS ?= 2

PY := .venv/bin/python
PIP := $(PY) -m pip --quiet --quiet --disable-pip-version-check
PYTEST := $(PY) -m pytest -p tests.support.early -n $(JOBS) --dist loadscope --no-loadscope-reorder

# A user's own settings must not change a result, nor have every process compile the modules anew.
unexport PYTHONPATH PYTHONHOME MPLBACKEND PYTHONDONTWRITEBYTECODE
export JAX_PLATFORMS ?= cpu

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help reproduce test test-slow notebooks readme train-digits replicate replicate-smoke benchmarks release lint lock lab site test-site clean

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' Makefile

reproduce: .venv/.analysis ## every figure, table, fit and claim, from the logged results into build/
	$(PY) -m figures.reproduce --jobs $(JOBS)

# loadscope keeps the cells of a notebook, which share a kernel, in one process. In the order given, the last modules are
# short ones, so that no process waits long for the other.
test: export IPYTHONDIR := $(CURDIR)/build/ipython
test: lint ## linter, types, tests, and the notebooks against their stored outputs
	@mkdir -p build/ipython
	$(PYTEST) --nbval --nbval-current-env notebooks tests

# MARKS=slow leaves out those of over a minute.
test-slow: MARKS ?= slow or long
test-slow: .venv/.dev ## the tests that take over two seconds
	$(PYTEST) -m "$(MARKS)" tests

notebooks: .venv/.analysis ## execute the notebooks and store their outputs
	$(PY) tools/store_notebooks.py

readme: .venv/.analysis ## bring the README's generated parts, docs/ and the notebooks' links up to date
	$(PY) tools/update_readme.py

# Large pages: see docs/performance.md.
train-digits: export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1
train-digits: .venv/.dev ## train the embedded default on digits, under two minutes on two cores, into runs/digits
	$(PY) -m nfnet.train --config nfnet/configs/digits.py --workdir runs/digits
	$(PY) -m nfnet.evaluate --config nfnet/configs/digits.py --checkpoint runs/digits

# paper/replication/design.md tells what it costs; what has ended is not run again. DATA holds tiny-imagenet-200 and cifar10.
replicate: .venv/.dev ## run our own small replication anew, or go on with it: make replicate DATA=FOLDER
	@test -n "$(DATA)" || { echo "DATA names no folder with tiny-imagenet-200 and cifar10: make replicate DATA=FOLDER" >&2; exit 2; }
	test -f runs/replication/data/cifar10/test_labels.npy || \
	  $(PY) -m paper.replication.prepare "$(DATA)" --out runs/replication/data
	$(PY) -m paper.replication nfnets
	$(PY) -m paper.replication vits
	$(PY) -m paper.replication.collect --out runs/replication/collected

replicate-smoke: .venv/.dev ## its smallest point from end to end on scikit-learn's digits, in minutes
	$(PY) -m paper.replication.smoke --out build/replication

# RELEASED names a checkout that holds the released nfnets/, TIMM_PYTHON an interpreter with torch and timm.
PEERS = $(if $(RELEASED),--released $(RELEASED)) $(if $(TIMM_PYTHON),--timm-python $(TIMM_PYTHON))
benchmarks: .venv/.dev ## measure models, their profile, pipeline, reproduction and scaling into benchmarks/results/
	$(PY) -m benchmarks.model $(PEERS)
	$(PY) -m benchmarks.model --allocator hugepages $(PEERS)
	$(PY) -m benchmarks.model --micro $(PEERS)
	$(if $(TIMM_PYTHON),$(PY) -m benchmarks.inference $(PEERS))
	$(PY) -m benchmarks.breakdown
	$(PY) -m benchmarks.formulations
	$(PY) -m benchmarks.pipeline
	$(PY) -m benchmarks.reproduce
	$(PY) -m benchmarks.scaling

# TAG is the tag that a workflow releases: it has to be this version's.
release: reproduce ## the files of a release, with checksums, into build/release
	$(PY) -m tools.release $(if $(TAG),--tag "$(TAG)")

lint: .venv/.dev ## linter, formatter and type checker
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy --num-workers $(JOBS)

site: .venv/.site reproduce ## the site, from claims, data, figures, notebooks and code, into build/site
	$(PY) -m tools.site --jobs $(JOBS)

test-site: site ## the site's links, and its pages in Chromium where there is one
	$(PY) -m pytest -n $(JOBS) -m "slow or not slow" tests/site

lab: .venv/.analysis ## open the notebooks in JupyterLab
	$(PY) -m jupyter lab notebooks

# Pins stay as they are where pyproject.toml allows; LOCK_FLAGS=--upgrade renews them all.
COMPILE = $(PY) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-header --no-emit-index-url $(LOCK_FLAGS)
lock: .venv/.dev ## pin the dependencies in pyproject.toml anew
	$(COMPILE) --extra dev pyproject.toml requirements/build.in -o requirements/dev.lock
	$(COMPILE) -c requirements/dev.lock pyproject.toml requirements/build.in -o requirements/analysis.lock
	$(COMPILE) -c requirements/dev.lock --extra dev --extra site pyproject.toml requirements/build.in -o requirements/site.lock

clean: ## remove build/ and the caches (.venv stays; rm -r .venv removes it)
	rm -rf build .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find benchmarks figures nfnet paper tests tools -name __pycache__ -prune -exec rm -rf {} +

# --- Installation: a stamp is written last, so that an interrupted step is done again. ---

NEEDS := nfnet-companion needs Python 3.11 or newer
NAME_ONE := name another one, as in: make PYTHON=python3.12 $(MAKECMDGOALS)

.venv/.created:
	@command -v "$(PYTHON)" >/dev/null || { echo "$(NEEDS), and $(PYTHON) is not installed; $(NAME_ONE)" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; v = sys.version_info[:2]; sys.exit(v < (3, 11) and \
	  "$(NEEDS), and $(PYTHON) is %d.%d; $(NAME_ONE)" % v)'
	@echo "Creating .venv with $$("$(PYTHON)" --version)"
	@"$(PYTHON)" -m venv .venv
	@touch $@

define install
@rm -f $@
@echo "Installing requirements/$(1).lock into .venv (a minute or two, once)"
@$(PIP) install --require-hashes -r requirements/$(1).lock
@$(PIP) install --no-deps --no-build-isolation --editable .
endef

.venv/.analysis: requirements/analysis.lock pyproject.toml | .venv/.created
	$(call install,analysis)
	@touch $@

# dev.lock holds every pin of analysis.lock, hence both stamps.
.venv/.dev: requirements/dev.lock pyproject.toml | .venv/.created
	$(call install,dev)
	@touch .venv/.analysis $@

# site.lock holds every pin of dev.lock: autodoc imports all of the code.
.venv/.site: requirements/site.lock pyproject.toml | .venv/.created
	$(call install,site)
	@touch .venv/.analysis .venv/.dev $@
