"""Optimizer steps of Shutterbug's joint training, as PyTorch users write them.

transformers' Mllama and diffusers' Stable Diffusion 3 with low-rank updates by peft, and between
them the bridge of static mode: the pooled straight-through draws of a caption's tokens, times M ·
token table of each CLIP encoder. It is `tests/parity/training.py` for real use: dialogues are padded
to one batch by `MllamaProcessor`, all photos go through the transformer at once, and dialogues are
read, decoded and tokenised before the first step, which favours this side: Shutterbug does it within
every step. Photos are encoded to latents within the step on both sides. Without T5 its 256 hidden
states are zeros; as in diffusers all of them are computed.

For the same draws, losses and gradients are Shutterbug's, but for two things. Mllama's tokens before
a dialogue's first photo read all photos evenly, and here those of the padding as well; and what
follows a photo of A's own is predicted from the photo, not from where its caption ends.
"""

import json
import pathlib
import statistics
import sys
import time

import torch
from diffusers import StableDiffusion3Pipeline
from peft import LoraConfig, get_peft_model
from PIL import Image
from torch.nn import functional
from transformers import AutoProcessor, MllamaForConditionalGeneration

PARITY = pathlib.Path(__file__).resolve().parent.parent / "tests" / "parity"
sys.path.insert(0, str(PARITY))

import bridge
from systems import TAGS, mean_rows
from training import ROLES, cropped

# As in config/training.toml.
RANK = 32
LLAMA_LAYERS = r"model\.language_model\..*\.(self|cross)_attn\.[qkv]_proj"
DIFFUSION_LAYERS = ["to_q", "to_k", "to_v", "to_out.0"]
DIFFUSION_LAYERS += ["add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"]
LEARNING_RATE = 5e-5
WEIGHT_DECAY = 0.01
TEMPERATURE = 1.0
T5_TOKENS = 256


class Batch:
    """All dialogues of a file, as both models take them."""

    def __init__(self, file, processor, picture_px):
        texts, photos, pictures, self.captions = [], [], [], []
        for line in file.read_text().splitlines():
            messages, seen = [], []
            for turn in json.loads(line)["turns"]:
                parts = []
                for element in turn["elements"]:
                    if "text" in element:
                        parts.append({"type": "text", "text": element["text"]})
                        continue
                    seen.append(Image.open(file.parent / element["photo"]).convert("RGB"))
                    if "caption" in element and turn["speaker"] == "A":
                        self.captions.append(element["caption"])
                        pictures.append(cropped(seen[-1], picture_px))
                        parts.append({"type": "text", "text": element["caption"].join(TAGS)})
                    parts.append({"type": "image"})
                messages.append({"role": ROLES[turn["speaker"]], "content": parts})
            texts.append(processor.apply_chat_template(messages))
            photos.append(seen)
        # The template begins with the first token already.
        self.inputs = processor(
            images=photos, text=texts, padding=True, add_special_tokens=False, return_tensors="pt"
        )
        self.pictures = torch.cat(pictures)
        self._mark(processor.tokenizer)

    def _mark(self, tokenizer):
        """Which tokens are scored: what was said, tags, captions and ends of turns."""
        ids = self.inputs["input_ids"]

        def at(token):
            return ids == tokenizer.convert_tokens_to_ids(token)

        headers = at("<|start_header_id|>").cumsum(1), at("<|end_header_id|>").cumsum(1)
        said = (headers[0] == headers[1]) & (headers[0] > 0) & (self.inputs["attention_mask"] == 1)
        self.scored = said & ~at("<|end_header_id|>") & ~at("<|image|>")
        self.targets = ids[self.scored]
        opened = at(TAGS[0])
        inside = (opened.cumsum(1) > at(TAGS[1]).cumsum(1)) & ~opened
        # Which of the scored tokens belong to captions, and what makes a mean for each caption.
        self.of_captions = inside[self.scored]
        numbers = opened.flatten().cumsum(0)[inside.flatten()] - 1
        members = functional.one_hot(numbers, len(self.captions)).T.float()
        self.pooling = members / members.sum(1, keepdim=True)


class Encoder:
    """A CLIP encoder that reads captions through the bridge."""

    def __init__(self, model, clip, words, captions):
        self.model = model
        self.table = model.text_model.embeddings.token_embedding
        matches = bridge.matrix(bridge.static_entries(words, clip, folded=True), words, clip)
        self.reached = matches @ self.table.weight
        padded, contents, _ = zip(*map(clip.encode, captions))
        self.ids = torch.tensor(padded)
        lengths = torch.tensor([[len(content)] for content in contents])
        places = torch.arange(self.ids.shape[1])
        self.content = ((places > 0) & (places <= lengths)).unsqueeze(-1)

    def __call__(self, pooled):
        """Penultimate hidden states and pooled vectors."""
        moved = (pooled @ self.reached).unsqueeze(1)
        carrier = (moved - moved.detach()) * self.content
        hook = self.table.register_forward_hook(lambda _table, _ids, hard: hard + carrier)
        try:
            output = self.model(self.ids, output_hidden_states=True)
        finally:
            hook.remove()
        return output.hidden_states[-2], output.text_embeds


