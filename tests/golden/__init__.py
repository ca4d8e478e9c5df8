"""Comparison with stored outputs of the original systems: `python -m tests.golden FOLDER`.

A fixture is a folder with meta.json (sizes, options, meaning of the arrays), cases.npz (inputs
`in_*`, outputs `out_*`) and mostly weights.safetensors under the original names. Its adapter, in
tests/golden/adapters/, builds our side from these files alone and answers with our arrays under
the stored names; this package finds fixtures and adapters, compares and reports.
"""
