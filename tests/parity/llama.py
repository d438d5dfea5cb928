"""Writes tiny Llama 3.2 Vision models and what transformers computes with them.

    python tests/parity/llama.py --out DIR [--seed N]

Each folder below DIR is a model directory as `save_pretrained` writes it, with `reference.json`,
`reference.safetensors` and, for training of every parameter, `gradients.safetensors` beside it. `published/` holds no weights, but the configuration of
Llama-3.2-11B-Vision and the names and shapes of its parameters, from a model on the meta device.

Every parameter is drawn anew, far from its initial value: gates, biases and norms that start as
zeros or ones would let a broken block pass. Draws in which the two best tokens come close, so that
rounding could decide a greedy token, and replies that repeat themselves are drawn again.
"""

import argparse
import json
import math
import pathlib

import safetensors.torch
import torch
from transformers import MllamaConfig, MllamaForConditionalGeneration
from transformers.models.mllama.processing_mllama import (
    convert_sparse_cross_attention_mask_to_dense,
    get_cross_attention_token_mask,
)

import draws
from sketches import sketches, wave

NEW_TOKENS = 64
BEAM_WIDTH = 3
BEAM_TOKENS = 24
# Between the best and the second best token at every greedy step.
MARGIN_MIN = 2e-3
# In a greedy reply: one that repeats a single token would show little.
DISTINCT_MIN = 8
RATIOS = [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]]


def rope(**more):
    """Llama 3's stretched frequencies; at these sizes some are stretched in full, some in part."""
    return {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
        **more,
    }


# name: (text, vision, dtype of the files, size of a shard)
MODELS = {
    # Two query heads share a key head.
    "grouped": (
        dict(
            vocab_size=120, hidden_size=32, num_hidden_layers=5, num_attention_heads=4,
            num_key_value_heads=2, intermediate_size=48, cross_attention_layers=[1, 3],
            rope_parameters=rope(rope_theta=10_000.0),
        ),
        dict(
            hidden_size=16, num_hidden_layers=3, num_global_layers=2, attention_heads=2,
            intermediate_size=24, image_size=16, patch_size=8, intermediate_layers_indices=[0, 2],
            supported_aspect_ratios=RATIOS, max_num_tiles=4,
        ),
        torch.float32, "1GB",
    ),
    # Every query head has its own key head; plain rope; photos of at most two tiles; more
    # positions a tile; shards.
    "separate": (
        dict(
            vocab_size=136, hidden_size=48, num_hidden_layers=4, num_attention_heads=4,
            num_key_value_heads=4, intermediate_size=64, cross_attention_layers=[0, 2],
            rms_norm_eps=1e-3, rope_parameters=dict(rope_type="default", rope_theta=500.0),
        ),
        dict(
            hidden_size=24, num_hidden_layers=2, num_global_layers=1, attention_heads=3,
            intermediate_size=32, image_size=12, patch_size=3, intermediate_layers_indices=[1],
            supported_aspect_ratios=[[1, 1], [1, 2], [2, 1]], max_num_tiles=2, norm_eps=1e-3,
        ),
        torch.float32, "60KB",
    ),
    # One key head serves all; half-precision shards; intermediate features out of order.
    "shared": (
        dict(
            vocab_size=104, hidden_size=36, num_hidden_layers=5, num_attention_heads=6,
            num_key_value_heads=1, intermediate_size=40, cross_attention_layers=[2, 3],
            rope_parameters=rope(rope_theta=500_000.0),
        ),
        dict(
            hidden_size=12, num_hidden_layers=3, num_global_layers=1, attention_heads=2,
            intermediate_size=16, image_size=16, patch_size=8,
            intermediate_layers_indices=[2, 0, 1], supported_aspect_ratios=RATIOS, max_num_tiles=4,
        ),
        torch.bfloat16, "30KB",
    ),
}

