"""The whole way through the reference: a dialogue with a photo to a reply with a photo.

    tests/parity/systems.py --out DIR [--seed N] [--tiny DIR]

Writes a dialogue, its photo, a joint adapter (PEFT and diffusers), starting latents and, for the
base and for the adapter, what transformers and diffusers see and make of it: `base.safetensors`
and `adapter.safetensors`, named as `--trace` names them. The tiny model is drawn into `DIR/tiny`
unless one is given.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from diffusers import StableDiffusion3Pipeline
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoTokenizer, MllamaForConditionalGeneration, MllamaImageProcessor
from transformers.models.mllama.processing_mllama import (
    convert_sparse_cross_attention_mask_to_dense,
    get_cross_attention_token_mask,
)

ROOT = Path(__file__).resolve().parents[2]
PHOTO = ROOT / "assets/photos/grace_hopper.jpg"
TAGS = ("<|reserved_special_token_0|>", "<|reserved_special_token_1|>")
NEW_TOKENS = 24
CAPTION_TOKENS = 64
PHOTOS_MAX = 4
STEPS = 8
GUIDANCE = 5.0


def dialogue(folder):
    """Both speakers, a photo between words, and an adjacent one."""
    photo = Image.open(PHOTO).convert("RGB").resize((120, 70), Image.Resampling.BICUBIC)
    photo.save(folder / "wide.png")
    photo.crop((0, 0, 30, 70)).save(folder / "tall.png")
    line = {
        "id": "talk",
        "turns": [
            {"speaker": "B", "elements": [{"text": "look at this"}, {"photo": "wide.png"}]},
            {"speaker": "A", "elements": [{"text": "a fine uniform"}]},
            {
                "speaker": "B",
                "elements": [{"photo": "tall.png"}, {"text": "do you have a photo too?"}],
            },
        ],
    }
    (folder / "dialogue.jsonl").write_text(json.dumps(line) + "\n")
    roles = {"A": "assistant", "B": "user"}
    messages, photos = [], []
    for turn in line["turns"]:
        content = []
        for element in turn["elements"]:
            if "photo" in element:
                photos.append(Image.open(folder / element["photo"]).convert("RGB"))
                content.append({"type": "image"})
            else:
                content.append({"type": "text", "text": element["text"]})
        messages.append({"role": roles[turn["speaker"]], "content": content})
    return messages, photos


def mean_rows(model, tags):
    """The tags' rows are means of all other rows: as reserved tokens they were never trained."""
    with torch.no_grad():
        for table in (model.get_input_embeddings().weight, model.lm_head.weight):
            vocabulary = model.config.text_config.vocab_size
            others = [row for row in range(vocabulary) if row not in tags]
            table[list(tags)] = table[others].mean(0)


def see(llama, tokenizer, messages, photos):
    """What MllamaProcessor makes of the dialogue."""
    ids = tokenizer.apply_chat_template(
        messages, tokenize=True, add_generation_prompt=True, return_dict=False
    )
    images = MllamaImageProcessor.from_pretrained(llama.name_or_path)([photos], return_tensors="pt")
    spans = get_cross_attention_token_mask(ids, llama.config.image_token_index)
    mask = convert_sparse_cross_attention_mask_to_dense(
        [spans],
        num_tiles=images.pop("num_tiles"),
        max_num_tiles=llama.config.vision_config.max_num_tiles,
        length=len(ids),
    )
    return ids, dict(images), torch.tensor(mask)


@torch.no_grad()
def reply(model, ids, images, mask, tags, special, ends, bias):
    """Greedy decoding under the rules of the photo tags, without a cache."""
    begin, end = tags
    banned = [token for token in special if token not in ends and token not in tags]
    written, first, caption = [], None, None
    while len(written) < NEW_TOKENS:
        room = NEW_TOKENS - len(written)
        rows = torch.cat([mask, mask[:, -1:].expand(-1, len(written), -1, -1)], 1)
        logits = model(
            input_ids=torch.tensor([ids + written]), cross_attention_mask=rows, **images
        ).logits[0, -1]
        first = logits.clone() if first is None else first
        if caption is None:
            logits[banned + [end]] = -torch.inf
            shares = room >= 3 and written.count(begin) < PHOTOS_MAX
            logits[begin] += bias if shares else -torch.inf
        elif caption >= CAPTION_TOKENS or room <= 1:
            logits[[token for token in range(len(logits)) if token != end]] = -torch.inf
        else:
            logits[[token for token in special if token != end]] = -torch.inf
        token = int(logits.argmax())
        written.append(token)
        if token == begin:
            caption = 0
        elif token == end:
            caption = None
        elif caption is not None:
            caption += 1
        elif token in ends:
            break
    return first, written


