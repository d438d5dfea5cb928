"""Writes tokenizers, templates and image processors, and what transformers makes of inputs.

    tests/parity/prompt.py --out DIR [--seed N] [--frozen]

`--frozen` leaves out what is too large to keep in the repository: the published vocabularies of
Llama 3 and CLIP (from the packages of requirements/vocabularies.txt), the published tile size, and
large photos. `DIR/expected.json` lists every case; pixel values lie beside it as safetensors.
"""

import argparse
import base64
import gzip
import importlib.metadata
import json
import math
import random
import re
from collections import Counter
from pathlib import Path

import numpy as np
import tiktoken
import torch
from safetensors.torch import save_file
from tokenizers import Regex, pre_tokenizers
from transformers import CLIPTokenizer, MllamaImageProcessor, PreTrainedTokenizerFast, T5Tokenizer

from vocabularies import (
    CORPUS,
    LLAMA_SPLIT,
    LLAMA_TEMPLATE,
    assemble_llama,
    byte_characters,
    clip_vocabulary,
    llama_tokenizer,
    sorted_bytes,
    write_clip_tokenizer,
    write_json,
    write_llama_tokenizer,
)

TEXTS = [
    "",
    " ",
    "a",
    "Hello there! Look at my cat, she's so fluffy.",
    "  two  spaces   three\t\ttabs \n\n newlines\r\n\r\nand\vmore\f",
    "DON'T SHOUT, i'm He'll they'RE we've I'd",
    "numbers 1 12 123 1234 1234567890 3.14 1,000,000 ½ ² Ⅷ ٣٤٥",
    "naïve café Ångström Āēī ñandú Straße İstanbul ǅ ﬁ",
    "e\u0301 and é, A\u030a and Å, \u1e9b\u0323",
    "🐱 👩‍👩‍👧‍👦 🇩🇪 👍🏽 🏳️‍🌈 ☺️ 🤖",
    "שלום עולם، مرحبا بالعالم",
    "日本語のテキスト 漢字 カタカナ 한국어 ไทย हिन्दी",
    "zero\u200bwidth \u200c\u200d\u2060\ufeffjoiners",
    "spaces:\u00a0nbsp\u2003em\u2009thin\u3000wide\u1680ogham\u2028line\u2029para\u0085next",
    "def f(x):\n    return {'a': x ** 2, \"b\": [x != 3]}  # comment\n",
    "https://example.org/a?b=c&d=%20#e @someone #tag <b>bold</b> &amp; $5.00 50%",
    "......!!!???---___***///\\\\|||~~~",
    "\x00\x01\x7f control \x1b[0m",
    "\ufffd \U0010ffff \ue000",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "a photo of a large brown bear that stands near the river, " * 12,
]

ALPHABET = "abc XYZ 019 .,'!?-\n\té🐱日ش\u0301\u200d\u00a0"

BARE_TEMPLATE = """{% for message in messages %}
{{ '<|start_header_id|>' + message.role.upper() + '<|end_header_id|>' + message['content'] -}}
{{ eos_token }}
{% endfor %}
{% if add_generation_prompt %}{{ '<|start_header_id|>ASSISTANT<|end_header_id|>' }}{% endif %}"""

NO_SYSTEM_TEMPLATE = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}
{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}
{% set role = 'model' if message.role == 'assistant' else message.role %}
    {%- if not loop.first and message.role == messages[loop.index0 - 1].role %}
        {%- break %}
    {%- endif %}
