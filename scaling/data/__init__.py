"""Text in, batches of packed token rows out: deterministic, seekable, the same for any number of hosts.

    corpus               everything from one DataConfig: start here
    sources/             where documents come from: files, datasets, demonstrations of synthetic tasks
    tokenizers           text to token ids and back
    tokenizer_training   learns a tokenizer from a source
    store                a corpus tokenised once and memory-mapped from a cache; the train/validation split
    rows, best_fit       documents packed into rows, cut or in one piece; rows of an objective
    mixture              several corpora from one DataConfig
    apportionment        which source of a mixture each row is from
    sequences            the endless sequence of training rows, of one corpus or a mixture
    batches              the rows of step n on this host; iterators that can be saved
    validation           the validation set
    description          counts, lengths, packing and an example row
    ahead, mixture_ahead what a run would read, before it reads it

Shapes in names: B rows of a batch on this host, L positions of a row's inputs, T tokens of a split,
D documents, V vocabulary.
"""
