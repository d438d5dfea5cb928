"""Writes tiny Stable Diffusion 3 pipelines and what diffusers and transformers compute with them.

    tests/parity/stable_diffusion.py --out DIR [--seed N]

For every configuration below there is DIR/NAME/model (the published layout, without tokenizers),
DIR/NAME/reference.safetensors (inputs, outputs and gradients in float32),
DIR/NAME/gradients.safetensors (those of every parameter, in few numbers), and
DIR/NAME/reference.json (settings, and the mean absolute error of the reference's own bfloat16
results). DIR/shapes holds the parameter tables of the published models. The same seed gives the
same numbers. Every parameter is drawn at random, norms, biases and gates too, so that no block is
without effect.
"""

import argparse
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import diffusers
import torch
import transformers
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
)

import draws
from sketches import sketches, wave
from stable_diffusion_shapes import write_shapes

CLIP_POSITIONS = 77
CLIP_VOCABULARY = 90
CLIP_BEGIN, CLIP_END = CLIP_VOCABULARY - 2, CLIP_VOCABULARY - 1
CLIP_LEGACY_END = 2
CLIP_L_WIDTH, CLIP_G_WIDTH = 16, 24
T5_TOKENS = 256
T5_VOCABULARY = 60
JOINT = 48
STEPS = 8
GUIDANCE = 4.5
NEGATIVE, CAPTIONS = "", ["first", "second"]
# Of the gradient by the prompt embeddings only every so many positions are stored.
GRADIENT_STRIDE = 6
LORA_RANK, LORA_ALPHA = 2, 3
# Each kind of linear layer that the transformer has.
LORA_TARGETS = (
    r".*\.(to_q|to_k|to_v|add_q_proj|add_k_proj|add_v_proj|to_out\.0|to_add_out|net\.0\.proj"
    r"|net\.2|norm1\.linear|norm1_context\.linear)"
    r"|context_embedder|proj_out|norm_out\.linear|time_text_embed\..*\.linear_\d"
)


@dataclass
class Case:
    """One configuration."""

    transformer: dict
    vae: dict
    # Latents, height and width.
    size: tuple
    # End-of-text ids of both CLIP configurations.
    clip_ends: tuple
    t5: bool
    # Format of the files; the reference computes with the values so rounded.
    stored: torch.dtype
    shard_size: str | None = None
    shift: float = 3.0
    clip_activations: tuple = field(default=("quick_gelu", "gelu"))


SD3 = dict(
    sample_size=8,
    patch_size=2,
    in_channels=4,
    out_channels=4,
    num_layers=3,
    attention_head_dim=8,
    num_attention_heads=3,
    caption_projection_dim=24,
    joint_attention_dim=JOINT,
    pooled_projection_dim=CLIP_L_WIDTH + CLIP_G_WIDTH,
    pos_embed_max_size=9,
)
VAE = dict(
    down_block_types=["DownEncoderBlock2D"] * 2,
    up_block_types=["UpDecoderBlock2D"] * 2,
    block_out_channels=[8, 16],
    latent_channels=4,
    norm_num_groups=4,
    scaling_factor=1.5305,
    shift_factor=0.0609,
    use_quant_conv=False,
    use_post_quant_conv=False,
)
CASES = {
    "sd3": Case(
        SD3,
        VAE | dict(layers_per_block=2),
        size=(8, 8),
        clip_ends=(CLIP_LEGACY_END, CLIP_LEGACY_END),
        t5=False,
        stored=torch.float16,
    ),
    "sd3.5-medium": Case(
        SD3 | dict(dual_attention_layers=[0, 1], qk_norm="rms_norm"),
        VAE
        | dict(
            block_out_channels=[8, 8, 16],
            down_block_types=["DownEncoderBlock2D"] * 3,
            up_block_types=["UpDecoderBlock2D"] * 3,
        ),
        size=(6, 10),
        clip_ends=(CLIP_LEGACY_END, CLIP_END),
        t5=True,
        stored=torch.bfloat16,
        shard_size="60KB",
    ),
    "sd3.5-large": Case(
        SD3
        | dict(
            attention_head_dim=16,
            num_attention_heads=2,
            caption_projection_dim=32,
            num_layers=2,
            qk_norm="rms_norm",
        ),
        VAE | dict(use_quant_conv=True, use_post_quant_conv=True, mid_block_add_attention=False),
        size=(10, 4),
        clip_ends=(CLIP_END, CLIP_LEGACY_END),
        t5=True,
        stored=torch.float32,
        shift=1.0,
    ),
    # No stored positions, another patch, and a dual block with context that is only attended to.
    "computed-positions": Case(
        SD3
        | dict(
            pos_embed_max_size=None,
            patch_size=1,
            out_channels=None,
            num_layers=1,
            dual_attention_layers=[0],
        ),
        VAE | dict(shift_factor=-0.2),
        size=(3, 5),
        clip_ends=(CLIP_END, CLIP_END),
        t5=False,
        stored=torch.float16,
        shard_size="40KB",
    ),
}


