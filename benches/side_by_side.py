"""Times Shutterbug beside transformers and diffusers: the same weights, dtype, threads and work.

    python benches/side_by_side.py [--shutterbug PATH] [--repetitions N] [--threads N] [--only PART]

Random-weight models in the published layouts are made once below target/bench. Then, for every
model, both sides run in turn, each in a process of its own (A B A B …): each loads the model, warms
up and measures once. What they write must agree: greedy tokens are compared, and pictures pixel by
pixel. A Markdown report goes to stdout: medians, with the extremes in brackets.

The part `train` times optimizer steps of joint training with low-rank adapters, both sides on the
same batch in every step; dropout and caption dropout are off. The reference has its inputs decoded
and tokenised beforehand, Shutterbug does that within every step.

The reference's side is this same file with `--reference talk|draw|train`.
"""

import argparse
import itertools
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time
from datetime import datetime, timezone

import safetensors.torch
import torch

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "target" / "bench"

PROMPT_TOKENS = 512
NEW_TOKENS = 64
STEPS = 20
GUIDANCE = 5.0
RATIOS = [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]]
TILES = 4
# 1 + the place of [2, 2] in RATIOS.
ASPECT_RATIO_ID = 6
CLIP_TOKENS = 77
CLIP_VOCABULARY = 4096

# Shapes after Llama-3.2-11B-Vision: grouped queries, every fifth layer a cross-attention layer,
# feed-forward blocks about 2.7 times as wide. The vocabulary is small, or the head would outweigh
# the layers. The named size is the decoder's.
TALKERS = {
    "llama-100m": dict(
        text=dict(
            vocab_size=8192, hidden_size=768, num_hidden_layers=14, num_attention_heads=12,
            num_key_value_heads=4, intermediate_size=2048, cross_attention_layers=[3, 8, 13],
        ),
        vision=dict(
            hidden_size=320, num_hidden_layers=6, num_global_layers=2, attention_heads=5,
            intermediate_size=1280, image_size=224, patch_size=14,
            intermediate_layers_indices=[1, 3, 5], vision_output_dim=1280,
        ),
    ),
    "llama-500m": dict(
        text=dict(
            vocab_size=16384, hidden_size=1536, num_hidden_layers=18, num_attention_heads=24,
            num_key_value_heads=8, intermediate_size=4096, cross_attention_layers=[3, 8, 13],
        ),
        vision=dict(
            hidden_size=512, num_hidden_layers=8, num_global_layers=2, attention_heads=8,
            intermediate_size=2048, image_size=224, patch_size=14,
            intermediate_layers_indices=[1, 4, 7], vision_output_dim=2048,
        ),
    ),
}
DRAWER = "sd3-100m"
# llama-500m and sd3-100m in one model directory, with the tests' small vocabularies.
WHOLE = "whole-600m"
VOCABULARIES = ROOT / "tests" / "fixtures" / "tiny"
# The pocket model of 12 M parameters and dialogues of its world.
TRAINED = "train"
DIALOGUES = 400
BATCH = 16
WARMUP_STEPS = 2
# Odd: the median is one of them.
COUNTED_STEPS = 11
TRAINING = {
    "training.stage": "joint",
    "training.language": "adapters",
    "training.diffusion": "adapters",
    "training.batch_examples": BATCH,
    "training.micro_batch_examples": BATCH,
    "optimizer.schedule": "constant",
    "optimizer.warmup_steps": 0,
    "optimizer.gradient_norm_max": 1.0,
    "bridge.mode": "static",
    "bridge.own_caption_share": 0.0,
    "diffusion.caption_dropout": 0.0,
    "lora.rank": 32,
    "lora.dropout": 0.0,
    "lora.train_rows": "tags",
}


# Making models.


