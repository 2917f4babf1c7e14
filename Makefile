# `make demo` and `make test` do all set-up by themselves, once: a virtual environment in .venv with the versions of
# constraints.txt. A stamp in .venv remembers it; a change of the files named below does the set-up again.
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: demo test web test-numba format clean fuzz mutants bench compare-peers bench-peers

# The first Python that is new enough; name another with `make PYTHON=...`.
PYTHON := $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
SETUP := setup.cfg pyproject.toml constraints.txt Makefile
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

demo: .venv/ready-for-demo
	@photo="$$($(BIN)/python -c 'import skimage.data, pathlib; print(pathlib.Path(skimage.data.__file__).with_name("astronaut.png"))')" && \
	$(BIN)/mtcnn detect "$$photo" --draw demo-astronaut.jpg && \
	echo "The picture with the faces drawn in lies in $(CURDIR)/demo-astronaut.jpg"

test: .venv/ready-for-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# The page of `mtcnn web` in a headless Chromium, with onnxruntime-web, which npm fetches.
web: .venv/ready-for-test
	mkdir -p build && cd build && npm pack --silent onnxruntime-web@1.30.0
	ORT_WEB_PACKAGE=$(CURDIR)/build/onnxruntime-web-1.30.0.tgz $(BIN)/python -m pytest tests/test_web.py

# The kernels with the oldest Numba that setup.cfg allows, in an environment of its own.
test-numba: .venv/ready-for-test
	test -d .numba || $(PYTHON) -m venv .numba
	.numba/bin/python -m pip install --disable-pip-version-check "numba==0.60.*" opencv-python-headless pillow safetensors tqdm
	OTHER_PYTHONS="$(CURDIR)/.numba/bin/python" $(BIN)/python -m pytest tests/test_numba_versions.py

format: .venv/ready-for-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# This project alone: the parts of a detection, time and memory over pixels, photos of FDDB's size.
bench: .venv/ready-for-test
	$(BIN)/python benchmarks/kernels.py
	$(BIN)/python benchmarks/pixels.py
	$(BIN)/mtcnn bench fddb $(if $(MTCNN_DATA),--photos "$(MTCNN_DATA)/wider/dev/images" --limit 300)

# Other detectors, each in an environment of its own below .peers, which take gigabytes. MTCNN_DATA names the folder of
# photos (CONTRIBUTING.md); ARGS holds options, such as `make bench-peers ARGS="--rounds 3"`.
compare-peers: .venv/ready-for-test
	$(BIN)/python benchmarks/compare_peers.py $(ARGS)

bench-peers: .venv/ready-for-test
	$(BIN)/python benchmarks/bench_peers.py $(ARGS)

# Damaged files for all that reads files of strangers, ten minutes; ARGS="--minutes 1 --seed 7" for less, and others.
fuzz: .venv/ready-for-test
	$(BIN)/python benchmarks/fuzz.py $(ARGS)

# Small changes of the code that its tests have to notice; ARGS="--number 20 --only nms" for less.
mutants: .venv/ready-for-test
	$(BIN)/python benchmarks/mutants.py $(ARGS)

clean:
	rm -rf .venv .numba build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache

.venv/ready-for-demo: EXTRAS := demo
.venv/ready-for-test: EXTRAS := dev
.venv/ready-for-demo .venv/ready-for-test: $(SETUP)
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer found; install one, or name it: make PYTHON=..." >&2; exit 1; }
	@echo "Setting up .venv ($(EXTRAS)); this takes minutes the first time" >&2
	$(PYTHON) -m venv .venv
	$(PIP) setuptools
	$(PIP) --no-build-isolation -e '.[$(EXTRAS)]'
	@touch $@
