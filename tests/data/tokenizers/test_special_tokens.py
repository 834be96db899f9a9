"""Special ids come from the tokenizer's own files, and separate documents."""

import json

import pytest

from scaling.data.tokenizers import SpecialTokens, load_tokenizer
from tests.data.tokenizers.kinds import KINDS
from tests.data.tokenizers.small import END, bpe_tree, write_bpe

transformers = pytest.importorskip("transformers")

ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
ENDS = {  # what separates documents, where it is not eos
    "qwen2": "<|endoftext|>",  # eos of this chat tokenizer is <|im_end|>
    "bert-uncased": "[SEP]",
    "bert-cased": "[SEP]",
}


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_those_of_transformers(folders, kind):
    ours = load_tokenizer(f"hf:{folders[kind]}")
    theirs = transformers.AutoTokenizer.from_pretrained(folders[kind])
    for role in ROLES:
        assert getattr(ours.special, role) == getattr(theirs, f"{role}_token_id"), role
    end = theirs.convert_tokens_to_ids(ENDS[kind]) if kind in ENDS else theirs.eos_token_id
    assert ours.end_of_text == end
    assert ours.vocab_size == len(theirs)
    assert ours.byte_lengths()[ours.end_of_text] == 0
    assert ours.decode([ours.end_of_text]) == ""


def test_sentinels_of_t5_count_from_the_first(folders):
    tokenizer = load_tokenizer(f"hf:{folders['t5']}")
    size = tokenizer.vocab_size
    assert tokenizer.special.sentinels == tuple(size - 1 - number for number in range(10))
    assert load_tokenizer(f"hf:{folders['gpt2']}").special.sentinels == ()


def settled(tmp_path, special, **files):
    """(tokens by role, token at the end of documents) of a tokenizer with these special tokens and files."""
    tree = bpe_tree(special=special)
    tokenizer = load_tokenizer(f"hf:{write_bpe(tmp_path / 'folder', tokenizer=tree, **files)}")
    names = {token["id"]: token["content"] for token in tree["added_tokens"]}
    found = {role: names[i] for role, i in tokenizer.special.to_dict().items()}
    return found, names[tokenizer.end_of_text]


@pytest.mark.parametrize(
    ("special", "files", "found", "end"),
    [
        # Nothing but tokenizer.json: the usual names.
        ((END, "<|padding|>"), {"tokenizer_config": None}, {"eos": END, "pad": "<|padding|>"}, END),
        (("<s>", "</s>"), {"tokenizer_config": None}, {"bos": "<s>", "eos": "</s>"}, "</s>"),
        # A name in one file or another, as text or as a mapping.
        (("<a>", "<b>"), {"tokenizer_config": {"eos_token": "<b>"}}, {"eos": "<b>"}, "<b>"),
        (("<a>", "<b>"), {"tokenizer_config": {"eos_token": {"content": "<b>"}}}, {"eos": "<b>"}, "<b>"),
        (
            ("<a>", "<b>"),
            {
                "tokenizer_config": {},
                "special_tokens_map": {"eos_token": "<b>", "mask_token": {"content": "<a>"}},
            },
            {"eos": "<b>", "mask": "<a>"},
            "<b>",
        ),
        # The ids of the model's config, a number or a list.
        (("<a>", "<b>"), {"tokenizer_config": None, "config": {"eos_token_id": 261}}, {"eos": "<b>"}, "<b>"),
        (
            ("<a>", "<b>"),
            {"tokenizer_config": None, "config": {"eos_token_id": [260, 261], "bos_token_id": None}},
            {"eos": "<a>"},
            "<a>",
        ),
        # null says that there is none, and a name without a token is none.
        ((END, "<s>"), {"tokenizer_config": {"eos_token": END, "bos_token": None}}, {"eos": END}, END),
        ((END,), {"tokenizer_config": {"eos_token": END, "pad_token": "[PAD]"}}, {"eos": END}, END),
        # Without an end, [SEP].
        (("[CLS]", "[SEP]"), {"tokenizer_config": {}}, {"cls": "[CLS]", "sep": "[SEP]"}, "[SEP]"),
        # RoBERTa's files name nothing.
        (
            ("<s>", "<pad>", "</s>", "<mask>"),
            {"tokenizer_config": {}},
            {"bos": "<s>", "eos": "</s>", "cls": "<s>", "sep": "</s>", "pad": "<pad>", "mask": "<mask>"},
            "</s>",
        ),
        # The end of a turn is no end of a document.
        (
            ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"),
            {"tokenizer_config": {"eos_token": "<|eot_id|>"}},
            {"bos": "<|begin_of_text|>", "eos": "<|eot_id|>"},
            "<|end_of_text|>",
        ),
        ((END, "<|im_end|>"), {"tokenizer_config": {"eos_token": "<|im_end|>"}}, {"eos": "<|im_end|>"}, END),
        (
            ("<|im_end|>",),
            {"tokenizer_config": {"eos_token": "<|im_end|>"}},
            {"eos": "<|im_end|>"},
            "<|im_end|>",
        ),
    ],
)
def test_where_names_come_from(tmp_path, special, files, found, end):
    assert settled(tmp_path, special, **files) == (found, end)


