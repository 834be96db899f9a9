"""Learning a tokenizer from a source: deterministic, written completely or not at all.

train           a tokenizer of one of the kinds, as a folder: start here
byte_level      byte-level BPE, as GPT-2's
wordpiece       WordPiece, as BERT's
unigram         Unigram with bytes for unknown characters
sentencepiece   SentencePiece models, which Unigram is learned with
"""

from scaling.data.tokenizer_training.sentencepiece import train_sentencepiece
from scaling.data.tokenizer_training.train import KINDS, train_tokenizer

__all__ = ["KINDS", "train_sentencepiece", "train_tokenizer"]
