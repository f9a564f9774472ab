#!/usr/bin/env bash
# Makes the environments of test_trainers.py: one for each lock beside this file, in made/ or in the folder that is given.
#
#     tests/pipelines/rollouts/environments/make.sh [FOLDER] [TRAINER ...]
#
# Trainers pin versions of transformers that are not this project's, so that none is installed beside it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/made}
shift || true
trainers=("$@")
((${#trainers[@]})) || for lock in "$here"/*.txt; do trainers+=("$(basename "$lock" .txt)"); done

# As in the Makefile: PyTorch's own index has the CPU build.
torch=torch==2.13.0
torch_index=${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}

for trainer in "${trainers[@]}"; do
    "${PYTHON:-python3}" -m venv "$folder/$trainer"
    pip=("$folder/$trainer/bin/python" -m pip --disable-pip-version-check install --no-deps)
    "${pip[@]}" --retries 0 --extra-index-url "$torch_index" "$torch"
    "${pip[@]}" -r "$here/$trainer.txt"
done
