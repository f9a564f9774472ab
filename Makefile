# make demo   install into .venv, then vanilla sampling, joint draws and ESamp side by side on the embedded model (CPU, some minutes)
# make test   install, then the test suite (CPU, at most 20 minutes on 2 cores)
# make test-slow  install, then the tests with real models, trainers, clusters and killed processes (CPU)
# make chaos  install, then kill processes of a run at random and compare its samples with the plan (CPU, some minutes)
# make gpu    on a machine with a GPU, in an environment with vLLM: the tests marked gpu, then the engine bench at the shape of a 7B model with
#             random weights (bfloat16; stock vLLM, vanilla, each part of ESamp), with vLLM's draw and with the Triton kernel; at most 12
#             minutes. Nobody has run it yet
# make check  ruff and the type checker
# make lock   resolve requirements.lock again (needs uv: pip install uv)

PYTHON ?= python3
BIN = .venv/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check
TORCH = torch==2.13.0
# PyTorch's own index has the CPU build; where it cannot be reached, pip takes what it otherwise finds.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

.PHONY: install demo test test-slow chaos gpu check lock

install: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ESamp on Ray needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Use make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(PIP) install --no-deps --retries 0 --extra-index-url $(TORCH_INDEX) $(TORCH)
	$(PIP) install --no-deps -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

demo: install
	$(BIN)/python -m jobs.demo

# The slowest tests are printed, so that a test that belongs to the slow tier is seen. A worker that crashed is not replaced: with loadfile,
# pytest-xdist 3.8 would wait for ever for the tests that it still had, and would not say which one crashed.
test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart=0 --durations=15 --durations-min=5

test-slow: install
	$(BIN)/python -m pytest -m slow --durations=15 --durations-min=5

chaos: install
	$(BIN)/python -m jobs.devtools.chaos

GPU_PYTHON ?= python
# Without vLLM: make gpu GPU_TESTS='"gpu and not engine"' runs the tests that need torch and Triton alone, and the bench fails.
GPU_TESTS ?= gpu
gpu:
	-timeout 240 $(GPU_PYTHON) -m pytest -m $(GPU_TESTS) --durations=10
	for draw in vllm triton; do \
		if [ $$draw = triton ]; then export ESAMP_CUDA_DRAW=triton; fi; \
		VLLM_USE_V2_MODEL_RUNNER=0 timeout 240 $(GPU_PYTHON) -m jobs.devtools.bench_engine --shape.hidden 3584 --shape.layers 28 \
			--shape.vocabulary 152064 --shape.prompts 8 --shape.samples 16 --modes "beta 0" "predict only" "full, local" --rounds 3 \
			--output runs/bench-$$draw || exit 1; \
	done

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# --no-deps above: the lock is complete, and leaves out the CUDA-only packages (see tool.uv in pyproject.toml).
lock:
	uv pip compile pyproject.toml --universal --python-version 3.11 --extra cpu --extra dev --no-annotate --no-header --quiet \
		| grep -v "'never'" > requirements.lock
