"""What the bridge's equations give, written down naively.

    tests/parity/bridge.py --out DIR [--seed N] [--frozen]

Every mode's transformation matrix M is really built (sparse), R^SD = R~ - sg[avg(R M)] + avg(R M)
is formed as it stands and multiplied by the token tables of two encoders, and a scalar of both is
differentiated by the language model's logits. `--frozen` leaves out the published vocabularies of
Llama 3 and CLIP. Logits, noise, tables and probes are not stored: both sides draw them from the
seeds in `DIR/expected.json`. `DIR/gumbel.safetensors` holds draws of
`torch.nn.functional.gumbel_softmax`; `DIR/gradients.safetensors` gradients, each row projected on
random directions, with its norm.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import CLIPTokenizer, PreTrainedTokenizerFast

from prompt import published_clip, published_llama
from vocabularies import (
    byte_characters,
    clip_vocabulary,
    llama_tokenizer,
    sorted_bytes,
    write_clip_tokenizer,
    write_llama_tokenizer,
)

CAPTIONS = [
    "a small black cat on a table",
    "Two people, sharing a BIG birthday-cake!",
    "antidisestablishmentarianism and floccinaucinihilipilification",
    "12 red balloons, 3.14 metres & 1,000,000 candles (№7) at 12:30",
    "🐱 a kitten 👩‍👩‍👧 with 🇩🇪 flags 👍🏽 and ☺️",
    "naïve café in Ångström, Straße İstanbul, e\u0301 and é",
    "שלום עולם beside مرحبا بالعالم on the wall",
    "日本語のテキスト 漢字 beside ไทย",
    "  two  spaces\tand a tab, the the the\u00a0cat",
    "a photo of a large brown bear that stands near the river, " * 8 + "and a ZEBRA",
    "bokeh DSLR close-up of tiramisu on Kenji's weathered-oak workbench!!!",
]
SETTINGS = [(0.7, 0.0, "mean"), (1e-3, 0.5, "mean"), (1.0, 0.0, "sum")]
MODES = ["static_raw", "static_folded", "sentence", "word", "position"]
WIDTHS = (6, 9)
DIRECTIONS = 16
# Characters with Unicode's property White_Space.
WHITE = "\t\n\x0b\x0c\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B)))
WHITE += "\u2028\u2029\u202f\u205f\u3000"
BYTE_OF = dict(zip(byte_characters(), sorted_bytes()))


def token_bytes(token):
    """The bytes that a token of byte-level BPE writes."""
    return bytes(BYTE_OF[character] for character in token)


class Llama:
    """Llama's vocabulary with the bytes of every token of text."""

    def __init__(self, directory):
        special = json.loads((directory / "special_tokens_map.json").read_text())
        self.tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(directory / "tokenizer.json"),
            clean_up_tokenization_spaces=False,
            **special,
        )
        self.controls = sorted(self.tokenizer.added_tokens_decoder)
        vocab = self.tokenizer.get_vocab()
        self.size = max(vocab.values()) + 1
        self.bytes = {
            id: token_bytes(token) for token, id in vocab.items() if id not in self.controls
        }

    def encode(self, text):
        """Ids and character ranges."""
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return encoded.input_ids, encoded.offset_mapping

    def read(self, ids):
        """What ids say, trimmed, and the characters of it that each wrote."""
        written, ranges = b"", []
        for id in ids:
            begin = len(written)
            written += self.bytes.get(id, b"")
            ranges.append((begin, len(written)))
        text, begins, at = "", [], 0
        while at < len(written):
            try:
                good, bad = written[at:].decode(), 0
            except UnicodeDecodeError as error:
                good, bad = written[at : at + error.start].decode(), error.end - error.start
            for character in good:
                begins += [len(text)] * len(character.encode())
                text += character
            if bad:
                begins += [len(text)] * bad
                text += "\ufffd"
            at = len(begins)
        cut = len(text) - len(text.lstrip(WHITE))
        trimmed = text.strip(WHITE)

        def place(character):
            return min(max(character - cut, 0), len(trimmed))

        spans = [
            (place(begins[begin]), place(begins[end - 1] + 1)) if begin < end else (0, 0)
            for begin, end in ranges
        ]
        return trimmed, spans


class Clip:
    """One encoder's vocabulary."""

    def __init__(self, directory):
        self.tokenizer = CLIPTokenizer.from_pretrained(directory)
        self.vocab = json.loads((directory / "vocab.json").read_text())
        self.size = len(self.vocab)

    def encode(self, text):
        """Padded ids, and the content's ids and character ranges, as far as there is room."""
        padded = self.tokenizer(text, padding="max_length", max_length=77, truncation=True)
        content = self.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        return padded.input_ids, content.input_ids[:75], content.offset_mapping[:75]

    def strings(self):
        """The bytes of every token of text, without the end-of-word mark."""
        return {
            id: token_bytes(token.removesuffix("</w>"))
            for token, id in self.vocab.items()
            if token not in ("<|startoftext|>", "<|endoftext|>")
        }