<{{ role | title }}>{% for part in message.content %}
{%- if part.type == 'image' %}<|image|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}
{{- '<|eom_id|>\n' }}{% endfor %}
{% if add_generation_prompt %}<Model>{% endif %}
"""

A_TAGS = ("<|reserved_special_token_0|>", "<|reserved_special_token_1|>")

# Dialogues: turns of a speaker and elements; a photo is its caption, or None.
DIALOGUES = [
    {"turns": [["B", [{"text": "Hello, how are you today?"}]]]},
    {
        "system": "You are a friend who loves photos.",
        "turns": [
            ["B", [{"text": "I was at the beach."}]],
            ["A", [{"text": "Lovely! It's 30 degrees here."}]],
            ["B", [{"text": "Do you have a photo?\n\nI'd love to see it."}]],
        ],
    },
    {
        "turns": [
            ["B", [{"text": "Look at my cat!"}, {"photo": None}, {"text": "She is so fluffy"}]],
            ["A", [{"text": "Here is mine"}, {"photo": "a small black cat on a table"}]],
            ["B", [{"photo": "my other cat"}, {"photo": None}, {"text": "🐱 these are twins"}]],
        ],
    },
    {
        "complete": True,
        "turns": [
            ["A", [{"photo": "a large brown bear"}, {"text": "I saw it by the lake."}]],
            ["B", [{"text": "Wow!"}]],
            ["A", [{"text": "Yes, 1234 people came."}]],
        ],
    },
]


def random_texts(seed, count):
    """Strings over an alphabet of troublemakers."""
    draws = random.Random(seed)
    return ["".join(draws.choices(ALPHABET, k=draws.randint(1, 40))) for _ in range(count)]


def token_cases(tokenizer, texts):
    """Ids and character ranges of texts as transformers gives them; none names a control token."""
    cases = []
    for text in texts:
        encoded = tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        case = {"text": text, "ids": encoded.input_ids}
        case["characters"] = [list(pair) for pair in encoded.offset_mapping]
        cases.append(case)
    return cases


# --- Llama ------------------------------------------------------------------------------------


def messages_of(dialogue, as_text):
    """The dialogue as transformers' chat templates take it."""
    messages = []
    if "system" in dialogue:
        system = dialogue["system"]
        content = system if as_text else [{"type": "text", "text": system}]
        messages.append({"role": "system", "content": content})
    for speaker, elements in dialogue["turns"]:
        parts = []
        for element in elements:
            if "text" in element:
                parts.append({"type": "text", "text": element["text"]})
                continue
            if speaker == "A" and element["photo"]:
                parts.append({"type": "text", "text": element["photo"].join(A_TAGS)})
            parts.append({"type": "image"})
        if as_text:
            parts = "".join(part.get("text", "<|image|>") for part in parts)
        messages.append({"role": "assistant" if speaker == "A" else "user", "content": parts})
    return messages


def chat_cases(tokenizer, template, kind):
    """Ids of the dialogues under a template; the system text where the template leaves it."""
    cases = []
    for dialogue in DIALOGUES:
        asked = dialogue
        if kind == "no_system" and "system" in dialogue:
            # What the reference refuses opens the first user turn.
            first = dialogue["turns"][0]
            opened = [{"text": dialogue["system"] + "\n\n" + first[1][0]["text"]}]
            asked = {"turns": [["B", opened], *dialogue["turns"][1:]]}
        encoded = tokenizer.apply_chat_template(
            messages_of(asked, as_text=kind == "bare"),
            chat_template=template,
            add_generation_prompt=not dialogue.get("complete", False),
            tokenize=True,
            return_dict=True,
        )
        cases.append({"dialogue": dialogue, "ids": encoded["input_ids"]})
    return cases


def write_llama(out, name, tokenizer, template, kind, texts):
    """One Llama-like directory and its cases."""
    directory = out / name
    write_llama_tokenizer(directory, tokenizer, template)
    if kind == "bare":
        # The template's other homes.
        (directory / "chat_template.json").unlink()
        (directory / "chat_template.jinja").write_text(template, encoding="utf-8")
    elif kind == "no_system":
        (directory / "chat_template.json").unlink()
        config = json.loads((directory / "tokenizer_config.json").read_text())
        named = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": template}]
        write_json(directory / "tokenizer_config.json", {**config, "chat_template": named})
    size = {"height": 14, "width": 14}
    MllamaImageProcessor(size=size, max_image_tiles=4).save_pretrained(directory)
    special = json.loads((directory / "special_tokens_map.json").read_text())
    file = str(directory / "tokenizer.json")
    reference = PreTrainedTokenizerFast(
        tokenizer_file=file, clean_up_tokenization_spaces=False, **special
    )
    return {
        "directory": name,
        "texts": token_cases(reference, texts),
        "dialogues": chat_cases(reference, template, kind),
    }


# --- Captions ---------------------------------------------------------------------------------


