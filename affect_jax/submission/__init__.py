"""Challenge entries: predictions written into the official files, and such files checked.

    formats.py    headers, fields and ranges of each track and edition
    official.py   the organisers' list: which videos and images count, in which order
    write.py      from folders of predictions to the files
    check.py      every row of the files against the list; needs neither jax nor predictions

Commands: `python -m affect_jax.submission --help`.
"""