def test_added_tokens_of_the_settings(tmp_path):
    config = {
        "eos_token": END,
        "added_tokens_decoder": {
            "260": {"content": END, "special": True},
            "261": {"content": "<|turn|>", "special": True},
            "262": {"content": "<plain>", "special": False},
        },
    }
    folder = write_bpe(tmp_path / "folder", tokenizer_config=config)
    ours = load_tokenizer(f"hf:{folder}")
    assert ours.vocab_size == 263
    assert ours.encode("<plain>a<|turn|>").tolist()[:2] == [262, ord("a")]
    assert 261 not in ours.encode("<|turn|>")
    assert ours.byte_lengths()[[261, 262]].tolist() == [0, len("<plain>")]
    assert ours.decode([262, 261]) == "<plain>"
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": END}))
    (folder / "added_tokens.json").write_text(json.dumps({"<plain>": 261, END: 260}))
    assert load_tokenizer(f"hf:{folder}").encode("<plain>").tolist() == [261]


def test_a_file_in_a_folder_is_read_with_its_settings(tmp_path):
    tree = bpe_tree(special=("<a>", "<b>"))
    folder = write_bpe(tmp_path / "folder", tokenizer=tree, tokenizer_config={"eos_token": "<b>"})
    one, all_ = load_tokenizer(f"hf:{folder}/tokenizer.json"), load_tokenizer(f"hf:{folder}")
    assert (one.identity, one.end_of_text) == (all_.identity, 261)


def test_tokens_as_plain_numbers():
    special = SpecialTokens(eos=3, mask=9, sentinels=(20, 19))
    assert special.to_dict() == {"eos": 3, "mask": 9, "sentinel": 20}


def test_words_by_the_marks_of_each_kind(folders):
    def words(kind, text):
        tokenizer = load_tokenizer(f"hf:{folders[kind]}")
        flags, ids = tokenizer.word_flags(), tokenizer.encode(text)
        found = []
        for at, token in enumerate(ids):
            if at and flags.continues[token] and flags.open[ids[at - 1]]:
                found[-1].append(token)
            else:
                found.append([token])
        assert len(flags.open) == len(flags.continues) == tokenizer.vocab_size
        assert not flags.open[tokenizer.end_of_text] and not flags.continues[tokenizer.end_of_text]
        return [tokenizer.decode(word).strip(" ") for word in found]

    assert words("gpt2", "the qzjxv\nof") == ["the", "qzjxv", "\n", "of"]
    assert words("bert-cased", "qzjxv, of them") == ["qzjxv", ",", "of", "them"]
    assert words("t5", "the qzjxv of") == ["the", "qzjxv", "of"]


@pytest.mark.parametrize("declared", [False, True])
def test_padding_that_is_an_ordinary_token_stays_one(tmp_path, declared):
    tree = bpe_tree()
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    if declared:
        tree["added_tokens"].append({"id": ord("!"), "content": "!", **flags})
    config = {"eos_token": END, "pad_token": "!"}
    folder = write_bpe(tmp_path / "folder", tokenizer=tree, tokenizer_config=config)
    tokenizer = load_tokenizer(f"hf:{folder}")
    assert tokenizer.special.pad == ord("!")
    assert tokenizer.encode("a!").tolist() == [ord("a"), ord("!")]
    assert tokenizer.decode(tokenizer.encode("a!")) == "a!" and tokenizer.byte_lengths()[ord("!")] == 1
    theirs = transformers.AutoTokenizer.from_pretrained(folder, split_special_tokens=True)
    assert theirs("a!b", add_special_tokens=False)["input_ids"] == tokenizer.encode("a!b").tolist()


def test_an_end_that_is_also_the_unknown_token(tmp_path):
    tree = bpe_tree()
    tree["model"]["unk_token"] = END
    tree["model"]["vocab"][END] = 260
    tokenizer = load_tokenizer(f"hf:{write_bpe(tmp_path / 'folder', tokenizer=tree)}")
    assert tokenizer.end_of_text == 260
    assert 260 not in tokenizer.encode(f"a{END}\n{END}")
    assert tokenizer.decode(tokenizer.encode(END)) == END
