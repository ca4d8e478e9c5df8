"""Selection of training rows by a policy that earns what a classifier says, and other methods.

A walk visits all rows one by one; at each the policy sees the row's feature and the mean feature
of the rows retained so far, and retains or removes it (`policy`, `walk`). The classifier then
trained on the retained rows gives rewards (`rewards`), and a policy gradient makes the policy
likelier to do what they favour (`update`). `sigmoid` is an older selector, a baseline.

These are JAX on arrays of one length, with masks: no files, no loop, nothing compiled anew when
another number of rows is retained. The program `python -m affect_jax.selection` writes keep files
of what needs no policy: small loss, confident learning, oracle, random rows (`methods`), on the
training rows of a run (`candidates`).

Source: Li and Xu, "Deep reinforcement learning for robust emotional classification in facial
expression recognition", 2020 (RLPS).
"""
