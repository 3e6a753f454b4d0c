"""A trained model as something to use: ``load`` opens a run, ``from_pretrained`` an export of one.

    import vae_jax

    model = vae_jax.load("runs/digits")
    mean, std = model.encode(x)  # [n, d] each
    images = model.sample(64, jax.random.key(0))  # [64, *event]

Everything goes in and comes out in the data's own units; no training data are needed.
"""