def write_clips(out, name, vocab, merges, texts):
    """One directory with both CLIP tokenizers; answers their cases."""
    cases = []
    for part, pad in (("tokenizer", "<|endoftext|>"), ("tokenizer_2", "!")):
        write_clip_tokenizer(out / name / part, vocab, merges, pad)
        reference = CLIPTokenizer.from_pretrained(out / name / part)
        assert reference.pad_token == pad
        padded = reference(texts, padding="max_length", max_length=77, truncation=True).input_ids
        content = token_cases(reference, texts)
        for case, ids in zip(content, padded):
            case["padded"] = ids
        cases.append(content)
    return {"directory": name, "clip_l": cases[0], "clip_g": cases[1]}


def write_t5(out, name, texts):
    """A T5 tokenizer (unigram, scored by frequency) beside the two CLIPs; answers its cases."""
    words = ["▁" + word for word in CORPUS.split()]
    counts = Counter(piece for word in words for piece in (word, word[:3], word[1:], *word))
    total = counts.total()
    scores = {piece: round(math.log(count / total), 4) for piece, count in sorted(counts.items())}
    special = ["<pad>", "</s>", "<unk>"]
    extra = [f"<extra_id_{n}>" for n in reversed(range(4))]
    vocab = [(token, 0.0) for token in special] + list(scores.items())
    vocab += [(token, 0.0) for token in extra]
    reference = T5Tokenizer(vocab=vocab, extra_ids=4)
    reference.save_pretrained(out / name / "tokenizer_3")
    padded = reference(texts, padding="max_length", max_length=256, truncation=True).input_ids
    return [{"text": text, "padded": ids} for text, ids in zip(texts, padded)]


# --- Published vocabularies -------------------------------------------------------------------


def packaged(distribution, ending):
    """The path of a file inside an installed package, none of whose code is imported."""
    files = importlib.metadata.distribution(distribution).files
    (found,) = [file for file in files if str(file).endswith(ending)]
    return found.locate()


def published_llama():
    """Llama 3's tokenizer out of its ranks, and tiktoken's own reading of them."""
    path = packaged("llama-models", "llama_models/llama3/tokenizer.model")
    pairs = (line.split() for line in path.read_bytes().splitlines())
    ranks = {base64.b64decode(token): int(rank) for token, rank in pairs}
    letter = dict(zip(sorted_bytes(), byte_characters()))
    spelled = {token: "".join(letter[byte] for byte in token) for token in ranks}
    merges = []
    for token, _ in sorted(ranks.items(), key=lambda item: item[1]):
        halves = [(token[:at], token[at:]) for at in range(1, len(token))]
        known = [(ranks[a], ranks[b], a, b) for a, b in halves if a in ranks and b in ranks]
        merges += [(spelled[a], spelled[b]) for _, _, a, b in sorted(known)]
    symbols = [spelled[token] for token, _ in sorted(ranks.items(), key=lambda item: item[1])]
    named = {
        0: "<|begin_of_text|>",
        1: "<|end_of_text|>",
        4: "<|finetune_right_pad_id|>",
        6: "<|start_header_id|>",
        7: "<|end_header_id|>",
        8: "<|eom_id|>",
        9: "<|eot_id|>",
        10: "<|python_tag|>",
    }
    reserved = iter(f"<|reserved_special_token_{n}|>" for n in range(256))
    special = [named.get(n) or next(reserved) for n in range(256)]
    splitter = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer = assemble_llama(symbols, merges, splitter, special)
    reference = tiktoken.Encoding(
        "llama3", pat_str=LLAMA_SPLIT, mergeable_ranks=ranks, special_tokens={}
    )
    return tokenizer, reference


def published_clip():
    """CLIP's vocabulary and merges."""
    path = packaged("open_clip_torch", "open_clip/bpe_simple_vocab_16e6.txt.gz")
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    merges = [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]
    letters = byte_characters()
    symbols = letters + [letter + "</w>" for letter in letters]
    symbols += ["".join(pair) for pair in merges] + ["<|startoftext|>", "<|endoftext|>"]
    assert len(symbols) == 49408
    return {symbol: rank for rank, symbol in enumerate(symbols)}, merges


# --- Photos -----------------------------------------------------------------------------------