PUBLISHED = {
    "architectures": ["MllamaForConditionalGeneration"],
    "image_token_index": 128256,
    "model_type": "mllama",
    "text_config": {
        "cross_attention_layers": [3, 8, 13, 18, 23, 28, 33, 38],
        "hidden_act": "silu",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "max_position_embeddings": 131072,
        "model_type": "mllama_text_model",
        "num_attention_heads": 32,
        "num_hidden_layers": 40,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-05,
        "rope_scaling": {
            "factor": 8.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
        "vocab_size": 128256,
    },
    "vision_config": {
        "attention_heads": 16,
        "hidden_act": "gelu",
        "hidden_size": 1280,
        "image_size": 560,
        "intermediate_layers_indices": [3, 7, 15, 23, 30],
        "intermediate_size": 5120,
        "max_num_tiles": 4,
        "model_type": "mllama_vision_model",
        "norm_eps": 1e-05,
        "num_channels": 3,
        "num_global_layers": 8,
        "num_hidden_layers": 32,
        "patch_size": 14,
        "supported_aspect_ratios": RATIOS,
        "vision_output_dim": 7680,
    },
}


def published_name(name):
    """A parameter's name in the published files, from its name in the model."""
    for prefix, published in {
        "model.language_model.": "language_model.model.",
        "model.vision_model.": "vision_model.",
        "model.multi_modal_projector.": "multi_modal_projector.",
        "lm_head.": "language_model.lm_head.",
    }.items():
        if name.startswith(prefix):
            return published + name.removeprefix(prefix)
    raise ValueError(name)


def randomise(model, generator):
    """Draws every parameter anew: gates, norms and biases clearly away from zeros and ones."""

    def gate(draw):
        return draw.sign() * (0.4 + 0.6 * torch.rand(draw.shape, generator=generator))

    draws.randomise(
        model.named_parameters(), generator,
        is_table=lambda name: "embed" in name and not name.endswith("class_embedding"),
        norm=0.4, vector=0.4, table=2, matrix=1.2, gate=gate,
    )


def build(name, generator):
    text, vision, dtype, _ = MODELS[name]
    text = dict(text, bos_token_id=0, eos_token_id=1, pad_token_id=2)
    width = vision["hidden_size"] * (1 + len(vision["intermediate_layers_indices"]))
    config = MllamaConfig(
        text_config=text,
        vision_config=dict(vision, vision_output_dim=width),
        image_token_index=text["vocab_size"],
    )
    model = MllamaForConditionalGeneration(config).eval()
    randomise(model, generator)
    return model.to(dtype)


# Prompts as runs of that many text tokens and photos: one photo in the middle; several, with
# neighbours, and one at the very front; none; neighbours at the very end.
CASES = (
    (4, "photo", 7),
    ("photo", 5, "photo", "photo", 5, "photo", 2),
    (6,),
    (2, "photo", 9, "photo", "photo", "photo"),
)


# The case with several photos.
TRAINED_CASE = 1


def draw_prompt(config, case, generator):
    """Token ids that follow `case`, and a tiling for each photo; the first photo fills all tiles."""
    vocabulary, image = config.text_config.vocab_size, config.image_token_index
    tilings = config.vision_config.supported_aspect_ratios
    ids = []
    for run in case:
        if run == "photo":
            ids.append(image)
        else:
            ids += torch.randint(3, vocabulary, (run,), generator=generator).tolist()
    photos = ids.count(image)
    ratios = torch.randint(len(tilings), (photos,), generator=generator).tolist()
    if photos > 1:
        ratios[0] = max(range(len(tilings)), key=lambda index: math.prod(tilings[index]))
    return ids, ratios


def inputs(config, ids, ratios, generator):
    """What the processor would hand to the model; pixels are noise."""
    vision = config.vision_config
    result = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids)).long()}
    tiles = [math.prod(vision.supported_aspect_ratios[ratio]) for ratio in ratios]
    if ratios:
        size, most = vision.image_size, vision.max_num_tiles
        pixels = torch.randn(1, len(ratios), most, 3, size, size, generator=generator)
        mask = torch.zeros(1, len(ratios), most, dtype=torch.long)
        for photo, count in enumerate(tiles):
            pixels[0, photo, count:] = 0
            mask[0, photo, :count] = 1
        spans = get_cross_attention_token_mask(ids, config.image_token_index)
        seen = convert_sparse_cross_attention_mask_to_dense([spans], [tiles], most, len(ids))
        result |= {
            "pixel_values": pixels,
            "aspect_ratio_ids": torch.tensor([[ratio + 1 for ratio in ratios]]),
            "aspect_ratio_mask": mask,
            "cross_attention_mask": torch.tensor(seen),
        }
    return result, tiles


def generate(model, given, **options):
    """The new tokens and, without beams, the smallest lead of a chosen token."""
    result = model.generate(
        **given, do_sample=False, pad_token_id=2, return_dict_in_generate=True, output_logits=True,
        **options,
    )
    ids = result.sequences[0, given["input_ids"].shape[1] :].tolist()
    best = torch.stack(result.logits)[:, 0].topk(2).values
    return ids, float((best[:, 0] - best[:, 1]).min())


def reference(model, halved, case, generator):
    """One case: its inputs, and what comes out of every part."""
    greedy, margin = [], 0.0
    while margin < MARGIN_MIN or len(set(greedy)) < DISTINCT_MIN:
        ids, ratios = draw_prompt(model.config, case, generator)
        given, tiles = inputs(model.config, ids, ratios, generator)
        greedy, margin = generate(model, given, max_new_tokens=NEW_TOKENS, eos_token_id=None)
    tensors = {"logits": model(**given).logits[0]}
    half_error = (halved(**given).logits[0].float() - tensors["logits"]).abs().mean()
    if ratios:
        keys = ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask")
        features = model.model.vision_model(**{key: given[key] for key in keys}).last_hidden_state
        tensors |= {
            "pixel_values": given["pixel_values"][0],
            "cross_attention_mask": given["cross_attention_mask"][0].to(torch.uint8),
            "features": features[0],
            "states": model.model.multi_modal_projector(features)[0].flatten(1, 2),
        }
    # A token that greedy decoding meets early, so that hypotheses do end.
    end = greedy[5]
    beam, _ = generate(
        model, given, num_beams=BEAM_WIDTH, max_new_tokens=BEAM_TOKENS, eos_token_id=end,
        length_penalty=1.0, early_stopping=False,
    )
    facts = {
        "ids": ids,
        "tiles": tiles,
        "aspect_ratio_ids": [ratio + 1 for ratio in ratios],
        "greedy": greedy,
        "beam": {"width": BEAM_WIDTH, "tokens_max": BEAM_TOKENS, "end": end, "ids": beam},
        "bfloat16_error": float(half_error),
    }
    return given, facts, tensors