def words(text):
    """Runs of anything but white space."""
    found, begin = [], None
    for at, character in enumerate(text + " "):
        if character in WHITE and begin is not None:
            found.append((begin, at))
            begin = None
        elif character not in WHITE and begin is None:
            begin = at
    return found


def meet(a, b):
    return a[0] < b[1] and b[0] < a[1]


def matrix(entries, llama, clip):
    """Sparse M [V_LLM, V_SD] of (i, j, value)."""
    places = torch.tensor([[i, j] for i, j, _ in entries], dtype=torch.long).reshape(-1, 2).T
    values = torch.tensor([value for _, _, value in entries], dtype=torch.float32)
    return torch.sparse_coo_tensor(places, values, (llama.size, clip.size)).coalesce()


def static_entries(llama, clip, folded):
    """Eq. 3: the same strings."""

    def string(written):
        if not folded:
            return written
        try:
            return written.decode().strip(WHITE).lower() or None
        except UnicodeDecodeError:
            return None

    by_string = {}
    for j, written in clip.strings().items():
        by_string.setdefault(string(written), []).append(j)
    by_string.pop(None, None)
    return [
        (i, j, 1.0)
        for i, written in llama.bytes.items()
        for j in by_string.get(string(written), [])
    ]


def position_entries(llama, clip):
    """A: each token's mean over the encoder's tokens of its text."""
    texts = {}
    for i, written in llama.bytes.items():
        try:
            texts[i] = written.decode()
        except UnicodeDecodeError:
            pass
    ids = list(texts)
    encoded = clip.tokenizer([texts[i] for i in ids], add_special_tokens=False).input_ids
    return [
        (i, j, 1 / len(own[:75])) for i, own in zip(ids, encoded) for j in own[:75]
    ]


def sentence_entries(text, tokens, encoded):
    """Eq. 4: every token of the caption to every token of the caption, as far as it is read."""
    ids, spans = tokens
    _, content, places = encoded
    survivors = [word for word in words(text) if any(meet(word, place) for place in places)]
    whole = not survivors or survivors[-1] == words(text)[-1]
    t_llm = {id for id, span in zip(ids, spans) if whole or span[0] < survivors[-1][1]}
    return [(i, j, 1.0) for i in t_llm for j in set(content)]


def word_entries(word, tokens, encoded):
    """Every token of a word to every token of the same word."""
    t_llm = {id for id, span in zip(*tokens) if meet(span, word)}
    t_sd = {id for id, place in zip(*encoded[1:]) if meet(place, word)}
    return [(i, j, 1.0) for i in t_llm for j in t_sd]


def averages(mode, r, text, positions, tokens, encoded, whole, pool, llama, clip):
    """avg(R M) at each content position, [p, V_SD]."""
    places = encoded[2]

    def reach(rows, m):
        return pool(torch.sparse.mm(m.t(), r[rows].T).T)

    everything = list(range(len(r)))
    if mode in ("static_raw", "static_folded"):
        return reach(everything, whole[mode]).expand(len(places), -1)
    if mode == "sentence":
        m = matrix(sentence_entries(text, tokens, encoded), llama, clip)
        return reach(everything, m).expand(len(places), -1)
    rows = []
    for place in places:
        if mode == "word":
            word = next(word for word in words(text) if meet(word, place))
            m = matrix(word_entries(word, tokens, encoded), llama, clip)
            written = [i for i in everything if meet(positions[i], word)]
        else:
            m = whole[mode]
            written = [i for i in everything if meet(positions[i], place)]
        rows.append(reach(written, m))
    return torch.stack(rows)


def embeddings(averaged, encoded, table):
    """R~ - sg[avg(R M)] + avg(R M) at the content positions, R~ at the others; times E."""
    padded, content, _ = encoded
    hard = torch.nn.functional.one_hot(torch.tensor(padded), len(table)).float()
    first = 1
    if not content:
        return hard @ table
    soft = hard[first : first + len(content)] - averaged.detach() + averaged
    return torch.cat([hard[:first], soft, hard[first + len(content) :]]) @ table


def straight_through(logits, noise, tau, floor, controls):
    """Eq. 2 with the control tokens masked out; the softmax is taken no colder than the floor."""
    masked = logits.clone()
    masked[:, controls] = -torch.inf
    perturbed = masked + noise
    soft = torch.softmax(perturbed / max(tau, floor), -1)
    tokens = perturbed.argmax(-1)
    hard = torch.zeros_like(soft).scatter_(-1, tokens[:, None], 1.0)
    return hard - soft.detach() + soft, tokens.tolist()


