"""Small tokenizers in the published layouts of Llama 3.2 and CLIP, trained on a text of their own.

Llama's comes as `tokenizer.json` (byte-level BPE, Llama 3's split expression and special tokens),
CLIP's as `vocab.json` and `merges.txt` (BPE with an end-of-word suffix), each with the small JSON
files that stand beside it in the published directories.
"""

import json
import re
from collections import Counter
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

CORPUS = """
Hello there! How are you today? I am fine, thank you. I was at the beach this morning, the water
was cold and the sky was blue. Look at this photo of my cat! She is so fluffy. Do you have a photo
of your dog? Yes, I do. Here is a picture of him in the garden with a red ball. That is a lovely
picture, where did you take it? I took it at home, in front of the white house by the lake. Can you
show me the flowers? Sure, here they are: yellow flowers in a green vase on the table. Wow, they are
beautiful! We had pizza and a glass of wine for dinner last night, and then we went to the park.
What did you do at the weekend? We went hiking in the mountains with our friends, it was great fun.
I'd love to see that! Let me find the photo, it's somewhere in my phone. There's the one with the
sunset over the sea, and the other with the children playing in the snow. Don't you think they've
grown? They're taller than me now! I'll send you more when we're back in the city on Monday. A large
brown bear stands near the river. A small black car is parked in the street next to the building.
Two people sit on a bench under the trees and share a big birthday cake. A man in a uniform smiles.
"""

# The first twelve of Llama 3.2's 256 special tokens, in the published order.
LLAMA_SPECIAL = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|reserved_special_token_0|>",
    "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>",
    "<|reserved_special_token_2|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
    "<|reserved_special_token_3|>",
]
LLAMA_IMAGE = "<|image|>"

LLAMA_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CLIP_SPLIT = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)

# The behaviour of Llama 3.2's template: headers, ends of turns, `<|image|>` where a photo stands,
# and no system message beside photos.
LLAMA_TEMPLATE = """{{- bos_token }}
{%- set photos = namespace(any=false) %}
{%- for message in messages %}
    {%- if message['content'] is not string %}
        {%- for part in message['content'] %}
            {%- if part['type'] == 'image' %}
                {%- set photos.any = true %}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message['role'] == 'system' and photos.any %}
        {{- raise_exception("Prompting with images is incompatible with system messages.") }}
    {%- endif %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {%- if message['content'] is string %}
        {{- message['content'] }}
    {%- else %}
        {%- for part in message['content'] %}
            {%- if part['type'] == 'image' %}
                {{- '<|image|>' }}
            {%- elif part['type'] == 'text' %}
                {{- part['text'] }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""


def write_json(path, value):
    """Writes readable JSON with a final newline."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def byte_characters():
    """The 256 printable characters that stand for bytes in byte-level BPE, in CLIP's order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + n) for n in range(len(others))]


def train_merges(words, count):
    """The `count` most frequent merges of `words` (tuples of symbols), ties by the pair itself."""
    counts = Counter(words)
    merges = []
    for _ in range(count):
        pairs = Counter()
        for word, times in counts.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += times
        left, right = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append((left, right))
        merged = Counter()
        for word, times in counts.items():
            symbols, at = [], 0
            while at < len(word):
                both = word[at : at + 2] == (left, right)
                symbols.append(left + right if both else word[at])
                at += 2 if both else 1
            merged[tuple(symbols)] += times
        counts = merged
    return merges


def llama_tokenizer(merges_count):
    """A Llama-3-like `Tokenizer`: bytes, merges, special tokens, then `<|image|>`."""
    splitter = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    words = [tuple(word) for word, _ in splitter.pre_tokenize_str(CORPUS.replace("\n", " "))]
    merges = train_merges(words, merges_count)
    symbols = byte_characters() + [left + right for left, right in merges]
    return assemble_llama(symbols, merges, splitter, LLAMA_SPECIAL)


def assemble_llama(symbols, merges, splitter, special):
    """Puts a Llama 3 tokenizer together from its ranked symbols, merges and special tokens."""
    vocab = {symbol: rank for rank, symbol in enumerate(symbols)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=True))
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, normalized=False, special=True) for token in [*special, LLAMA_IMAGE]]
    )
    begin = special[0]
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single=f"{begin} $A",
                pair=f"{begin} $A {begin} $B",
                special_tokens=[(begin, tokenizer.token_to_id(begin))],
            ),
        ]
    )
    return tokenizer


def write_llama_tokenizer(directory, tokenizer, template=LLAMA_TEMPLATE):
    """Writes `tokenizer.json`, its configuration and the chat template as published."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
    special = {
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|eot_id|>",
        "pad_token": "<|finetune_right_pad_id|>",
    }
    write_json(directory / "special_tokens_map.json", special)
    config = {
        **special,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 131072,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    write_json(directory / "tokenizer_config.json", config)
    write_json(directory / "chat_template.json", {"chat_template": template})


def clip_vocabulary(merges_count):
    """CLIP's layout: bytes, bytes that end a word, merges, beginning and end of text."""
    letters = byte_characters()
    byte_of = dict(zip(sorted_bytes(), letters))
    pieces = re.findall(r"'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+", CORPUS.lower())
    words = []
    for piece in pieces:
        symbols = [byte_of[byte] for byte in piece.encode()]
        words.append((*symbols[:-1], symbols[-1] + "</w>"))
    merges = train_merges(words, merges_count)
    symbols = letters + [letter + "</w>" for letter in letters]
    symbols += [left + right for left, right in merges]
    symbols += ["<|startoftext|>", "<|endoftext|>"]
    return {symbol: rank for rank, symbol in enumerate(symbols)}, merges


def sorted_bytes():
    """The bytes in the order of `byte_characters`."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return printable + [byte for byte in range(256) if byte not in printable]


def write_clip_tokenizer(directory, vocab, merges, pad):
    """Writes `vocab.json`, `merges.txt` and their configuration; `pad` is the padding token."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (directory / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def token(content):
        return {
            "content": content,
            "lstrip": False,
            "normalized": True,
            "rstrip": False,
            "single_word": False,
        }

    special = {
        "bos_token": token("<|startoftext|>"),
        "eos_token": token("<|endoftext|>"),
        "pad_token": pad,
        "unk_token": token("<|endoftext|>"),
    }
    write_json(directory / "special_tokens_map.json", special)
    config = {
        "add_prefix_space": False,
        "bos_token": "<|startoftext|>",
        "clean_up_tokenization_spaces": True,
        "do_lower_case": True,
        "eos_token": "<|endoftext|>",
        "errors": "replace",
        "model_max_length": 77,
        "pad_token": pad,
        "tokenizer_class": "CLIPTokenizer",
        "unk_token": "<|endoftext|>",
    }
    write_json(directory / "tokenizer_config.json", config)