def randomise(model, generator):
    """Draws every parameter, and a stored table of positions, away from its initial values."""
    draws.randomise(
        model.named_parameters(), generator,
        is_table=draws.embeddings(model).__contains__,
        norm=0.3, vector=0.2, table=0.5, matrix=1,
    )
    for name, buffer in model.named_buffers():
        if name == "pos_embed.pos_embed" and model.config.pos_embed_max_size:
            buffer += 0.3 * torch.randn(buffer.shape, generator=generator)


def build(case, generator):
    """The pipeline of a case, without tokenizers."""

    def clip(width, heads, layers, activation, end):
        config = CLIPTextConfig(
            vocab_size=CLIP_VOCABULARY,
            hidden_size=width,
            intermediate_size=2 * width,
            projection_dim=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=CLIP_POSITIONS,
            hidden_act=activation,
            bos_token_id=CLIP_BEGIN,
            eos_token_id=end,
        )
        return CLIPTextModelWithProjection(config)

    t5 = T5EncoderModel(
        T5Config(
            vocab_size=T5_VOCABULARY,
            d_model=JOINT,
            d_kv=12,
            d_ff=40,
            num_layers=2,
            num_heads=2,
            relative_attention_num_buckets=20,
            relative_attention_max_distance=50,
            feed_forward_proj="gated-gelu",
        )
    )
    parts = dict(
        transformer=SD3Transformer2DModel(**case.transformer),
        vae=AutoencoderKL(**case.vae),
        text_encoder=clip(CLIP_L_WIDTH, 2, 2, case.clip_activations[0], case.clip_ends[0]),
        text_encoder_2=clip(CLIP_G_WIDTH, 4, 3, case.clip_activations[1], case.clip_ends[1]),
        text_encoder_3=t5 if case.t5 else None,
    )
    for part in parts.values():
        if part is not None:
            randomise(part.eval(), generator)
    return StableDiffusion3Pipeline(
        **parts,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=case.shift),
        tokenizer=None,
        tokenizer_2=None,
        tokenizer_3=None,
    )


class FixedTokenizer:
    """Stands in for a tokenizer: every text has its ids already."""

    def __init__(self, ids):
        self.ids = ids
        self.model_max_length = len(next(iter(ids.values())))

    def __call__(self, texts, **_):
        return SimpleNamespace(input_ids=torch.tensor([self.ids[text] for text in texts]))


def draw_ids(generator):
    """Ids of the captions and the empty text for each encoder, padded each in its own way."""

    def draw(low, high, count):
        return torch.randint(low, high, (count,), generator=generator).tolist()

    ids = {"clip_l": {}, "clip_g": {}, "t5": {}}
    for text, words in ((NEGATIVE, 0), (CAPTIONS[0], 9), (CAPTIONS[1], CLIP_POSITIONS - 2)):
        tokens = [CLIP_BEGIN, *draw(3, CLIP_BEGIN, words), CLIP_END]
        rest = CLIP_POSITIONS - len(tokens)
        ids["clip_l"][text] = tokens + [CLIP_END] * rest
        ids["clip_g"][text] = tokens + [0] * rest
        tokens = [*draw(2, T5_VOCABULARY, 2 * words), 1]
        ids["t5"][text] = tokens + [0] * (T5_TOKENS - len(tokens))
    return ids


def encode(pipeline):
    """Embeddings and pooled vectors of the captions."""
    embeds, _, pooled, _ = pipeline.encode_prompt(
        prompt=CAPTIONS, prompt_2=None, prompt_3=None, do_classifier_free_guidance=False
    )
    return embeds, pooled


