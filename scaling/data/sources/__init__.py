"""Where documents come from. A source is a list of parts, and each part is read as a stream of documents.

interface     Source, Part, the counts of a source: start here
open          the table of kinds: `open_source`
files         local and remote files: found by a glob, opened, cut into byte ranges
compressed    gzip and zstandard, decompressed as they are read
text          text files; the embedded corpus
json_lines    JSON lines
tfds          TensorFlow Datasets, without TensorFlow
sampling      a sample of a source's text, for training a tokenizer
tasks         demonstrations of synthetic tasks
"""

from scaling.data.sources.interface import Document, Malformed, Part, Sample, Sampled, Source, Tally
from scaling.data.sources.open import OPENERS, open_source, split_rule
from scaling.data.sources.sampling import sampled_texts
from scaling.data.sources.tasks import TaskDocuments
from scaling.data.sources.text import OneText, TextFiles, stdlib_source

__all__ = [
    "OPENERS",
    "Document",
    "Malformed",
    "OneText",
    "Part",
    "Sample",
    "Sampled",
    "Source",
    "Tally",
    "TaskDocuments",
    "TextFiles",
    "open_source",
    "sampled_texts",
    "split_rule",
    "stdlib_source",
]
