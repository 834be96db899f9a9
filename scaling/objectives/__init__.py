"""Objectives: rows of text and a seed in, (inputs, targets, weights) out; pure functions in NumPy.

    build     the function of a configured objective: start here
    masked    masked tokens, masked words and pairs of segments (BERT)
    spans     span corruption (T5, UL2) and the prefix language model
    draws     random numbers by counter, so that a row depends only on its number and the seed
    specials  ids of [MASK], [CLS], [SEP] and sentinels

Shapes in names: B rows, L positions of `inputs`, T positions of an encoder-decoder's target, W tokens of the
window of text that a row is made from, S segments or spans, D documents, V vocabulary.
"""
