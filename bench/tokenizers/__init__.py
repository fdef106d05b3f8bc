"""Frozen image tokenizers.

`spec`: facts without weights. `builtin`, `dalle`: the specs of the package. `base`: the base class
of the modules; `loading`, `autoencoders`, `dalle_network`, `dalle_pickles` build them.
`evaluation`, `model_cards`: measured reconstruction. `embedded_training`: how tiny-kl and tiny-vq
were trained.
"""