@torch.no_grad()
def randomise(model, seed, gain=1.0):
    """Draws every parameter: matrices by fan-in, norms and gates about 1, the rest about 0."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() < 2 and ("norm" in name or "gate" in name):
            parameter.copy_(1 + 0.1 * noise)
        elif parameter.dim() < 2:
            parameter.copy_(0.1 * noise)
        elif "embed" in name and "proj" not in name:
            parameter.copy_(0.5 * noise)
        else:
            parameter.copy_(gain * noise / parameter[0].numel() ** 0.5)


def make_talker(shape, directory):
    """A `MllamaForConditionalGeneration` in float32, and the prompt that both sides are given."""
    from transformers import MllamaConfig, MllamaForConditionalGeneration

    vocabulary = shape["text"]["vocab_size"]
    rope = dict(
        rope_type="llama3", rope_theta=500_000.0, factor=8.0, low_freq_factor=1.0,
        high_freq_factor=4.0, original_max_position_embeddings=8192,
    )
    config = MllamaConfig(
        vision_config=dict(supported_aspect_ratios=RATIOS, max_num_tiles=TILES, **shape["vision"]),
        text_config=dict(
            rope_parameters=rope, max_position_embeddings=131_072, tie_word_embeddings=False,
            bos_token_id=0, eos_token_id=1, pad_token_id=2, **shape["text"],
        ),
        image_token_index=vocabulary,
    )
    model = MllamaForConditionalGeneration(config)
    randomise(model, seed=1)
    model.save_pretrained(directory, max_shard_size="1GB")
    generator = torch.Generator().manual_seed(2)
    side = shape["vision"]["image_size"]
    inputs = {
        "ids": torch.randint(3, vocabulary, [PROMPT_TOKENS], generator=generator),
        "pixel_values": torch.randn([TILES, 3, side, side], generator=generator),
        "aspect_ratio_id": torch.tensor([ASPECT_RATIO_ID]),
    }
    safetensors.torch.save_file(inputs, directory / "inputs.safetensors")


def make_drawer(directory, vocabulary=CLIP_VOCABULARY):
    """A `StableDiffusion3Pipeline` of 256 × 256 pictures in float32 without T5, and its inputs."""
    from diffusers import (
        AutoencoderKL,
        FlowMatchEulerDiscreteScheduler,
        SD3Transformer2DModel,
        StableDiffusion3Pipeline,
    )
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    def clip(width, activation):
        return CLIPTextModelWithProjection(
            CLIPTextConfig(
                vocab_size=vocabulary, hidden_size=width, intermediate_size=4 * width,
                projection_dim=width, num_hidden_layers=4, num_attention_heads=width // 64,
                max_position_embeddings=CLIP_TOKENS, hidden_act=activation, eos_token_id=2,
            )
        )

    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=32, patch_size=2, in_channels=16, out_channels=16, num_layers=10,
        attention_head_dim=64, num_attention_heads=8, joint_attention_dim=1024,
        caption_projection_dim=512, pooled_projection_dim=640, pos_embed_max_size=32,
    )
    vae = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=[32, 64, 128, 128], layers_per_block=2, latent_channels=16,
        sample_size=256, scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False,
        use_post_quant_conv=False,
    )
    encoders = {"clip_l": clip(256, "quick_gelu"), "clip_g": clip(384, "gelu")}
    for seed, model in enumerate([vae, *encoders.values()]):
        randomise(model, seed)
    # At full gain the guided steps amplify rounding until pictures can't be compared.
    randomise(transformer, seed=3, gain=0.1)
    StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae,
        text_encoder=encoders["clip_l"],
        text_encoder_2=encoders["clip_g"],
        text_encoder_3=None,
        tokenizer=None,
        tokenizer_2=None,
        tokenizer_3=None,
    ).save_pretrained(directory)
    generator = torch.Generator().manual_seed(4)
    inputs = {"latents": torch.randn([1, 16, 32, 32], generator=generator)}
    for caption in ("caption", "negative"):
        for encoder in encoders:
            ids = torch.randint(0, vocabulary - 1, [CLIP_TOKENS], generator=generator)
            # The published encoders take the position of the largest id for the text's end.
            ids[20:] = vocabulary - 1
            inputs[f"{caption}_{encoder}_ids"] = ids
    safetensors.torch.save_file(inputs, directory / "inputs.safetensors")


def read_json(path):
    return json.loads(path.read_text())


def make_whole(directory, shutterbug):
    """Both models with tokenizers, joined by `shutterbug models convert`."""
    llama, diffusion = directory / "llama", directory / "diffusion"
    text = TALKERS["llama-500m"]["text"]
    vocabulary = read_json(VOCABULARIES / "llama" / "config.json")["text_config"]["vocab_size"]
    make_talker(TALKERS["llama-500m"] | {"text": text | {"vocab_size": vocabulary}}, llama)
    encoder = read_json(VOCABULARIES / "diffusion" / "text_encoder" / "config.json")
    make_drawer(diffusion, encoder["vocab_size"])
    for side in (llama, diffusion):
        (side / "inputs.safetensors").unlink()
        kept = shutil.ignore_patterns("config.json", "*_index.json", "*.safetensors", "scheduler*")
        shutil.copytree(VOCABULARIES / side.name, side, ignore=kept, dirs_exist_ok=True)
    tiles = read_json(llama / "preprocessor_config.json")
    side = TALKERS["llama-500m"]["vision"]["image_size"]
    tiles["size"] = {"height": side, "width": side}
    (llama / "preprocessor_config.json").write_text(json.dumps(tiles))
    command = ["models", "convert", "--copy", "--llama", llama, "--diffusion", diffusion]
    subprocess.run([shutterbug, *command, "--out", directory / "model"], check=True,
                   stdout=subprocess.DEVNULL)


def make_trained(directory, shutterbug):
    """A pocket model that has learned nothing yet, and a batch of dialogues with photos by A."""

    def run(*command):
        command = [shutterbug, *map(str, command)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    dialogues = directory / "train.jsonl"
    counts = ["--train", DIALOGUES, "--validation", 0, "--test", 0]
    run("data", "pocket", *counts, "--out", directory)
    run("models", "new", "--preset", "pocket", "--data", dialogues, "--out", directory / "model")

    def shares(line):
        turns = [turn for turn in json.loads(line)["turns"] if turn["speaker"] == "A"]
        return any("photo" in element for turn in turns for element in turn["elements"])

    chosen = filter(shares, dialogues.read_text().splitlines(keepends=True))
    (directory / "batch.jsonl").write_text("".join(itertools.islice(chosen, BATCH)))


def ready(name, make):
    """The model's folder; `make` makes it if it is not there."""
    directory = FOLDER / name
    if not directory.exists():
        print(f"making {directory.relative_to(ROOT)}", file=sys.stderr)
        part = FOLDER / f"{name}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        make(part)
        part.rename(directory)
    return directory


