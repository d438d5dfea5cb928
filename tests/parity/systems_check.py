"""Holds what Shutterbug wrote against peft and diffusers.

    tests/parity/systems_check.py --out DIR

DIR is what `systems.py` made; `DIR/ours` holds an adapter that Shutterbug wrote (`adapter/`) and
what it saw and made with it (`talk.safetensors`, from `generate --trace`).
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from diffusers import StableDiffusion3Pipeline
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoTokenizer, MllamaForConditionalGeneration

import systems

SHARE_BIAS = 100


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    tiny, ours = out / "tiny", out / "ours"
    trace = load_file(ours / "talk.safetensors")

    tokenizer = AutoTokenizer.from_pretrained(tiny / "llama")
    tokenizer.chat_template = json.loads((tiny / "llama/chat_template.json").read_text())["chat_template"]
    llama = MllamaForConditionalGeneration.from_pretrained(tiny / "llama", dtype=torch.float32)
    tags = tuple(tokenizer.convert_tokens_to_ids(systems.TAGS))
    systems.mean_rows(llama, tags)
    messages, photos = systems.dialogue(out)
    ids, images, mask = systems.see(llama, tokenizer, messages, photos)
    model = PeftModel.from_pretrained(llama, ours / "adapter/llama")
    missing = model.load_adapter(ours / "adapter/llama", "again").missing_keys
    # Names that the model has and the file lacks, of the adapter that was asked for alone.
    missing = [key for key in missing if "again" in key]
    vocabulary = llama.config.text_config.vocab_size
    special = sorted(token for token in tokenizer.added_tokens_decoder if token < vocabulary)
    ends = llama.config.text_config.eos_token_id
    first, written = systems.reply(model, ids, images, mask, tags, special, ends, SHARE_BIAS)

    pipeline = StableDiffusion3Pipeline.from_pretrained(
        tiny / "diffusion",
        dtype=torch.float32,
        **dict.fromkeys(("text_encoder_3", "tokenizer_3", "image_encoder", "feature_extractor")),
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_lora_weights(ours / "adapter/diffusion")
    caption_ids = written[written.index(tags[0]) + 1 : written.index(tags[1])]
    latents = load_file(out / "latents.safetensors")["latents"][:1]
    drawn = systems.draw(pipeline, tokenizer.decode(caption_ids).strip(), latents)

    wrong = [f"peft misses {key}" for key in missing]
    with safe_open(ours / "adapter/diffusion/pytorch_lora_weights.safetensors", "pt") as file:
        stored = sum("lora_A" in key for key in file.keys())
    adapted = sum(hasattr(module, "lora_A") for module in pipeline.transformer.modules())
    if adapted != stored:
        wrong.append(f"diffusers adapts {adapted} layers, not {stored}")
    if trace["reply_ids"].tolist() != written:
        wrong.append(f"reply_ids: {trace['reply_ids'].tolist()} instead of {written}")
    expected = {"first_logits": (first, 1e-4), "photo0.latents_last": (drawn["photo0.latents_last"], 1e-2)}
    expected["photo0.image"] = (drawn["photo0.image"], 2 / 255)
    for name, (theirs, tolerance) in expected.items():
        error = (trace[name] - theirs).abs().max().item()
        print(f"{name}: off by {error:.1e}")
        if not error <= tolerance:
            wrong.append(f"{name} is off by {error}")
    sys.exit("\n".join(wrong) or None)


if __name__ == "__main__":
    main()