def caption_case(name, caption, setting, seed, llama, clips, tables, wholes, tensors):
    """All modes and both drivers for one caption."""
    tau, floor, pooling = setting
    generator = torch.Generator().manual_seed(seed)
    gold, gold_spans = llama.encode(caption)
    size = (len(gold), llama.size)
    logits = torch.randn(size, generator=generator) * 2
    logits[torch.arange(len(gold)), torch.tensor(gold)] += 5
    uniform = torch.rand(size, generator=generator).clamp(1e-7, 1 - 1e-7)
    noise = -torch.log(-torch.log(uniform))
    probes = [torch.randn((77, d), generator=generator) for d in WIDTHS]
    directions = torch.randn((llama.size, DIRECTIONS), generator=generator)
    pool = {"mean": lambda x: x.mean(0), "sum": lambda x: x.sum(0)}[pooling]
    logits.requires_grad_(True)
    r, drawn = straight_through(logits, noise, tau, floor, llama.controls)
    own_text, own_spans = llama.read(drawn)
    drivers = {"gold": (caption, gold_spans), "own": (own_text, own_spans)}
    for driver, (text, positions) in drivers.items():
        tokens = llama.encode(text)
        for mode in MODES:
            value = 0.0
            for clip, whole, table, probe in zip(clips, wholes, tables, probes):
                encoded = clip.encode(text)
                averaged = None
                if encoded[1]:
                    averaged = averages(
                        mode, r, text, positions, tokens, encoded, whole, pool, llama, clip
                    )
                embedded = embeddings(averaged, encoded, table)
                assert torch.allclose(embedded, table[encoded[0]], atol=1e-3)
                value = value + (embedded * probe).sum()
            (gradient,) = torch.autograd.grad(value, logits, retain_graph=True, allow_unused=True)
            if gradient is None:
                gradient = torch.zeros_like(logits)
            summary = torch.cat([gradient @ directions, gradient.norm(dim=1, keepdim=True)], 1)
            tensors[f"{name}.{driver}.{mode}"] = summary.contiguous()
    return {
        "name": name,
        "caption": caption,
        "seed": seed,
        "tau": tau,
        "floor": floor,
        "pooling": pooling,
        "drawn": drawn,
        "own": own_text,
        "own_ids": [clip.encode(own_text)[0] for clip in clips],
    }


def vocabulary_cases(out, name, tokenizer, vocab, merges, seed, tensors):
    """All captions through one pair of vocabularies."""
    write_llama_tokenizer(out / name / "llama", tokenizer)
    pads = {"tokenizer": "<|endoftext|>", "tokenizer_2": "!"}
    for part, pad in pads.items():
        write_clip_tokenizer(out / name / "clip" / part, vocab, merges, pad)
    llama = Llama(out / name / "llama")
    clips = [Clip(out / name / "clip" / part) for part in pads]
    raw = static_entries(llama, clips[0], folded=False)
    folded = static_entries(llama, clips[0], folded=True)
    wholes = [
        {
            "static_raw": matrix(raw, llama, clip),
            "static_folded": matrix(folded, llama, clip),
            "position": matrix(position_entries(llama, clip), llama, clip),
        }
        for clip in clips
    ]
    generator = torch.Generator().manual_seed(seed)
    tables = [torch.randn((clip.size, d), generator=generator) for clip, d in zip(clips, WIDTHS)]
    cases = [
        caption_case(
            f"{name}.{at}",
            caption,
            SETTINGS[at % len(SETTINGS)],
            seed * 1000 + at + 1,
            llama,
            clips,
            tables,
            wholes,
            tensors,
        )
        for at, caption in enumerate(CAPTIONS)
    ]
    return {
        "directory": name,
        "tables_seed": seed,
        "static_raw": [len({i for i, _, _ in raw}), len(raw)],
        "static_folded": [len({i for i, _, _ in folded}), len(folded)],
        "cases": cases,
    }


def gumbel_cases(seed):
    """torch.nn.functional.gumbel_softmax(hard=True), with the noise that it drew."""
    tensors = {}
    for at, tau in enumerate((1.0, 0.5, 0.1, 1e-2)):
        torch.manual_seed(seed + at)
        logits = torch.randn(7, 40) * 3
        weight = torch.randn(7, 40)
        torch.manual_seed(seed + at)
        noise = -torch.empty_like(logits).exponential_().log()
        logits.requires_grad_(True)
        torch.manual_seed(seed + at)
        value = torch.nn.functional.gumbel_softmax(logits, tau=tau, hard=True)
        (value * weight).sum().backward()
        case = {"logits": logits, "weight": weight, "noise": noise, "value": value}
        case["gradient"] = logits.grad
        case["tau"] = torch.tensor([tau])
        for key, tensor in case.items():
            tensors[f"{at}.{key}"] = tensor.detach().contiguous().clone()
    return tensors


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frozen", action="store_true")
    arguments = parser.parse_args()
    out, seed = arguments.out, arguments.seed
    out.mkdir(parents=True, exist_ok=True)
    torch.sparse.check_sparse_tensor_invariants.enable()
    tensors = {}
    small = vocabulary_cases(
        out, "small", llama_tokenizer(132), *clip_vocabulary(102), seed, tensors
    )
    vocabularies = [small]
    if not arguments.frozen:
        tokenizer, _ = published_llama()
        published = vocabulary_cases(
            out, "published", tokenizer, *published_clip(), seed, tensors
        )
        vocabularies.append(published)
    save_file(gumbel_cases(seed), str(out / "gumbel.safetensors"))
    save_file(tensors, str(out / "gradients.safetensors"))
    text = json.dumps({"vocabularies": vocabularies}, ensure_ascii=False)
    (out / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