def adapted(model, given, generator):
    """Low-rank updates on layers of every kind: logits with them, and the gradients of
    `(logits * weights).sum()` in them."""
    cross = model.config.text_config.cross_attention_layers
    attention = [
        f"model.language_model.layers.{layer}.{'cross' if layer in cross else 'self'}_attn"
        for layer in range(model.config.text_config.num_hidden_layers)
    ]
    layers = [
        "model.vision_model.transformer.layers.0.self_attn.k_proj",
        "model.vision_model.global_transformer.layers.0.mlp.fc1",
        "model.multi_modal_projector",
        *(f"{name}.{'qkv'[layer % 3]}_proj" for layer, name in enumerate(attention)),
        f"{attention[cross[0]]}.o_proj",
        "model.language_model.layers.2.mlp.down_proj",
        "lm_head",
    ]
    rank, scale = 2, 0.75
    updates, hooks = {}, []
    for name in layers:
        module = model.get_submodule(name)
        a = torch.randn(rank, module.in_features, generator=generator) / math.sqrt(rank)
        b = torch.randn(module.out_features, rank, generator=generator) / math.sqrt(module.in_features)
        a.requires_grad_(), b.requires_grad_()
        updates[name] = (a, b)

        def add(_, args, output, a=a, b=b):
            return output + scale * (args[0] @ a.T @ b.T)

        hooks.append(module.register_forward_hook(add))
    logits = model(**given).logits[0]
    weights = torch.randn(logits.shape, generator=generator)
    (logits * weights).sum().backward()
    for hook in hooks:
        hook.remove()
    tensors = {"logits": logits.detach(), "weights": weights}
    names = []
    for name, (a, b) in updates.items():
        published = published_name(name + ".").rstrip(".")
        names.append(published)
        for key, value in {"a": a, "b": b}.items():
            tensors[f"{published}.{key}"] = value.detach()
            tensors[f"{published}.{key}.gradient"] = value.grad
    return {"layers": names, "scale": scale}, tensors


def trained(model, given):
    """Sketches of the gradients of a linear function of the logits in every parameter."""
    model.zero_grad()
    logits = model(**given).logits[0]
    (logits * wave(logits.shape)).sum().backward()
    return sketches((published_name(name), value) for name, value in model.named_parameters())


def write_model(name, out, seed):
    generator = torch.Generator().manual_seed(seed)
    folder = out / name
    build(name, generator).save_pretrained(folder, max_shard_size=MODELS[name][-1])
    (folder / "generation_config.json").unlink()
    # Loaded again, because converting a model would round its rotary frequencies too.
    model, halved = (
        MllamaForConditionalGeneration.from_pretrained(folder, dtype=dtype).eval()
        for dtype in (torch.float32, torch.bfloat16)
    )
    facts, tensors = {"cases": []}, {}
    with torch.no_grad():
        for index, case in enumerate(CASES):
            given, case_facts, values = reference(model, halved, case, generator)
            facts["cases"].append(case_facts)
            tensors |= {f"case{index}.{key}": value for key, value in values.items()}
            if index == 0:
                first = given
            if index == TRAINED_CASE:
                several = given
    facts["adapter"], values = adapted(model, first, generator)
    tensors |= {f"adapter.{key}": value for key, value in values.items()}

    tensors = {key: value.contiguous() for key, value in tensors.items()}
    safetensors.torch.save_file(tensors, folder / "reference.safetensors")
    safetensors.torch.save_file(trained(model, several), folder / "gradients.safetensors")
    (folder / "reference.json").write_text(json.dumps(facts) + "\n")
    check_names(model, folder)


def check_names(model, folder):
    """`published_name` must be what `save_pretrained` does."""
    written = set()
    for path in folder.glob("model*.safetensors"):
        with safetensors.safe_open(path, "pt") as file:
            written |= set(file.keys())
    assert written == {published_name(name) for name in model.state_dict()}


def write_published(out):
    folder = out / "published"
    folder.mkdir(parents=True, exist_ok=True)
    with torch.device("meta"):
        model = MllamaForConditionalGeneration(MllamaConfig.from_dict(PUBLISHED))
    shapes = {published_name(name): list(value.shape) for name, value in model.state_dict().items()}
    lines = [f"{json.dumps(name)}:{json.dumps(shapes[name])}" for name in sorted(shapes)]
    (folder / "shapes.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    (folder / "config.json").write_text(json.dumps(PUBLISHED, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    for index, name in enumerate(MODELS):
        write_model(name, options.out, options.seed + index)
    write_published(options.out)


if __name__ == "__main__":
    main()