SIZES = [
    (1, 1), (1, 2), (2, 1), (3, 500), (500, 3), (1, 1000), (1000, 1), (7, 7), (8, 8), (9, 8),
    (12, 13), (16, 16), (17, 16), (16, 17), (15, 33), (24, 23), (31, 32), (32, 31), (33, 48),
    (64, 64), (65, 63), (100, 30), (30, 100), (200, 200), (333, 77), (77, 333), (640, 480),
    (10, 900), (900, 10), (1200, 17),
]  # fmt: skip
LARGE = [(4000, 3000), (3000, 4000), (5000, 40), (40, 5000), (1120, 1120), (1121, 559), (560, 560)]
PROCESSORS = [
    {"tile": 8, "tiles": 4, "mean": [0.481, 0.458, 0.408], "std": [0.269, 0.261, 0.276]},
    {"tile": 12, "tiles": 6, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    {"tile": 16, "tiles": 3, "mean": [0.1, 0.2, 0.3], "std": [0.9, 0.8, 0.7]},
]
PUBLISHED_PROCESSOR = {
    "tile": 560,
    "tiles": 4,
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
}


def photo(width, height, seed):
    """A picture by formula, so that the test draws the same one; grain and gradients both."""
    y, x, c = np.mgrid[0:height, 0:width, 0:3].astype(np.uint64)
    value = (x * x * 3 + y * y * 5 + x * y * 7 + c * 85 + np.uint64(seed) * 11) >> np.uint64(3)
    return (value & np.uint64(255)).astype(np.uint8)


def write_pixels(out, name, settings, sizes, seed):
    """One image processor's directory and its cases."""
    side = {"height": settings["tile"], "width": settings["tile"]}
    processor = MllamaImageProcessor(
        size=side,
        max_image_tiles=settings["tiles"],
        image_mean=settings["mean"],
        image_std=settings["std"],
    )
    processor.save_pretrained(out / name)
    tensors = {}
    for width, height in sizes:
        image = torch.from_numpy(photo(width, height, seed)).permute(2, 0, 1).contiguous()
        options = {"return_tensors": "pt", "input_data_format": "channels_first"}
        made = processor(images=[[image]], **options)
        single = processor(images=[[image]], max_image_tiles=1, **options)
        key = f"{width}x{height}"
        used = int(made["num_tiles"][0][0])
        assert not made["pixel_values"][0, 0, used:].any()
        tensors[f"{key}.pixel_values"] = made["pixel_values"][0, 0, :used].contiguous()
        tensors[f"{key}.one_tile"] = single["pixel_values"][0, 0].contiguous()
        tensors[f"{key}.aspect_ratio_id"] = made["aspect_ratio_ids"][0].contiguous()
        tensors[f"{key}.aspect_ratio_mask"] = made["aspect_ratio_mask"][0, 0].contiguous()
    save_file(tensors, str(out / name / "pixels.safetensors"))
    return {"directory": name, "seed": seed, "sizes": sizes}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frozen", action="store_true")
    arguments = parser.parse_args()
    out, seed = arguments.out, arguments.seed
    out.mkdir(parents=True, exist_ok=True)
    texts = TEXTS + random_texts(seed, 40)

    llamas = [
        write_llama(out, "llama_0", llama_tokenizer(132), LLAMA_TEMPLATE, "parts", texts),
        write_llama(out, "llama_1", llama_tokenizer(0), BARE_TEMPLATE, "bare", texts),
        write_llama(out, "llama_2", llama_tokenizer(300), NO_SYSTEM_TEMPLATE, "no_system", texts),
    ]
    captions = [write_clips(out, f"clip_{n}", *clip_vocabulary(n), texts) for n in (0, 102, 250)]
    captions[0]["t5"] = write_t5(out, "clip_0", texts)
    pixels = [
        write_pixels(out, f"photos_{at}", settings, SIZES, seed + at)
        for at, settings in enumerate(PROCESSORS)
    ]
    if not arguments.frozen:
        many = texts + random_texts(seed + 1, 400) + re.split(r"(?<=[.!?])\s", CORPUS)
        tokenizer, reference = published_llama()
        case = write_llama(out, "llama_published", tokenizer, LLAMA_TEMPLATE, "parts", many)
        for text in case["texts"]:
            # Two readings of the published ranks must agree before ours is held against them.
            assert text["ids"] == reference.encode(text["text"], disallowed_special=()), text
        llamas.append(case)
        captions.append(write_clips(out, "clip_published", *published_clip(), many))
        sizes = LARGE + SIZES[:12]
        pixels.append(write_pixels(out, "photos_published", PUBLISHED_PROCESSOR, sizes, seed))
    cases = {"llamas": llamas, "captions": captions, "pixels": pixels}
    text = json.dumps(cases, ensure_ascii=False)
    (out / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
