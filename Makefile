# The two promises: `make sweep` runs the main job, `make test` passes the tests; both set everything up by themselves.
PYTHON ?= python3
RESUME ?=# make sweep RESUME=1 goes on with a sweep that was begun
PIP_EXTRA ?=# e.g. PIP_EXTRA='--extra-index-url <the CPU index that the PyTorch install page names>'
TEST_PROCESSES ?= 2# that share the test files; a debugger wants 0
BIN := .venv/bin

.PHONY: sweep sweep-full test test-slow test-interop test-cluster test-faults test-browser screenshot check format clean

sweep: .venv/ready
	$(BIN)/optical sweep sweeps/quickstart.py $(if $(RESUME),--resume)

sweep-full: .venv/ready  # does the number of languages in pre-training matter? some 75 minutes on two cores
	$(BIN)/optical sweep sweeps/pretraining_languages.py $(if $(RESUME),--resume)

test: .venv/test-ready
	RAY_ADDRESS=local OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not faults and not browser" -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

test-slow: .venv/test-ready  # by hand; OPTICAL_E5 and OPTICAL_BITEXT name an encoder and a bitext that the project does not ship
	RAY_ADDRESS=local $(BIN)/python -m pytest -m slow -s

test-interop: .venv/test-ready  # by hand: Sentence-Transformers and PyLate in environments of their own (1 GB) load what we save
	OPTICAL_INTEROP=.interop $(BIN)/python -m pytest tests/interop -s

test-faults: .venv/test-ready  # by hand: processes, nodes and disks that really fail (as root, small disks too)
	RAY_ADDRESS=local OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m faults tests/faults -v

test-cluster: .venv/test-ready  # by hand: two nodes, a job, and cluster/on-premise.yaml for true, in namespaces of their own (Linux, no root)
	tests/cluster/run.sh $(BIN)/python

test-browser: .venv/browser-ready  # the report of the main job's run in a real Chromium (Debian: apt-get install chromium)
	$(BIN)/optical sweep sweeps/quickstart.py $(if $(wildcard runs/quickstart-*),--resume)
	OPTICAL_RUN=$$(ls -d runs/quickstart-*) $(BIN)/python -m pytest -m browser tests/browser

screenshot: .venv/browser-ready  # docs/report.png, of the main job's run
	$(BIN)/python tools/screenshot.py $$(ls -d runs/quickstart-* | tail -1) docs/report.png

check: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_architecture.py

format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 13) else f"Python 3.11 or 3.12 is needed, this is {v[0]}.{v[1]}: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_EXTRA) -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

.venv/test-ready: .venv/ready requirements-test.lock
	@if [ "$$(uname -sm)" = "Linux x86_64" ]; then $(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-test.lock; \
	else echo "No Triton for this machine: the tests of the GPU kernel will be skipped"; fi
	@touch $@

.venv/browser-ready: .venv/test-ready requirements-browser.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-browser.lock
	@touch $@

clean:
	rm -rf .venv .interop .cluster-tools artifacts runs .pytest_cache .mypy_cache .ruff_cache
