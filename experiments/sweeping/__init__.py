"""The parts of ``experiments/sweep.py``: which runs, which programs, training, evaluation, files.

grid.py       flags with several values -> runs
plan.py       runs -> programs: what differs in numbers only is trained together
training.py   one program from wherever it stopped to its end, halving on the way
finishing.py  a trained run -> its folder, its numbers, its row
curve.py      one network for all beta -> a row for each beta
"""
