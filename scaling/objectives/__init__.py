"""Objectives: rows of text and a seed in, (inputs, targets, weights) out; pure, and NumPy alone.

    draws            random numbers by counter: a row's depend on its number and the seed, on nothing else
    specials         ids of [MASK], [CLS], [SEP], sentinels and the decoder's start
    prefix           where the prefix of each document ends
    masked, words    which positions are masked, and what becomes of them
    sentence_pairs   rows of two segments, for next-sentence and sentence-order prediction
    spans            which tokens are dropped, and the source and target without and of them
    build            the function of a configured objective: start here

Shapes in names: B rows, L positions of `inputs`, T positions of an encoder-decoder's target, W tokens of the
window of text a row is made from, S segments or spans, D documents, V vocabulary.
"""