# The reference's side: one process that loads, warms up, measures once and prints JSON.


def resident_bytes_max():
    """This process's own peak: `ru_maxrss` also remembers the process that started it."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


class Moments:
    """A streamer that notes when each token came; the prompt comes first."""

    def __init__(self):
        self.moments = []

    def put(self, _tokens):
        self.moments.append(time.perf_counter())

    def end(self):
        pass


def reference_talk(directory):
    from transformers import GenerationConfig, MllamaForConditionalGeneration

    inputs = safetensors.torch.load_file(directory / "inputs.safetensors")
    model = MllamaForConditionalGeneration.from_pretrained(directory, dtype=torch.float32).eval()

    def pace(ids, new_tokens, photo=None):
        moments = Moments()
        length = ids.shape[1]
        seen = {} if photo is None else dict(
            pixel_values=photo[None, None],
            aspect_ratio_ids=inputs["aspect_ratio_id"][None],
            aspect_ratio_mask=torch.ones([1, 1, TILES], dtype=torch.long),
            cross_attention_mask=torch.ones([1, length, 1, TILES], dtype=torch.long),
        )
        settings = GenerationConfig(
            max_new_tokens=new_tokens, do_sample=False, use_cache=True, eos_token_id=None,
            pad_token_id=2,
        )
        begun = time.perf_counter()
        with torch.inference_mode():
            written = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings,
                streamer=moments, **seen,
            )
        _prompt, first, *_, last = moments.moments
        return {
            "prefill_s": first - begun,
            "tokens_per_s": (new_tokens - 1) / (last - first) if new_tokens > 1 else None,
            "ids": written[0, length:].tolist(),
        }

    text = inputs["ids"][None]
    image_token = torch.tensor([[model.config.image_token_index]])
    seeing = torch.cat([image_token, text], dim=1)
    pace(text[:, :1], 2)
    figures = {}
    for name, ids, photo in (("text", text, None), ("photo", seeing, inputs["pixel_values"])):
        pace(ids, 2, photo)
        figures[name] = pace(ids, NEW_TOKENS, photo)
    return figures


def reference_draw(directory, out):
    from diffusers import StableDiffusion3Pipeline

    inputs = safetensors.torch.load_file(directory / "inputs.safetensors")
    pipeline = StableDiffusion3Pipeline.from_pretrained(
        directory, text_encoder_3=None, tokenizer=None, tokenizer_2=None, tokenizer_3=None
    )
    pipeline.set_progress_bar_config(disable=True)

    @torch.inference_mode()
    def encode(caption):
        """As the pipeline's `encode_prompt`, from ids; T5's hidden states are zeros."""
        encoders = {"clip_l": pipeline.text_encoder, "clip_g": pipeline.text_encoder_2}
        hidden, pooled = [], []
        for name, encoder in encoders.items():
            ids = inputs[f"{caption}_{name}_ids"][None]
            output = encoder(ids, output_hidden_states=True)
            hidden.append(output.hidden_states[-2])
            pooled.append(output.text_embeds)
        clip = torch.cat(hidden, dim=-1)
        joint = pipeline.transformer.config.joint_attention_dim
        clip = torch.nn.functional.pad(clip, (0, joint - clip.shape[-1]))
        return torch.cat([clip, torch.zeros([1, 256, joint])], dim=1), torch.cat(pooled, dim=-1)

    (caption, pooled), (negative, negative_pooled) = encode("caption"), encode("negative")

    def picture(steps):
        begun = time.perf_counter()
        pictures = pipeline(
            prompt_embeds=caption,
            pooled_prompt_embeds=pooled,
            negative_prompt_embeds=negative,
            negative_pooled_prompt_embeds=negative_pooled,
            latents=inputs["latents"],
            num_inference_steps=steps,
            guidance_scale=GUIDANCE,
            height=256,
            width=256,
            output_type="pt",
        ).images
        return pictures, time.perf_counter() - begun

    picture(1)
    pictures, picture_s = picture(STEPS)
    safetensors.torch.save_file({"picture": pictures.contiguous()}, out)
    return {"picture_s": picture_s}


def reference_train(directory, recompute):
    import joint_step

    torch.manual_seed(0)
    joint = joint_step.JointStep(directory / "model", directory / "batch.jsonl", recompute)
    loaded = resident_bytes_max()
    figures = joint.measure(WARMUP_STEPS, COUNTED_STEPS)
    memory = {"memory_bytes_loaded": loaded, "memory_bytes_max": resident_bytes_max()}
    return figures | memory


def run_reference(arguments):
    torch.set_num_threads(arguments.threads)
    if arguments.reference == "talk":
        figures = reference_talk(arguments.directory)
    elif arguments.reference == "train":
        figures = reference_train(arguments.directory, arguments.recompute)
    else:
        figures = reference_draw(arguments.directory, arguments.out)
    print(json.dumps(figures | {"resident_bytes_max": resident_bytes_max()}))


# Both sides in turn.


class Sides:
    """Starts either side's processes and collects what they print."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.threads = str(arguments.threads)

    def _figures(self, command):
        environment = os.environ | {
            "OMP_NUM_THREADS": self.threads, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1",
        }
        finished = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True)
        return json.loads(finished.stdout)

    def ours(self, *command):
        options = ["--threads", self.threads, "--device", "cpu"]
        return self._figures([self.arguments.shutterbug, "bench", *options, *map(str, command)])

    def reference(self, part, directory, *more):
        options = ["--threads", self.threads, "--reference", part, "--directory", directory]
        return self._figures([sys.executable, __file__, *map(str, [*options, *more])])

    def in_turn(self, *runs):
        """Results of every run, `repetitions` each, one after the other."""
        turns = []
        for repetition in range(self.arguments.repetitions):
            print(f"repetition {repetition + 1}", file=sys.stderr)
            turns.append([run() for run in runs])
        return [list(results) for results in zip(*turns)]


