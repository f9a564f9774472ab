"""What can be known of the run's model before an engine starts: that it exists, its tokenizer, and its fingerprint."""

import hashlib
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HFValidationError
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from pipelines.config.run import RunConfig
from pipelines.errors import InputError

EDGE_BYTES = 2**20
"""Bytes at each end of a weight file that are hashed: a change in training moves every tensor, and 100 GB need not be read."""
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".gguf")


def load_model_config(config: RunConfig) -> Any:
    """The model's Hugging Face config. Raises InputError if there is no such model."""
    folder = Path(config.model_path)
    if is_local(config) and not (folder / "config.json").is_file():
        raise InputError(
            f"model folder {folder} does not exist or has no config.json; give such a folder, or a hub id such as Qwen/Qwen2.5-7B-Instruct."
        )
    try:
        return AutoConfig.from_pretrained(config.model_path, trust_remote_code=trusts_model_code(config))
    except (OSError, ValueError) as error:
        raise InputError(f"model {config.model} cannot be loaded: {reason(error)}") from error


def is_local(config: RunConfig) -> bool:
    """True if the model's name is a path: absolute, starting with "." or "~", not of the form owner/name, or simply there."""
    path = Path(config.model_path)
    return path.is_absolute() or config.model_path.startswith((".", "~")) or len(path.parts) > 2 or path.is_dir()


def load_tokenizer(config: RunConfig) -> PreTrainedTokenizerBase:
    """The model's tokenizer. Raises InputError if it has none that can be loaded."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            config.model_path, trust_remote_code=trusts_model_code(config)
        )
    except (OSError, ValueError) as error:
        raise InputError(f"model {config.model} has no tokenizer that can be loaded: {reason(error)}") from error
    return tokenizer


def trusts_model_code(config: RunConfig) -> bool:
    """True if code that lies beside the model's weights may run. Never by default, and never by a question on the terminal, which is what
    transformers does where it is told neither."""
    return bool(config.engine.extra_arguments.get("trust_remote_code", False))


def reason(error: Exception) -> str:
    """An error of transformers in one line."""
    first = str(error).splitlines()[0]
    if "trust_remote_code" not in str(error):
        return first
    return f"{first} If you trust it, give --engine.extra '{{\"trust_remote_code\": true}}'."


def model_fingerprint(config: RunConfig) -> str:
    """Short sha256 that changes with the model: of config.json and of the weight files' names, sizes and both ends for a local
    folder, of the revision for a hub model."""
    digest = hashlib.sha256()
    if is_local(config):
        folder = Path(config.model_path)
        digest.update((folder / "config.json").read_bytes())
        for path in sorted(path for path in folder.iterdir() if path.suffix in WEIGHT_SUFFIXES):
            digest.update(f"{path.name}:{path.stat().st_size}".encode() + file_edges(path))
    else:
        digest.update(hub_revision(config.model_path).encode())
    return digest.hexdigest()[:12]


def file_edges(path: Path) -> bytes:
    """The first and the last megabyte."""
    with path.open("rb") as file:
        head = file.read(EDGE_BYTES)
        file.seek(max(0, path.stat().st_size - EDGE_BYTES))
        return head + file.read()


def hub_revision(model: str) -> str:
    """Commit of the hub model that is used: the folder its config.json lies in, in the hub's cache (snapshots/<revision>/)."""
    try:
        return Path(hf_hub_download(model, "config.json")).parent.name
    except (OSError, HFValidationError) as error:
        raise InputError(f"model {model} cannot be loaded: {str(error).splitlines()[0]}") from error
