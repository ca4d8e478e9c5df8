"""Keys of the system "rlps" (affect_jax/systems/rlps.py): a selector of training rows."""

from ml_collections import ConfigDict


def rlps_keys(system: str) -> ConfigDict:
    """`config.rlps` with the values of configs/rlps.py.

    A key that the others leave unread, `bag` of the method rlps say, keeps its value here: another
    one is refused.

    Args:
        system: that of the classifier, which trains it where nothing is selected.
    """
    r = ConfigDict()
    # System of the classifier: image, audio, supervised, or the whole path of a .py file. Its rows
    # have one label of the one `classes` task: clips, or frames (config.data.length = 1), and its
    # model gives an array "embedding".
    r.system = system
    # rlps: a policy that is rewarded for each row. sigmoid: the instance selector of Feng et al.
    # (AAAI 2018), a linear policy that is rewarded for each bag of rows; `lr` and `bag` are its.
    r.method = "rlps"
    # Turns of selection and training, an epoch each: the last of config.epochs. The epochs before
    # them see all rows; with config.init.run set config.epochs to this, and there are none.
    r.alternations = 20
    r.policy_passes = 5  # turns before, in which the policy alone learns, with the classifier fixed
    # The policy: dnn, hidden layers of these widths, or linear, which has none.
    r.policy = ConfigDict(dict(name="dnn", widths=(128, 64, 32, 16)))
    r.first_rate = 0.5  # P(retain) of every row before the policy has learned
    # Reward of a row: the probability of its label less the mean of all rows (probability) or of
    # the rows of its label (class), or for all the change of the macro F1 on `held_out` (f1).
    r.reward = "probability"
    # Share of the training rows, cut by group with the seed, that is scored for reward f1 and
    # neither trained on nor selected in the turns; rounded to 1/2, 1/3, 1/4 and so on. What the
    # policy retains at the end is chosen from all rows, these too.
    r.held_out = 0.1
    # What multiplies the log-probability of an action: the reward, negative where the row was
    # removed (signed), zero there (retain), or the same for both (literal), a control: it has no
    # gradient in the mean.
    r.returns = "signed"
    r.entropy = 0.0  # weight of the policy's entropy, which keeps it from certainty
    # Of the policy: Adam's; sigmoid: a step's while it learns alone (.00125 in the original), a
    # twentieth of it beside the classifier.
    r.lr = 1e-3
    r.minibatch = 1024  # rows of an update of the policy
    r.bag = 128  # sigmoid: rows of a bag, after which the mean of the retained begins anew
    return r