@torch.no_grad()
def draw(pipeline, caption, latents):
    embeds, _, pooled, _ = pipeline.encode_prompt(caption, None, None, do_classifier_free_guidance=False)
    common = dict(
        prompt=caption, latents=latents, num_inference_steps=STEPS, guidance_scale=GUIDANCE
    )
    last = pipeline(**common, output_type="latent").images
    image = pipeline(**common, output_type="pt").images
    ids = pipeline.tokenizer(caption, padding="max_length", max_length=77, truncation=True)
    return {
        "photo0.clip_ids": torch.tensor(ids.input_ids),
        "photo0.prompt_embeds": embeds[0],
        "photo0.pooled_prompt_embeds": pooled[0],
        "photo0.latents_first": latents[0],
        "photo0.latents_last": last[0],
        "photo0.image": image[0],
    }


def add_adapters(llama, pipeline, folder, tags, generator):
    """Random updates of the layers and rows that training adapts, saved in both formats."""

    def randomise(module):
        for name, parameter in sorted(module.named_parameters()):
            if "lora_" in name:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.data.copy_(0.3 * noise)
            elif "trainable_tokens" in name:
                # They begin as the base's rows.
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.data.add_(0.3 * noise)

    tuned = get_peft_model(
        llama,
        LoraConfig(
            r=2,
            lora_alpha=3,
            target_modules=["q_proj", "k_proj", "v_proj"],
            exclude_modules=r".*vision_model.*",
            trainable_token_indices={"embed_tokens": list(tags), "lm_head": list(tags)},
        ),
    )
    randomise(tuned)
    tuned.save_pretrained(folder / "llama")
    (folder / "llama/README.md").unlink(missing_ok=True)
    config = LoraConfig(
        r=2,
        lora_alpha=3,
        target_modules=["to_q", "to_k", "to_v", "to_out.0"]
        + ["add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"],
    )
    pipeline.transformer.add_adapter(config)
    randomise(pipeline.transformer)
    StableDiffusion3Pipeline.save_lora_weights(
        folder / "diffusion",
        transformer_lora_layers=get_peft_model_state_dict(pipeline.transformer),
        transformer_lora_adapter_metadata=config.to_dict(),
    )
    return tuned


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tiny", type=Path)
    arguments = parser.parse_args()
    out = arguments.out
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    tiny = arguments.tiny
    if tiny is None:
        tiny = out / "tiny"
        script = Path(__file__).with_name("tiny_model.py")
        seed = str(arguments.seed)
        subprocess.run([sys.executable, script, "--out", tiny, "--seed", seed], check=True)
    generator = torch.Generator().manual_seed(arguments.seed)

    tokenizer = AutoTokenizer.from_pretrained(tiny / "llama")
    template = json.loads((tiny / "llama/chat_template.json").read_text())
    tokenizer.chat_template = template["chat_template"]
    llama = MllamaForConditionalGeneration.from_pretrained(tiny / "llama", dtype=torch.float32)
    absent = ("text_encoder_3", "tokenizer_3", "image_encoder", "feature_extractor")
    pipeline = StableDiffusion3Pipeline.from_pretrained(
        tiny / "diffusion", dtype=torch.float32, **dict.fromkeys(absent)
    )
    pipeline.set_progress_bar_config(disable=True)
    tags = tuple(tokenizer.convert_tokens_to_ids(TAGS))
    mean_rows(llama, tags)
    special = sorted(
        token for token in tokenizer.added_tokens_decoder if token < llama.config.text_config.vocab_size
    )
    ends = llama.config.text_config.eos_token_id
    messages, photos = dialogue(out)
    ids, images, mask = see(llama, tokenizer, messages, photos)
    transformer = pipeline.transformer.config
    shape = (PHOTOS_MAX, transformer.in_channels, transformer.sample_size, transformer.sample_size)
    latents = torch.randn(shape, generator=generator)
    save_file({"latents": latents}, out / "latents.safetensors")

    settings = {"new_tokens": NEW_TOKENS, "steps": STEPS, "guidance": GUIDANCE}
    model = llama
    for name in ("base", "adapter"):
        if name == "adapter":
            model = add_adapters(llama, pipeline, out / "adapter", tags, generator)
        # The smallest whole bias that makes this random model share a photo.
        for bias in range(64):
            first, written = reply(model, ids, images, mask, tags, special, ends, bias)
            if tags[0] in written:
                break
        else:
            sys.exit(f"seed {arguments.seed}: {name} never shares a photo")
        settings[f"{name}_share_bias"] = bias
        caption_ids = written[written.index(tags[0]) + 1 : written.index(tags[1])]
        caption = tokenizer.decode(caption_ids).strip()
        tensors = {
            "prompt_ids": torch.tensor(ids),
            "pixel_values": images["pixel_values"][0],
            "aspect_ratio_ids": images["aspect_ratio_ids"][0],
            "aspect_ratio_mask": images["aspect_ratio_mask"][0],
            "cross_attention_mask": mask[0],
            "first_logits": first,
            "reply_ids": torch.tensor(written),
            **draw(pipeline, caption, latents[:1]),
        }
        save_file({key: value.contiguous() for key, value in tensors.items()}, out / f"{name}.safetensors")
    (out / "settings.json").write_text(json.dumps(settings, indent=2) + "\n")


if __name__ == "__main__":
    main()
