"""The fixture that other tests stand on: its tokenizer, template and weights are what it says."""

from __future__ import annotations

from pathlib import Path


def test_the_tiny_model_loads_and_its_tokenizer_config_and_template_agree(tiny_model_dir: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    assert len(tokenizer) == model.config.vocab_size == 320
    assert model.config.eos_token_id == model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.config.pad_token_id == tokenizer.pad_token_id != tokenizer.eos_token_id
    assert model.dtype == torch.float32

    messages = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "Four, naïvely."}]
    prompt = tokenizer.apply_chat_template(messages[:1], add_generation_prompt=True, tokenize=False)
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    assert prompt == "<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n"
    assert whole == prompt + "Four, naïvely.<|im_end|>\n"
    encoded = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    written = [token for token, mine in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mine]
    assert tokenizer.decode(written) == "Four, naïvely.<|im_end|>"
    assert encoded["input_ids"] == tokenizer(whole, add_special_tokens=False)["input_ids"] == tokenizer(whole)["input_ids"]

    logits = model(torch.tensor([encoded["input_ids"]])).logits
    assert logits.isfinite().all()
    assert 0.3 < logits.std() < 3
