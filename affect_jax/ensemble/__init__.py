"""Ensembles: several predictions of the same frames made one, fitted on some data, used on others.

recipe.py        how members become one: pure functions of arrays
ccc_weights.py   weights of the best CCC, from joint moments
choose.py        fits a recipe, with every choice made by folds over groups
member.py        what every member can do
members/         runs, folds, ensembles, folders of predictions and features as members
agree.py         what members must have in common
seen.py          which members know the labels of a split already
fitted.py        the ensemble as a folder, and its use on data
folder.py        what else lies there
report.py        what the command prints and draws
__main__.py      python -m affect_jax.ensemble
"""

from affect_jax.ensemble.fitted import Fitted
from affect_jax.ensemble.members import parse  # with it come all kinds that a file can name

__all__ = ["Fitted", "parse"]
