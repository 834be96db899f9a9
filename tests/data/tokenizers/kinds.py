"""Tokenizers of every kind, trained once per session with the settings that published ones have."""

import json

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)
SCRIPTS = (
    "the quick brown fox's we'll DON'T ſ éèñüß ﬁ½ Ａｂ Ünïcödé Жизнь Ωμέγα "
    "שלום مرحبا नमस्ते ไทย 日本語 한국어 中文 "
    "① 𝔘 a\u0301 e\u0323\u0302 😀 👩\u200d👩\u200d👧 🏳️\u200d🌈 🇩🇪 ✓ → ∑"
)
SPACES = [
    *(" ", "  ", "    ", "\t", "\n", "\n\n", "\r\n", "\r", "\u00a0", "\u2003", "\u3000", "\u200b", "\u2028"),
    *("\ufeff", "\0", "\x01", "\x7f", "\x85", "\u202e", "\ufffd", "\uf8ff", "\U0010fffd"),
]
MARKS = ["▁", "▁▁", "##", "</w>", "Ġ", "Ċ", "...", "!?", "()", "`'", '"', "``quoted''"]
CODE = ["123", "1234567", "3.14", "_x", "#include", "x=1;", "0x1F", "http://a.b/c?d=e"]
PIECES = [*SCRIPTS.split(), *SPACES, *MARKS, *CODE]
INJECTIONS = [
    "<|endoftext|>", "<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<s>", "</s>", "<pad>", "<mask>",
    "[CLS]", "[SEP]", "[MASK]", "[PAD]", "<extra_id_0>", "<cls>", "<sep>",
]  # fmt: skip


def _bpe(special, *, pattern=None, normalizer=None, prefix_space=False, ignore_merges=False, late=()):
    def build(texts):
        tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
        tokenizer.normalizer = normalizer
        if pattern:
            tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
                ]
            )
        else:
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=900,
            special_tokens=list(special),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in late])
        return tokenizer

    return build


def _llama2(texts):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(
        vocab_size=900,
        special_tokens=["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
        limit_alphabet=150,
        max_token_length=8,
    )
    # Pieces do not cross spaces; encoding has no pre-tokeniser, as in LLaMA 2.
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer.train_from_iterator(texts, trainer)
    tree = json.loads(tokenizer.to_str())
    tree["pre_tokenizer"] = None
    tree["added_tokens"] = tree["added_tokens"][:3]
    tree["decoder"] = json.loads(
        decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        ).__getstate__()
    )
    return Tokenizer.from_str(json.dumps(tree))


def _wordpiece(lowercase):
    def build(texts):
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(
            vocab_size=900,
            special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
            limit_alphabet=200,
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return tokenizer

    return build


def _unigram(special, *, normalizer, split=True, late=()):
    def build(texts):
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizer
        space = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
        tokenizer.pre_tokenizer = (
            pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), space]) if split else space
        )
        tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
        trainer = trainers.UnigramTrainer(
            vocab_size=700, special_tokens=list(special), unk_token="<unk>", show_progress=False
        )
        tokenizer.train_from_iterator(texts, trainer)
        tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in late])
        return tokenizer

    return build


_MARKS = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_QWEN_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_LLAMA3_SPECIAL = ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>")
# name: (how it is made, its tokenizer_config.json)
KINDS = {
    "gpt2": (_bpe(["<|endoftext|>"]), {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}),
    "roberta": (
        _bpe(["<s>", "<pad>", "</s>", "<unk>", "<mask>"]),
        {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>",
         "mask_token": "<mask>", "pad_token": "<pad>", "unk_token": "<unk>"},
    ),
    "llama3": (
        _bpe([], pattern=LLAMA3, ignore_merges=True, late=_LLAMA3_SPECIAL),
        {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"},
    ),
    "qwen2": (
        _bpe([], pattern=QWEN2, normalizer=normalizers.NFC(), late=_QWEN_SPECIAL),
        {"bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    ),
    "llama2": (_llama2, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}),
    "bert-uncased": (_wordpiece(True), _MARKS),
    "bert-cased": (_wordpiece(False), _MARKS),
    "t5": (
        _unigram(
            ["<pad>", "</s>", "<unk>"],
            normalizer=normalizers.NFKC(),
            late=[f"<extra_id_{number}>" for number in reversed(range(10))],
        ),
        {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"},
    ),
    "albert": (
        _unigram(
            ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"],
            normalizer=normalizers.Sequence(
                [
                    normalizers.Replace("``", '"'),
                    normalizers.Replace("''", '"'),
                    normalizers.NFKD(),
                    normalizers.StripAccents(),
                    normalizers.Lowercase(),
                    normalizers.Replace(Regex(" {2,}"), " "),
                ]
            ),
            split=False,
        ),
        _MARKS | {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "[CLS]", "eos_token": "[SEP]"},
    ),
    "xlnet": (
        _unigram(
            ["<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>"],
            normalizer=normalizers.Sequence(
                [normalizers.NFKD(), normalizers.Replace(Regex(" {2,}"), " ")]
            ),
        ),
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "<sep>",
         "pad_token": "<pad>", "cls_token": "<cls>", "mask_token": "<mask>"},
    ),
}  # fmt: skip
BYTE_LEVEL = ("gpt2", "roberta", "llama3", "qwen2")
LOSSLESS = ("gpt2", "roberta", "llama3")
