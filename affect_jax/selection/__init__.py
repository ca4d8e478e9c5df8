"""Selection of training rows by a policy that earns what a classifier says: pure functions.

A walk visits all rows one by one; at each the policy sees the row's feature and the mean feature
of the rows retained so far, and retains or removes it (`policy`, `walk`). The classifier then
trained on the retained rows gives rewards (`rewards`), and a policy gradient makes the policy
likelier to do what they favour (`update`). `sigmoid` is an older selector, a baseline.

All of it is JAX on arrays of one length, with masks: no files, no loop, nothing compiled anew when
another number of rows is retained.

Source: Li and Xu, "Deep reinforcement learning for robust emotional classification in facial
expression recognition", 2020 (RLPS).
"""