# The report.


def spread(values, digits=1):
    values = list(values)
    median = statistics.median(values)
    return f"{median:.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def row(*cells):
    print("| " + " | ".join(cells) + " |", flush=True)


def head(*cells):
    row(*cells)
    row(*["---"] * len(cells))


def ratio(better, worse):
    return f"{statistics.median(better) / statistics.median(worse):.2f}×"


def report_talker(sides, name):
    directory = ready(name, lambda part: make_talker(TALKERS[name], part))
    command = ["talk", "--llama", directory, "--inputs", directory / "inputs.safetensors"]

    def sweep():
        return sides.ours("memory")["bytes_per_s"]

    before, ours, after, reference = sides.in_turn(
        sweep,
        lambda: sides.ours(*command, "--new-tokens", NEW_TOKENS),
        sweep,
        lambda: sides.reference("talk", directory),
    )
    # The better of the sweeps on either side of ours: others on the machine slow memory down too.
    swept = [max(sweeps) for sweeps in zip(before, after)]
    print(f"\n### {name}\n")
    head("", "Shutterbug", "transformers", "ratio")
    for prompt in ("text", "photo"):
        agreed = sum(a == b for a, b in zip(ours[0][prompt]["ids"], reference[0][prompt]["ids"]))
        what = "text" if prompt == "text" else "a photo and text"
        rates = [[run[prompt]["tokens_per_s"] for run in side] for side in (ours, reference)]
        row(f"decode after {what}, tokens/s", *map(spread, rates), ratio(*rates))
        shares = [
            [rate * ours[0][f"token_bytes_{prompt}"] / most for rate, most in zip(side, swept)]
            for side in rates
        ]
        row("… share of the measured bandwidth", *[spread(side, 2) for side in shares], "")
        prefills = [[run[prompt]["prefill_s"] for run in side] for side in (ours, reference)]
        row(f"prefill of {PROMPT_TOKENS} tokens, {what}, s",
            *[spread(side, 2) for side in prefills], ratio(*reversed(prefills)))
        row("… equal greedy tokens", f"{agreed} of {NEW_TOKENS}", "", "")
    peaks = [[run["resident_bytes_max"] / 2**20 for run in side] for side in (ours, reference)]
    row("peak resident memory, MiB", *[spread(side, 0) for side in peaks], ratio(*reversed(peaks)))
    gigabytes = [rate / 1e9 for rate in swept]
    print(f"\nMemory is read at {spread(gigabytes)} GB/s; a token reads "
          f"{ours[0]['token_bytes_text'] / 1e6:.0f} MB of weights after text and "
          f"{ours[0]['token_bytes_photo'] / 1e6:.0f} MB after a photo.")