def encoder_gradients(pipeline):
    """Gradients of a linear function of the encoders' outputs by their token embeddings."""
    caught = []

    def catch(_module, _inputs, output):
        caught.append(output.detach().requires_grad_())
        return caught[-1]

    encoders = pipeline.text_encoder, pipeline.text_encoder_2
    hooks = [encoder.get_input_embeddings().register_forward_hook(catch) for encoder in encoders]
    embeds, pooled = encode(pipeline)
    for hook in hooks:
        hook.remove()
    loss = (embeds * wave(embeds.shape)).sum() + (pooled * wave(pooled.shape)).sum()
    by_l, by_g = torch.autograd.grad(loss, caught)
    return {"encode.gradient_l": by_l, "encode.gradient_g": by_g}


def transformer_reference(pipeline, embeds, pooled, latents):
    """The transformer's output and gradients at two noise levels."""
    sigmas = torch.tensor([0.9, 0.25])
    inputs = [t.detach().clone().requires_grad_() for t in (latents, embeds, pooled)]
    velocity = pipeline.transformer(
        hidden_states=inputs[0],
        encoder_hidden_states=inputs[1],
        pooled_projections=inputs[2],
        timestep=sigmas * 1000,
        return_dict=False,
    )[0]
    gradients = torch.autograd.grad((velocity * wave(velocity.shape)).sum(), inputs)
    return {
        "transformer.sigmas": sigmas,
        "transformer.velocity": velocity,
        "transformer.gradient_latents": gradients[0],
        "transformer.gradient_embeds": gradients[1][:, ::GRADIENT_STRIDE],
        "transformer.gradient_pooled": gradients[2],
    }


def lora_reference(pipeline, embeds, pooled, latents, generator):
    """Random low-rank updates of every kind of layer, and the velocity with them."""
    transformer = pipeline.transformer
    transformer.add_adapter(
        LoraConfig(r=LORA_RANK, lora_alpha=LORA_ALPHA, target_modules=LORA_TARGETS)
    )
    for name, parameter in transformer.named_parameters():
        if "lora_" in name:
            parameter.data = 0.12 * torch.randn(parameter.shape, generator=generator)
    state = get_peft_model_state_dict(transformer)
    with torch.no_grad():
        velocity = transformer(
            hidden_states=latents,
            encoder_hidden_states=embeds,
            pooled_projections=pooled,
            timestep=torch.tensor([900.0, 250.0]),
            return_dict=False,
        )[0]
    transformer.delete_adapters("default")
    tensors = {f"lora.{name}": tensor for name, tensor in state.items()}
    return tensors | {"transformer.velocity_lora": velocity}


def trained(pipeline, latents, reference):
    """Sketches of the gradients of linear functions of every part's output in its parameters."""
    names = ("transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3")
    parts = {name: getattr(pipeline, name) for name in names}
    parts = {name: part for name, part in parts.items() if part is not None}
    for part in parts.values():
        # Low-rank updates froze what they were added to.
        part.requires_grad_(True).zero_grad()
    embeds, pooled = encode(pipeline)
    ((embeds * wave(embeds.shape)).sum() + (pooled * wave(pooled.shape)).sum()).backward()
    velocity = pipeline.transformer(
        hidden_states=latents,
        encoder_hidden_states=reference["encode.embeds"],
        pooled_projections=reference["encode.pooled"],
        timestep=reference["transformer.sigmas"] * 1000,
        return_dict=False,
    )[0]
    (velocity * wave(velocity.shape)).sum().backward()
    picture = pipeline.vae.decode(latents, return_dict=False)[0]
    posterior = pipeline.vae.encode(reference["vae.picture"].detach()).latent_dist
    sample = posterior.mean + posterior.std * reference["vae.noise"]
    ((picture * wave(picture.shape)).sum() + (sample * wave(sample.shape)).sum()).backward()
    return sketches(
        (f"{part}/{name}".replace(".base_layer", ""), value)
        for part, module in parts.items()
        for name, value in module.named_parameters()
    )


def vae_reference(vae, latents, draw):
    """Encoding and decoding with their gradients; the tensors are the VAE's own, unscaled."""
    inner = latents.detach().clone().requires_grad_()
    picture = vae.decode(inner, return_dict=False)[0]
    by_latents = torch.autograd.grad((picture * wave(picture.shape)).sum(), inner)[0]
    outer = draw(picture.shape).clamp(-1, 1).requires_grad_()
    posterior = vae.encode(outer).latent_dist
    noise = draw(posterior.mean.shape)
    sample = posterior.mean + posterior.std * noise
    by_picture = torch.autograd.grad((sample * wave(sample.shape)).sum(), outer)[0]
    return {
        "vae.decoded": picture,
        "vae.gradient_latents": by_latents,
        "vae.picture": outer,
        "vae.noise": noise,
        "vae.mean": posterior.mean,
        "vae.sample": sample,
        "vae.gradient_picture": by_picture,
    }


