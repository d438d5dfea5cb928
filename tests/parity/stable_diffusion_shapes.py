"""Parameter names and shapes of the published Stable Diffusion 3 models.

Each part is built from its published configuration on the meta device, which allocates nothing.
A part becomes one JSON file with its configuration and its tensors; a name's first number becomes
a range where the shapes of a run of layers agree, which keeps the files small.
"""

import json
import re
from pathlib import Path

import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
)

SD3_MEDIUM = dict(
    sample_size=128,
    patch_size=2,
    in_channels=16,
    num_layers=24,
    attention_head_dim=64,
    num_attention_heads=24,
    joint_attention_dim=4096,
    caption_projection_dim=1536,
    pooled_projection_dim=2048,
    out_channels=16,
    pos_embed_max_size=192,
)
TRANSFORMERS = {
    "sd3-medium": SD3_MEDIUM,
    "sd3.5-medium": SD3_MEDIUM
    | dict(
        pos_embed_max_size=384,
        dual_attention_layers=list(range(13)),
        qk_norm="rms_norm",
    ),
    "sd3.5-large": SD3_MEDIUM
    | dict(
        num_layers=38,
        num_attention_heads=38,
        caption_projection_dim=2432,
        qk_norm="rms_norm",
    ),
}
VAE = dict(
    in_channels=3,
    out_channels=3,
    down_block_types=["DownEncoderBlock2D"] * 4,
    up_block_types=["UpDecoderBlock2D"] * 4,
    block_out_channels=[128, 256, 512, 512],
    layers_per_block=2,
    act_fn="silu",
    latent_channels=16,
    norm_num_groups=32,
    sample_size=1024,
    scaling_factor=1.5305,
    shift_factor=0.0609,
    force_upcast=True,
    use_quant_conv=False,
    use_post_quant_conv=False,
)
CLIP_L = dict(
    vocab_size=49408,
    hidden_size=768,
    intermediate_size=3072,
    projection_dim=768,
    num_hidden_layers=12,
    num_attention_heads=12,
    max_position_embeddings=77,
    hidden_act="quick_gelu",
    layer_norm_eps=1e-5,
    eos_token_id=2,
)
CLIP_G = CLIP_L | dict(
    hidden_size=1280,
    intermediate_size=5120,
    projection_dim=1280,
    num_hidden_layers=32,
    num_attention_heads=20,
    hidden_act="gelu",
)
T5_XXL = dict(
    vocab_size=32128,
    d_model=4096,
    d_kv=64,
    d_ff=10240,
    num_layers=24,
    num_heads=64,
    relative_attention_num_buckets=32,
    relative_attention_max_distance=128,
    layer_norm_epsilon=1e-6,
    feed_forward_proj="gated-gelu",
)


def stored_shapes(model):
    """Names and shapes of what `save_pretrained` stores: of tied tensors only the first."""
    tied = getattr(model, "_tied_weights_keys", None) or {}
    return {
        name: list(tensor.shape)
        for name, tensor in model.state_dict().items()
        if name not in tied
    }


def folded(shapes):
    """Runs of layers with equal shapes as one entry: `blocks.{0-22}.weight`."""
    runs = {}
    for name, shape in shapes.items():
        number = re.search(r"\.(\d+)\.", name)
        if number is None:
            runs[name, None, tuple(shape)] = []
            continue
        key = name[: number.start(1)], name[number.end(1) :], tuple(shape)
        runs.setdefault(key, []).append(int(number[1]))
    entries = []
    for (before, after, shape), layers in runs.items():
        if after is None:
            entries.append([before, list(shape)])
        while layers:
            length = 1
            while length < len(layers) and layers[length] == layers[0] + length:
                length += 1
            span = f"{{{layers[0]}-{layers[length - 1]}}}"
            entries.append([before + span + after, list(shape)])
            layers = layers[length:]
    return entries


def write_shapes(out: Path):
    """Writes one JSON file a part into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    with torch.device("meta"):
        parts = {
            f"transformer-{name}": (config, SD3Transformer2DModel(**config))
            for name, config in TRANSFORMERS.items()
        }
        parts["vae"] = VAE, AutoencoderKL(**VAE)
        for name, config in (("clip-l", CLIP_L), ("clip-g", CLIP_G)):
            parts[name] = config, CLIPTextModelWithProjection(CLIPTextConfig(**config))
        parts["t5-xxl"] = T5_XXL, T5EncoderModel(T5Config(**T5_XXL))
    for name, (config, model) in parts.items():
        tensors = ",\n  ".join(json.dumps(entry) for entry in folded(stored_shapes(model)))
        text = f'{{"config": {json.dumps(config)},\n "tensors": [\n  {tensors}]}}\n'
        (out / f"{name}.json").write_text(text)
