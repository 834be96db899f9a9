"""Synthetic tasks, generated under a seed and never stored; no JAX.

example          what a task is made of: examples, episodes, and the protocol of a task
draws            random numbers that no version of Python changes
split            which side of the split an instance is on
template         how an example becomes text, in training and in prompts alike
independent      tasks whose every instance stands alone
arithmetic       numbers: Brown et al. 2020, section 3.9.1, and answers written backwards
modular          arithmetic modulo a prime
words, word_list scrambled words: Brown et al. 2020, section 3.9.2
sequences        copying, reversal, induction within a question
language         translation of a small artificial language
chains           problems of several steps, whose intermediate results can be written out
in_context       mappings that are new in every episode: lookup, cipher
registry         every task and suite by name: start here
demonstrations   solved problems as training documents
"""
