"""One whole training step of the joint objective, by transformers, peft and diffusers.

    tests/parity/training.py --out DIR [--seed N] [--tiny DIR]

Writes dialogues with photos, a joint adapter (PEFT and diffusers) whose tensors are all random, and
for every mode of the bridge and every driving caption the two losses and the gradient of every
trained tensor. The bridge is the naive one of `bridge.py`: M is built, R^SD formed and multiplied
by the token tables. Random draws are given: `DIR/expected.json` holds the noise levels and the
seeds of all noise. The tiny model is drawn into `DIR/tiny` unless one is given.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusion3Pipeline
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoTokenizer, MllamaForConditionalGeneration, MllamaImageProcessor
from transformers.models.mllama.processing_mllama import (
    convert_sparse_cross_attention_mask_to_dense,
    get_cross_attention_token_mask,
)

import bridge
from systems import PHOTO, TAGS, add_adapters, mean_rows

SYSTEM = "You are kind. Show photos, if asked."
LONG = "a photo of a large brown bear that stands near the river, " * 3 + "and a ZEBRA"
DIALOGUES = [
    [
        ("B", [{"text": "look at this"}, {"photo": "wide.png"}]),
        ("A", [{"text": "a fine uniform"}]),
        ("B", [{"text": "do you have one too?"}]),
        (
            "A",
            [
                {"text": "yes,"},
                {"photo": "square.png", "caption": "a small red cat, on a Table!"},
                {"text": "how is it?"},
            ],
        ),
        ("B", [{"text": "nice!! more?"}]),
        ("A", [{"photo": "tall.png", "caption": "two naïve dogs 🐱"}]),
    ],
    [
        ("B", [{"text": "send me the photo of the bear"}]),
        ("A", [{"text": "here"}, {"photo": "wide.png", "caption": LONG}]),
        ("B", [{"text": "great, thank you"}]),
    ],
]
ROLES = {"A": "assistant", "B": "user"}
# Weight of the picture's loss.
ALPHA = 0.7
PHOTOS = 3
CASES = [
    *((mode, ["gold"] * PHOTOS, (0.7, 0.0)) for mode in ["none", *bridge.MODES]),
    *((mode, ["own"] * PHOTOS, (1e-3, 0.5)) for mode in ["none", *bridge.MODES]),
    ("position", ["own", "empty", "gold"], (1.0, 0.0)),
]


def write_photos(folder):
    """A wide, a tall and a square photo."""
    photo = Image.open(PHOTO).convert("RGB").resize((128, 96), Image.Resampling.BICUBIC)
    photo.save(folder / "wide.png")
    photo.crop((10, 0, 80, 96)).save(folder / "tall.png")
    photo.crop((20, 20, 84, 84)).save(folder / "square.png")


def messages_of(turns):
    """The dialogue as transformers takes it; the system's text opens the first user turn."""
    messages = []
    for speaker, elements in turns:
        parts = []
        for element in elements:
            if "text" in element:
                parts.append({"type": "text", "text": element["text"]})
                continue
            if "caption" in element:
                parts.append({"type": "text", "text": element["caption"].join(TAGS)})
            parts.append({"type": "image"})
        messages.append({"role": ROLES[speaker], "content": parts})
    messages[0]["content"][0]["text"] = SYSTEM + "\n\n" + messages[0]["content"][0]["text"]
    return messages


def scored_places(ids, tokenizer):
    """Places of the tokens that count: what was said, tags, captions and ends of turns."""
    name = tokenizer.convert_ids_to_tokens
    opening = tokenizer(SYSTEM + "\n\n", add_special_tokens=False).input_ids
    scored, newlines, system = [], None, len(opening)
    for place, token in enumerate(name(ids)):
        if token == "<|end_header_id|>":
            newlines = 2
        elif newlines:
            newlines -= token.count("Ċ")
        elif newlines == 0:
            if system:
                assert ids[place] == opening[-system]
                system -= 1
            elif token != "<|image|>":
                scored.append(place)
            if token == "<|eot_id|>":
                newlines = None
    return scored


