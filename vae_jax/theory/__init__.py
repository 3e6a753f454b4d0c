"""The project's thesis in one folder: what a weight does can be known before training.

* ``known_losses``: what the losses of well-known implementations really weigh.
* ``prospects``: what every weight would do to some data, as a table over water levels.
* ``forecast``: what a weight, or a target, means for one given run.
* ``gains``: the set point and the gains of a controller, made of the forecast.

All of them stand on ``linear_vae`` (the optimum in closed form) and ``conventions`` (a weight is a water level).
"""