def report_whole(sides):
    shutterbug = sides.arguments.shutterbug
    directory = ready(WHOLE, lambda part: make_whole(part, shutterbug))
    print(f"\n### {WHOLE}\n")
    head("the whole model", "loading it, s", "reading its files once, s", "ratio")
    for place in ("in-memory", "on-disk"):
        loaded = sides.ours("load", "--model", directory / "model", "--files", place)
        row(f"files {place.replace('-', ' ')}", f"{loaded['load_s']:.2f}",
            f"{loaded['read_s']:.2f}", f"{loaded['load_per_read']:.2f}")
    gigabytes, peak = loaded["tensor_bytes"] / 1e9, loaded["resident_bytes_max"] / 1e9
    print(f"\nIts tensors are {gigabytes:.2f} GB; the peak of resident memory was {peak:.2f} GB.")


def report_drawer(sides):
    directory = ready(DRAWER, make_drawer)
    outs = [FOLDER / f"picture-{side}.safetensors" for side in ("ours", "reference")]
    ours, reference = sides.in_turn(
        lambda: sides.ours(
            "draw", "--diffusion", directory, "--inputs", directory / "inputs.safetensors",
            "--steps", STEPS, "--guidance", GUIDANCE, "--out", outs[0],
        ),
        lambda: sides.reference("draw", directory, "--out", outs[1]),
    )
    pictures = [safetensors.torch.load_file(out)["picture"] for out in outs]
    difference = (pictures[0] - pictures[1]).abs().max().item() * 255
    print(f"\n### {DRAWER}\n")
    head("", "Shutterbug", "diffusers", "ratio")
    seconds = [[run["picture_s"] for run in side] for side in (ours, reference)]
    row(f"picture of 256 × 256 in {STEPS} guided steps, s",
        *[spread(side, 2) for side in seconds], ratio(*reversed(seconds)))
    peaks = [[run["resident_bytes_max"] / 2**20 for run in side] for side in (ours, reference)]
    row("peak resident memory, MiB", *[spread(side, 0) for side in peaks], ratio(*reversed(peaks)))
    row("largest difference of a pixel, of 255", f"{difference:.3f}", "", "")


