"""Text in, batches of packed token rows out: deterministic, seekable, the same for any number of hosts.

    sources, tfds_source        documents: random access to texts
    task_documents              demonstrations of synthetic tasks, trained on beside the text
    tokenizers                  text <-> token ids
    tokenizer_training          learns a SentencePiece model from a source
    content_hash                which side of the split a document is on, and where in the order
    store                       a corpus tokenised once, memory-mapped from a cache
    packing                     documents concatenated and cut into rows
    objective_rows              rows of an objective other than causal
    batch_schedule, batches     rows of step n on this host; iterators that can be saved and restored
    validation                  the fixed validation set, and its size in bytes of text
    corpus                      all of it from one DataConfig: start here

Shapes in names: B rows of a batch on this host, L positions of a row's inputs, T tokens of a split,
D documents, V vocabulary.
"""
