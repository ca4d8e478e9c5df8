from typing import Any

import pytest

from affect_jax.kinds import expected, fits, kind_of


@pytest.mark.parametrize(
    ("value", "kind", "right"),
    [
        (1, int, True),
        (True, int, False),
        (1.0, int, False),
        (1, float, True),
        (10**400, float, True),
        (float("nan"), float, False),
        (float("inf"), float, False),
        (True, float, False),
        (True, bool, True),
        (1, bool, False),
        ("a", str, True),
        ("\udcff", str, False),
        ("a\0", str, False),
        ((1, 2), tuple[int, ...], True),
        ([1, 2], tuple[int, ...], True),
        ((), tuple[int, ...], True),
        ((1, "2"), tuple[int, ...], False),
        ("ab", tuple[str, ...], False),
        (((0.5, 1),), tuple[tuple[float, ...], ...], True),
        ((0.5,), tuple[tuple[float, ...], ...], False),
        (object(), Any, True),
    ],
)
def test_what_fits_a_kind(value, kind, right):
    assert fits(value, kind) is right


@pytest.mark.parametrize(
    ("default", "kind"),
    [
        (1, int),
        (False, bool),
        ("a", str),
        ((), tuple[str, ...]),
        ((8, 4), tuple[int, ...]),
        (((0.5,),), tuple[tuple[float, ...], ...]),
    ],
)
def test_the_kind_of_a_default(default, kind):
    assert kind_of(default) == kind and fits(default, kind) and expected(kind)
