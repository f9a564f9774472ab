#!/usr/bin/env bash
# Makes the environments of test_trainers.py: one for each lock beside this file, in made/ or in the folder that is given; in sources/ the
# code of the trainers that no CPU machine can install (sources.txt, and OpenRLHF, whose package needs flash-attn).
#
#     tests/pipelines/rollouts/environments/make.sh [FOLDER] [TRAINER ...]
#
# Trainers pin versions of transformers that are not this project's, so that none is installed beside it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/made}
shift || true
trainers=("$@")
((${#trainers[@]})) || trainers=(trl verl sources)

# As in the Makefile: PyTorch's own index has the CPU build.
torch=torch==2.13.0
torch_index=${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}

make_sources() {
    mkdir -p "$folder/sources"
    # TRL runs in this project's environment as well, with vLLM. accelerate and pylatexenc are what TRL and OpenRLHF import beyond the
    # project's packages.
    "${PYTHON:-python3}" -m pip --disable-pip-version-check install --no-deps --upgrade --target "$folder/sources" \
        trl==1.16.0 accelerate==1.15.0 openrlhf==0.11.2 pylatexenc==2.10
    grep -v '^#' "$here/sources.txt" | while read -r name repository commit; do
        git init -q "$folder/sources/$name"
        git -C "$folder/sources/$name" fetch -q --depth 1 "$repository" "$commit"
        git -C "$folder/sources/$name" checkout -q "$commit"
    done
}

for trainer in "${trainers[@]}"; do
    if [[ $trainer == sources ]]; then
        make_sources
        continue
    fi
    "${PYTHON:-python3}" -m venv "$folder/$trainer"
    pip=("$folder/$trainer/bin/python" -m pip --disable-pip-version-check install --no-deps)
    "${pip[@]}" --retries 0 --extra-index-url "$torch_index" "$torch"
    "${pip[@]}" -r "$here/$trainer.txt"
done
