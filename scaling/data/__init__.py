"""Text in, batches of packed token rows out: deterministic, seekable, the same for any number of hosts.

    corpus               everything from one DataConfig: start here
    sources/             where documents come from: files, datasets, demonstrations of synthetic tasks
    tokenizers           text to token ids and back
    tokenizer_training   learns a tokenizer from a source
    store                a corpus tokenised once and memory-mapped from a cache; the train/validation split
    rows                 documents packed into rows, and rows that an objective makes examples of
    batches              the rows of step n on this host; iterators that can be saved; the validation set
    ahead                what a run would read, before it reads it

Shapes in names: B rows of a batch on this host, L positions of a row's inputs, T tokens of a split,
D documents, V vocabulary.
"""