class Dialogue:
    """A dialogue as the language model sees it."""

    def __init__(self, turns, folder, llama, tokenizer):
        self.ids = tokenizer.apply_chat_template(
            messages_of(turns), tokenize=True, return_dict=False
        )
        elements = [element for _, elements in turns for element in elements]
        shared = [element for element in elements if "photo" in element]
        photos = [Image.open(folder / element["photo"]).convert("RGB") for element in shared]
        images = MllamaImageProcessor.from_pretrained(llama.name_or_path)(
            [photos], return_tensors="pt"
        )
        spans = get_cross_attention_token_mask(self.ids, llama.config.image_token_index)
        mask = convert_sparse_cross_attention_mask_to_dense(
            [spans],
            num_tiles=images.pop("num_tiles"),
            max_num_tiles=llama.config.vision_config.max_num_tiles,
            length=len(self.ids),
        )
        self.inputs = {**images, "cross_attention_mask": torch.tensor(mask)}
        self.scored = scored_places(self.ids, tokenizer)
        begin, end = tokenizer.convert_tokens_to_ids(TAGS)
        # A's photo is drawn when its turn is over: what follows it is predicted where its caption
        # ends.
        image = llama.config.image_token_index
        own = [at for at, pair in enumerate(zip(self.ids[1:], self.ids), 1) if pair == (image, end)]
        self.predicting = [place - 2 if place - 1 in own else place - 1 for place in self.scored]
        opened = [place for place, id in enumerate(self.ids) if id == begin]
        closed = [place for place, id in enumerate(self.ids) if id == end]
        captions = [element["caption"] for element in shared if "caption" in element]
        pictures = [photo for photo, element in zip(photos, shared) if "caption" in element]
        # Caption, picture, and the positions whose logits predict the caption's tokens.
        self.shares = [
            (caption, picture, range(first, last - 1))
            for caption, picture, first, last in zip(captions, pictures, opened, closed)
        ]


def cropped(picture, side):
    """The middle square, in -1...1."""
    chw = torch.from_numpy(np.array(picture)).float().permute(2, 0, 1) / 255
    least = min(picture.size)
    top, left = (picture.height - least) // 2, (picture.width - least) // 2
    chw = chw[:, top : top + least, left : left + least]
    resized = torch.nn.functional.interpolate(
        chw[None], size=(side, side), mode="bilinear", antialias=True
    )
    return resized.clamp(0, 1) * 2 - 1


class Photo:
    """What is drawn at random for one shared photo."""

    def __init__(self, seed, caption_tokens, vocabulary, latents_shape):
        generator = torch.Generator().manual_seed(seed)
        uniform = torch.rand((caption_tokens, vocabulary), generator=generator)
        self.gumbel = -torch.log(-torch.log(uniform.clamp(1e-7, 1 - 1e-7)))
        self.noise = torch.randn(latents_shape, generator=generator)
        self.posterior = torch.randn(latents_shape, generator=generator)
        self.sigma = torch.rand((), generator=generator).item()