def report_trained(sides):
    shutterbug = sides.arguments.shutterbug
    directory = ready(TRAINED, lambda part: make_trained(part, shutterbug))
    command = ["train", "--model", directory / "model", "--data", directory / "batch.jsonl"]
    command += ["--steps", COUNTED_STEPS]
    for setting, value in TRAINING.items():
        command += ["--set", f"{setting}={value}"]
    plain, theirs, recomputed, checkpointed = sides.in_turn(
        lambda: sides.ours(*command),
        lambda: sides.reference("train", directory),
        lambda: sides.ours(*command, "--set", "training.recompute=on"),
        lambda: sides.reference("train", directory, "--recompute"),
    )
    print("\n### pocket-12m\n")
    head("", "Shutterbug", "transformers, diffusers, peft", "ratio")

    def memory(pair, figure, what):
        peaks = [[run[figure] / 2**20 for run in side] for side in pair]
        row(f"{what}, MiB", *[spread(side, 0) for side in peaks], ratio(*reversed(peaks)))

    for what, pair in (("", (plain, theirs)), (", recomputing", (recomputed, checkpointed))):
        seconds = [[run["seconds_per_step_median"] for run in side] for side in pair]
        row(f"joint training step of {BATCH} dialogues{what}, s",
            *[spread(side, 2) for side in seconds], ratio(*reversed(seconds)))
        memory(pair, "memory_bytes_max", "peak resident memory")
        memory(pair, "memory_bytes_loaded", "… before the first step")
    for what, figure, digits in (
        ("tokens scored a step", "tokens_per_step", 0),
        ("photos drawn a step", "photos_per_step", 0),
        ("loss of the last step", "loss", 2),
    ):
        row(what, *[f"{side[0][figure]:.{digits}f}" for side in (plain, theirs)], "")


def versions(arguments):
    import diffusers
    import peft
    import transformers

    model = next(
        (line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if "model name" in line),
        platform.processor(),
    )
    today = datetime.now(timezone.utc).date()
    print(f"{today}; {model}, {os.cpu_count()} cores, {arguments.threads} threads, float32; "
          f"torch {torch.__version__}, transformers {transformers.__version__}, diffusers "
          f"{diffusers.__version__}, peft {peft.__version__}; {arguments.repetitions} repetitions; "
          f"load average before: {os.getloadavg()[0]:.1f}.")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shutterbug", default=ROOT / "target" / "release" / "shutterbug")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=[*TALKERS, DRAWER, WHOLE, TRAINED], action="append")
    parser.add_argument("--reference", choices=["talk", "draw", "train"], help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--recompute", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.reference:
        run_reference(arguments)
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    sides = Sides(arguments)
    parts = arguments.only or [*TALKERS, DRAWER, WHOLE, TRAINED]
    versions(arguments)
    for name in parts:
        if name == DRAWER:
            report_drawer(sides)
        elif name == WHOLE:
            report_whole(sides)
        elif name == TRAINED:
            report_trained(sides)
        else:
            report_talker(sides, name)


if __name__ == "__main__":
    main()
