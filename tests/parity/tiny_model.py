"""Writes the tiny complete model of the end-to-end tests: `DIR/llama` and `DIR/diffusion`.

    tests/parity/tiny_model.py --out DIR [--seed N]

Both directories have the published Hugging Face layouts (mllama in bf16; Stable Diffusion 3 in
float16, two CLIPs, no T5). Every parameter is random, gates, biases and norms too, so replies and
pictures are noise but depend on every block. The same seed gives the same bytes.
"""

import argparse
import shutil
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    GenerationConfig,
    MllamaConfig,
    MllamaForConditionalGeneration,
    MllamaImageProcessor,
)

import draws
from vocabularies import (
    LLAMA_IMAGE,
    clip_vocabulary,
    llama_tokenizer,
    write_clip_tokenizer,
    write_llama_tokenizer,
)

LLAMA_MERGES = 132
CLIP_MERGES = 102
VISION_SIZE = 28


def randomise(model, generator):
    """Draws every parameter: matrices by fan-in, norms and gates about 1, biases about 0."""
    tables = draws.embeddings(model)
    draws.randomise(
        sorted(model.named_parameters()), generator,
        is_table=lambda name: name in tables or name.endswith("embedding"),
        norm=0.1, vector=0.1, table=0.5, matrix=1, gate=lambda draw: 0.8 + 0.2 * draw,
    )


def write_llama(directory, generator):
    """A `MllamaForConditionalGeneration` of two cross-attention and two self-attention layers."""
    tokenizer = llama_tokenizer(LLAMA_MERGES)
    names = ("begin_of_text", "end_of_text", "eom_id", "eot_id", "finetune_right_pad_id")
    ids = {name: tokenizer.token_to_id(f"<|{name}|>") for name in names}
    image_id = tokenizer.token_to_id(LLAMA_IMAGE)
    config = MllamaConfig(
        vision_config={
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_global_layers": 2,
            "attention_heads": 2,
            "intermediate_size": 64,
            "vision_output_dim": 96,
            "image_size": VISION_SIZE,
            "patch_size": 14,
            "max_num_tiles": 4,
            "intermediate_layers_indices": [0, 2],
        },
        text_config={
            "vocab_size": image_id,
            "hidden_size": 64,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 128,
            "cross_attention_layers": [1, 3],
            "max_position_embeddings": 2048,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 10000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 256,
            },
            "bos_token_id": ids["begin_of_text"],
            "eos_token_id": [ids["end_of_text"], ids["eom_id"], ids["eot_id"]],
            "pad_token_id": ids["finetune_right_pad_id"],
        },
        image_token_index=image_id,
    )
    model = MllamaForConditionalGeneration(config)
    randomise(model, generator)
    model.generation_config = GenerationConfig(
        bos_token_id=ids["begin_of_text"],
        eos_token_id=[ids["end_of_text"], ids["eom_id"], ids["eot_id"]],
        pad_token_id=ids["finetune_right_pad_id"],
        do_sample=True,
        temperature=0.6,
        top_p=0.9,
    )
    model.to(torch.bfloat16).save_pretrained(directory)
    size = {"height": VISION_SIZE, "width": VISION_SIZE}
    MllamaImageProcessor(
        size=size,
        max_image_tiles=4,
        image_mean=[0.48145466, 0.4578275, 0.40821073],
        image_std=[0.26862954, 0.26130258, 0.27577711],
    ).save_pretrained(directory)
    write_llama_tokenizer(directory, tokenizer)


def clip_encoder(vocab, hidden, projection, activation, generator):
    """A CLIP text encoder with the published encoders' legacy end-of-text id."""
    config = CLIPTextConfig(
        vocab_size=len(vocab),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        projection_dim=projection,
        hidden_act=activation,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    model = CLIPTextModelWithProjection(config)
    randomise(model, generator)
    return model.to(torch.float16)


def write_diffusion(directory, generator):
    """A `StableDiffusion3Pipeline` that draws 64 × 64 pictures."""
    vocab, merges = clip_vocabulary(CLIP_MERGES)
    pads = {"tokenizer": "<|endoftext|>", "tokenizer_2": "!"}
    for name, pad in pads.items():
        write_clip_tokenizer(directory / name, vocab, merges, pad)
    tokenizers = {name: CLIPTokenizer.from_pretrained(directory / name) for name in pads}
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=16,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=64,
        caption_projection_dim=32,
        pooled_projection_dim=40,
        out_channels=16,
        pos_embed_max_size=16,
    )
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=[8, 8, 16, 16],
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=4,
        sample_size=64,
        scaling_factor=1.5305,
        shift_factor=0.0609,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    randomise(transformer, generator)
    randomise(vae, generator)
    pipeline = StableDiffusion3Pipeline(
        transformer=transformer.to(torch.float16),
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0),
        vae=vae.to(torch.float16),
        text_encoder=clip_encoder(vocab, 24, 16, "quick_gelu", generator),
        text_encoder_2=clip_encoder(vocab, 32, 24, "gelu", generator),
        text_encoder_3=None,
        tokenizer=tokenizers["tokenizer"],
        tokenizer_2=tokenizers["tokenizer_2"],
        tokenizer_3=None,
    )
    pipeline.save_pretrained(directory)
    for name, pad in pads.items():
        # The published directories hold the older layout, without a tokenizer.json.
        shutil.rmtree(directory / name)
        write_clip_tokenizer(directory / name, vocab, merges, pad)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    generator = torch.Generator().manual_seed(arguments.seed)
    for part, write in (("llama", write_llama), ("diffusion", write_diffusion)):
        shutil.rmtree(arguments.out / part, ignore_errors=True)
        write(arguments.out / part, generator)


if __name__ == "__main__":
    main()