class JointStep:
    """Both models with fresh updates, the bridge between them, and their optimizer."""

    def __init__(self, model, data, recompute):
        absent = ("text_encoder_3", "tokenizer_3", "image_encoder", "feature_extractor")
        pipeline = StableDiffusion3Pipeline.from_pretrained(
            model / "diffusion", dtype=torch.float32, **dict.fromkeys(absent)
        )
        self.vae, self.transformer = pipeline.vae, pipeline.transformer
        encoders = [pipeline.text_encoder, pipeline.text_encoder_2]
        for part in (self.vae, self.transformer, *encoders):
            part.requires_grad_(False)
        self.transformer.add_adapter(
            LoraConfig(r=RANK, lora_alpha=RANK, target_modules=DIFFUSION_LAYERS)
        )
        processor = AutoProcessor.from_pretrained(model / "llama")
        side = self.transformer.config.sample_size * pipeline.vae_scale_factor
        self.batch = Batch(data, processor, side)
        self.llama = self._llama(model / "llama", processor.tokenizer)
        words = bridge.Llama(model / "llama")
        words.size = self.llama.config.text_config.vocab_size
        self.barred = torch.zeros(words.size, dtype=torch.bool)
        self.barred[[id for id in words.controls if id < words.size]] = True
        clips = [bridge.Clip(model / "diffusion" / name) for name in ("tokenizer", "tokenizer_2")]
        self.encoders = [
            Encoder(encoder, clip, words, self.batch.captions)
            for encoder, clip in zip(encoders, clips)
        ]
        if recompute:
            self.llama.activation_checkpointing_enable()
            self.transformer.enable_gradient_checkpointing()
        models = (self.llama, self.transformer)
        self.trained = [
            tensor for model in models for tensor in model.parameters() if tensor.requires_grad
        ]
        groups = [
            {"params": [tensor for tensor in self.trained if (tensor.dim() > 1) == decays],
             "weight_decay": WEIGHT_DECAY * decays}
            for decays in (True, False)
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, fused=True)

    @staticmethod
    def _llama(folder, tokenizer):
        llama = MllamaForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="sdpa"
        )
        tags = tokenizer.convert_tokens_to_ids(list(TAGS))
        mean_rows(llama, tags)
        rows = {"embed_tokens": tags, "lm_head": tags}
        config = LoraConfig(
            r=RANK, lora_alpha=RANK, target_modules=LLAMA_LAYERS, trainable_token_indices=rows
        )
        return get_peft_model(llama, config).train()

    def losses(self):
        """The text's loss and the picture's."""
        logits = self.llama(**self.batch.inputs, use_cache=False).logits[:, :-1]
        logits = logits[self.batch.scored[:, 1:]]
        text_loss = functional.cross_entropy(logits, self.batch.targets)
        own = logits[self.batch.of_captions].masked_fill(self.barred, -torch.inf)
        draws = functional.gumbel_softmax(own, tau=TEMPERATURE, hard=True)
        return text_loss, self._picture_loss(self.batch.pooling @ draws)

    def _picture_loss(self, pooled):
        """Rectified flow: the mean squared error of the velocity."""
        states, vectors = zip(*[encoder(pooled) for encoder in self.encoders])
        states = torch.cat(states, -1)
        joint = self.transformer.config.joint_attention_dim
        states = functional.pad(states, (0, joint - states.shape[-1], 0, T5_TOKENS))
        config = self.vae.config
        with torch.no_grad():
            latents = self.vae.encode(self.batch.pictures).latent_dist.sample()
            clean = (latents - config.shift_factor) * config.scaling_factor
        noise = torch.randn_like(clean)
        sigmas = torch.randn(len(clean)).sigmoid()
        share = sigmas[:, None, None, None]
        velocity = self.transformer(
            hidden_states=(1 - share) * clean + share * noise,
            timestep=sigmas * 1000,
            encoder_hidden_states=states,
            pooled_projections=torch.cat(vectors, -1),
        ).sample
        return functional.mse_loss(velocity, noise - clean)

    def step(self):
        """One update; the loss before it."""
        loss = sum(self.losses())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()

    def measure(self, warmup_steps, steps):
        """Figures by the names of `shutterbug bench train`."""
        seconds = []
        for _ in range(warmup_steps + steps):
            begun = time.perf_counter()
            loss = self.step()
            seconds.append(time.perf_counter() - begun)
        return {
            "seconds_per_step_median": statistics.median(seconds[warmup_steps:]),
            "tokens_per_step": len(self.batch.targets),
            "photos_per_step": len(self.batch.captions),
            "loss": loss,
        }
