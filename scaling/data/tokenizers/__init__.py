"""Text to token ids and back.

load            the tokenizer that a config names: start here
protocol        what every tokenizer can do
bytes           UTF-8 bytes
sentencepiece   SentencePiece models
hugging_face    the `tokenizers` library: byte-level BPE, WordPiece, Unigram
memo            ids of pieces of text that have occurred before
folder          the files of a Hugging Face tokenizer, and its special tokens
legacy          vocab.json with merges.txt, and vocab.txt
tiktoken        files of base64 ranks
"""

from scaling.data.tokenizers.bytes import ByteTokenizer
from scaling.data.tokenizers.hugging_face import HuggingFaceTokenizer
from scaling.data.tokenizers.load import load_tokenizer
from scaling.data.tokenizers.protocol import Tokenizer
from scaling.data.tokenizers.sentencepiece import SentencePieceTokenizer
from scaling.objectives.specials import SpecialTokens

__all__ = [
    "ByteTokenizer",
    "HuggingFaceTokenizer",
    "SentencePieceTokenizer",
    "SpecialTokens",
    "Tokenizer",
    "load_tokenizer",
]
