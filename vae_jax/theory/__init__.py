"""The project's thesis in one folder: what a weight does can be known before training.

* ``known_losses``: what the losses of well-known implementations really weigh.
* ``prospects``: what every weight would do to some data, as a table over water levels.
* ``finite_data``: which directions are noise of too few examples, and what a linear VAE is worth on new data.
* ``fields``: what codes of patches of images can keep at a rate, and what any code of a Gaussian field could.
* ``forecast``: what a weight, or a target, means for one given run.
* ``saddle``, ``dynamics``, ``waking``: when the latents wake under any schedule, and how long a ramp must be.
* ``gains``: the set point and the gains of a controller, made of the forecast.

All of them stand on ``linear_vae`` (the optimum in closed form) and ``conventions`` (a weight is a water level).
"""
