"""Models as Flax NNX modules used functionally: a module is a pytree, its call a pure function.

Shapes live in names. The legend for the complete package:

    B  batch                 D  model width            F  feed-forward width
    L  query length          H  heads                  V  vocabulary
    M  key length            K  key-value heads        N  layers
    T  tokens (B x L)        E  head width             X  experts

so `x_BLD` is (batch, length, width) and `head_VD` is (vocabulary, width).
"""