class Reference:
    """Both models with their adapters, and the naive bridge between them."""

    def __init__(self, tiny, out, generator):
        self.tokenizer = AutoTokenizer.from_pretrained(tiny / "llama")
        template = json.loads((tiny / "llama/chat_template.json").read_text())
        self.tokenizer.chat_template = template["chat_template"]
        llama = MllamaForConditionalGeneration.from_pretrained(tiny / "llama", dtype=torch.float32)
        absent = ("text_encoder_3", "tokenizer_3", "image_encoder", "feature_extractor")
        self.pipeline = StableDiffusion3Pipeline.from_pretrained(
            tiny / "diffusion", dtype=torch.float32, **dict.fromkeys(absent)
        )
        self.tags = tuple(self.tokenizer.convert_tokens_to_ids(TAGS))
        mean_rows(llama, self.tags)
        self.dialogues = [Dialogue(turns, out, llama, self.tokenizer) for turns in DIALOGUES]
        for part in ("vae", "text_encoder", "text_encoder_2", "transformer"):
            getattr(self.pipeline, part).requires_grad_(False)
        self.llama = add_adapters(llama, self.pipeline, out / "adapter", self.tags, generator)
        self.llama.eval()
        vocabulary = llama.config.text_config.vocab_size
        self.words = bridge.Llama(tiny / "llama")
        self.words.size = vocabulary
        self.words.controls = [id for id in self.words.controls if id < vocabulary]
        folders = ("tokenizer", "tokenizer_2")
        self.clips = [bridge.Clip(tiny / "diffusion" / folder) for folder in folders]
        self.encoders = [self.pipeline.text_encoder, self.pipeline.text_encoder_2]
        self.wholes = [
            {
                mode: bridge.matrix(bridge.static_entries(self.words, clip, mode == "static_folded"), self.words, clip)
                for mode in ("static_raw", "static_folded")
            }
            | {"position": bridge.matrix(bridge.position_entries(self.words, clip), self.words, clip)}
            for clip in self.clips
        ]

    def trained(self):
        """Every trained tensor by the name that Shutterbug gives it."""
        named = {}
        for name, parameter in self.llama.named_parameters():
            if parameter.requires_grad:
                name = name.replace("base_model.model.", "", 1).replace(".default", "")
                name = name.replace("model.language_model.", "language_model.model.", 1)
                name = name.replace("lm_head.", "language_model.lm_head.", 1)
                name = name.replace("token_adapter.trainable_tokens_delta", "token_rows")
                named[f"llama.{name}"] = parameter
        for name, parameter in self.pipeline.transformer.named_parameters():
            if parameter.requires_grad:
                named[f"diffusion.{name.replace('.default', '')}"] = parameter
        return named

    def encode(self, encoder, ids, embedded):
        """Penultimate hidden states and pooled vector of token embeddings that stand for ids."""
        table = encoder.text_model.embeddings.token_embedding
        hook = table.register_forward_hook(lambda *_: embedded[None])
        try:
            output = encoder(torch.tensor([ids]), output_hidden_states=True)
        finally:
            hook.remove()
        return output.hidden_states[-2], output.text_embeds

    def condition(self, mode, driver, caption, gold_spans, r, drawn):
        """prompt_embeds and pooled_prompt_embeds of one photo."""
        text, positions = caption, gold_spans
        if driver == "own":
            text, positions = self.words.read(drawn)
        elif driver == "empty":
            text = ""
        tokens = self.words.encode(text)
        hidden, pooled = [], []
        for clip, encoder, whole in zip(self.clips, self.encoders, self.wholes):
            encoded = clip.encode(text)
            table = encoder.text_model.embeddings.token_embedding.weight
            if mode == "none" or not encoded[1]:
                embedded = table[encoded[0]]
            else:
                averaged = bridge.averages(
                    mode, r, text, positions, tokens, encoded, whole,
                    lambda rows: rows.mean(0), self.words, clip,
                )  # fmt: skip
                embedded = bridge.embeddings(averaged, encoded, table)
            states, vector = self.encode(encoder, encoded[0], embedded)
            hidden.append(states)
            pooled.append(vector)
        joined = torch.cat(hidden, -1)
        joint = self.pipeline.transformer.config.joint_attention_dim
        joined = torch.nn.functional.pad(joined, (0, joint - joined.shape[-1]))
        embeds = torch.cat([joined, torch.zeros(1, 256, joint)], 1)
        return embeds, torch.cat(pooled, -1)

    def picture_loss(self, picture, draws, embeds, pooled):
        """Rectified flow: the mean squared error of the velocity."""
        vae, transformer = self.pipeline.vae, self.pipeline.transformer
        side = transformer.config.sample_size * 8
        posterior = vae.encode(cropped(picture, side)).latent_dist
        latents = posterior.mean + posterior.std * draws.posterior
        clean = (latents - vae.config.shift_factor) * vae.config.scaling_factor
        noised = (1 - draws.sigma) * clean + draws.sigma * draws.noise
        velocity = transformer(
            hidden_states=noised,
            timestep=torch.tensor([draws.sigma * 1000]),
            encoder_hidden_states=embeds,
            pooled_projections=pooled,
        ).sample
        return (velocity - (draws.noise - clean)).square().mean()

    def step(self, mode, drivers, temperature, photos):
        """Both losses, every gradient, and each caption's norm of the gradient by its logits."""
        text_sum, caption_sum, scored, captions = 0.0, 0.0, 0, 0
        losses, logits_of, drawn_of = [], [], []
        remaining = iter(zip(drivers, photos))
        for dialogue in self.dialogues:
            ids = torch.tensor([dialogue.ids])
            logits = self.llama(input_ids=ids, **dialogue.inputs).logits[0]
            places = torch.tensor(dialogue.scored)
            surprise = torch.nn.functional.cross_entropy(
                logits[dialogue.predicting], ids[0, places], reduction="none"
            )
            text_sum = text_sum + surprise.sum()
            scored += len(places)
            for caption, picture, positions in dialogue.shares:
                inside = [place - 1 in positions for place in dialogue.scored]
                caption_sum = caption_sum + surprise[torch.tensor(inside)].sum()
                captions += len(positions)
                driver, draws = next(remaining)
                predicting = logits[list(positions)]
                r, drawn = bridge.straight_through(
                    predicting, draws.gumbel, *temperature, self.words.controls
                )
                _, gold_spans = self.words.encode(caption)
                embeds, pooled = self.condition(mode, driver, caption, gold_spans, r, drawn)
                losses.append(self.picture_loss(picture, draws, embeds, pooled))
                logits_of.append(predicting)
                drawn_of.append(drawn)
        text_loss, picture_loss = text_sum / scored, sum(losses) / len(losses)
        norms = []
        for loss, predicting in zip(losses, logits_of):
            (gradient,) = torch.autograd.grad(
                loss, predicting, retain_graph=True, allow_unused=True
            )
            norms.append(0.0 if gradient is None else gradient.norm().item())
        trained = self.trained()
        gradients = torch.autograd.grad(text_loss + ALPHA * picture_loss, list(trained.values()))
        figures = {
            "text_loss": text_loss.item(),
            "caption_loss": (caption_sum / captions).item(),
            "picture_loss": picture_loss.item(),
            "norms": norms,
            "drawn": drawn_of,
        }
        return figures, dict(zip(trained, gradients))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tiny", type=Path)
    arguments = parser.parse_args()
    out, seed = arguments.out, arguments.seed
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    tiny = arguments.tiny
    if tiny is None:
        tiny = out / "tiny"
        script = Path(__file__).with_name("tiny_model.py")
        subprocess.run([sys.executable, script, "--out", tiny, "--seed", str(seed)], check=True)
    torch.sparse.check_sparse_tensor_invariants.enable()
    write_photos(out)
    with open(out / "dialogues.jsonl", "w", encoding="utf-8") as file:
        for at, turns in enumerate(DIALOGUES):
            turns = [{"speaker": speaker, "elements": said} for speaker, said in turns]
            file.write(json.dumps({"id": f"d{at}", "turns": turns}, ensure_ascii=False) + "\n")
    reference = Reference(tiny, out, torch.Generator().manual_seed(seed))

    shares = [share for dialogue in reference.dialogues for share in dialogue.shares]
    assert len(shares) == PHOTOS
    config = reference.pipeline.transformer.config
    shape = (1, config.in_channels, config.sample_size, config.sample_size)
    seeds = [seed * 100 + at for at in range(PHOTOS)]
    photos = [
        Photo(seed, len(positions), reference.words.size, shape)
        for seed, (_, _, positions) in zip(seeds, shares)
    ]
    cases, tensors = [], {}
    for at, (mode, drivers, temperature) in enumerate(CASES):
        figures, gradients = reference.step(mode, drivers, temperature, photos)
        cases.append(
            {
                "mode": mode,
                "drivers": drivers,
                "tau": temperature[0],
                "floor": temperature[1],
                **figures,
            }
        )
        for name, gradient in gradients.items():
            tensors[f"{at}.{name}"] = gradient.contiguous().clone()
    expected = {
        "system_text": SYSTEM,
        "picture_weight": ALPHA,
        "vocabulary": reference.words.size,
        "captions": [caption for caption, _, _ in shares],
        "ids": [dialogue.ids for dialogue in reference.dialogues],
        "scored": [dialogue.scored for dialogue in reference.dialogues],
        "seeds": seeds,
        "sigmas": [photo.sigma for photo in photos],
        "cases": cases,
    }
    save_file(tensors, str(out / "gradients.safetensors"))
    (out / "expected.json").write_text(json.dumps(expected, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