@torch.no_grad()
def run(pipeline, latents, output):
    """A whole guided run for the captions."""
    height, width = (side * pipeline.vae_scale_factor for side in latents.shape[2:])
    return pipeline(
        prompt=CAPTIONS,
        negative_prompt=[NEGATIVE] * len(CAPTIONS),
        latents=latents,
        height=height,
        width=width,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        output_type=output,
        return_dict=False,
    )[0]


@torch.no_grad()
def bfloat16_errors(pipeline, latents, reference):
    """Mean absolute error of the reference in bfloat16 against itself in float32."""

    def error(name, tensor):
        return (tensor.float() - reference[name]).abs().mean().item()

    for part in (
        pipeline.transformer,
        pipeline.text_encoder,
        pipeline.text_encoder_2,
        pipeline.text_encoder_3,
    ):
        if part is not None:
            part.to(torch.bfloat16)
    embeds, pooled = encode(pipeline)
    velocity = pipeline.transformer(
        hidden_states=latents.bfloat16(),
        encoder_hidden_states=reference["encode.embeds"].bfloat16(),
        pooled_projections=reference["encode.pooled"].bfloat16(),
        timestep=reference["transformer.sigmas"] * 1000,
        return_dict=False,
    )[0]
    return {
        "encode.embeds": error("encode.embeds", embeds),
        "encode.pooled": error("encode.pooled", pooled),
        "transformer.velocity": error("transformer.velocity", velocity),
        "run.latents": error("run.latents", run(pipeline, latents, "latent")),
    }


def write(name, case, seed, out):
    """Writes one case."""
    generator = torch.Generator().manual_seed(seed)

    def draw(shape):
        return torch.randn(shape, generator=generator)

    pipeline = build(case, generator)
    pipeline.set_progress_bar_config(disable=True)
    shards = {} if case.shard_size is None else {"max_shard_size": case.shard_size}
    pipeline.to(case.stored).save_pretrained(out / "model", **shards)
    pipeline.to(torch.float32)

    ids = draw_ids(generator)
    pipeline.tokenizer = FixedTokenizer(ids["clip_l"])
    pipeline.tokenizer_2 = FixedTokenizer(ids["clip_g"])
    pipeline.tokenizer_3 = FixedTokenizer(ids["t5"])
    pipeline.tokenizer_max_length = CLIP_POSITIONS
    latents = draw((len(CAPTIONS), case.transformer["in_channels"], *case.size))
    with torch.no_grad():
        embeds, pooled = encode(pipeline)
    reference = {
        "latents": latents,
        "encode.embeds": embeds,
        "encode.pooled": pooled,
        "run.latents": run(pipeline, latents, "latent"),
        "run.pictures": run(pipeline, latents, "pt"),
    }
    reference |= encoder_gradients(pipeline)
    reference |= transformer_reference(pipeline, embeds, pooled, latents)
    reference |= lora_reference(pipeline, embeds, pooled, latents, generator)
    reference |= vae_reference(pipeline.vae, latents, draw)
    save_file(trained(pipeline, latents, reference), out / "gradients.safetensors")
    settings = {
        "steps": STEPS,
        "guidance": GUIDANCE,
        "lora_scale": LORA_ALPHA / LORA_RANK,
        "captions": [
            {part: ids[part][text] for part in ids if part != "t5" or case.t5}
            for text in (NEGATIVE, *CAPTIONS)
        ],
        "bfloat16_errors": bfloat16_errors(pipeline, latents, reference),
    }
    save_file(
        {key: tensor.detach().contiguous().clone() for key, tensor in reference.items()},
        out / "reference.safetensors",
    )
    (out / "reference.json").write_text(json.dumps(settings) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for offset, (name, case) in enumerate(CASES.items()):
        folder = arguments.out / name
        shutil.rmtree(folder, ignore_errors=True)
        write(name, case, 1000 * arguments.seed + offset, folder)
    write_shapes(arguments.out / "shapes")


if __name__ == "__main__":
    main()
