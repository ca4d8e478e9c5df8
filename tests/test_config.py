import ml_collections
import pytest

from affect_jax import config as configs
from data_pipelines.errors import UserError


@pytest.fixture
def config():
    return ml_collections.ConfigDict(
        dict(
            a=dict(i=1, f=2.0, s="x", b=True, t=("p", "q"), n=(1, 2), pairs=(("m", 0.5),), e=()),
            top=3,
        )
    )


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("a.i", "7", 7),
        ("a.f", "1", 1.0),
        ("a.f", "1e-3", 1e-3),
        ("a.s", "a=b", "a=b"),
        ("a.b", "false", False),
        ("a.t", "r", ("r",)),
        ("a.t", "r,s", ("r", "s")),
        ("a.t", "('r','s')", ("r", "s")),
        ("a.t", "", ()),
        ("a.n", "4,5,6", (4, 5, 6)),
        ("a.e", "32,16", (32, 16)),
        ("a.e", "u,v", ("u", "v")),
        ("a.pairs", "(('z', 1.0),)", (("z", 1.0),)),
    ],
)
def test_an_override_takes_the_type_of_the_default(config, key, text, value):
    configs.override(config, [(key, text)])
    found = dict(configs.flat(config))[key]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("a.ii", "7", r"--config.a.ii: no such key. Did you mean 'a.i'"),
        ("b.i", "7", r"--config.b.i: no such key"),
        ("a.i", "1.5", r"--config.a.i=1.5: expected a int \(default: 1\)"),
        ("a.b", "maybe", r"expected true or false"),
        ("a", "3", r"--config.a: a group of keys"),
        ("a.i.x", "3", r"--config.a.i.x: no such key"),
    ],
)
def test_a_wrong_override_is_one_line_that_names_the_key(config, key, text, message):
    with pytest.raises(UserError, match=message) as caught:
        configs.override(config, [(key, text)])
    assert "\n" not in str(caught.value)


def test_a_saved_config_is_read_back_the_same(config, tmp_path):
    configs.save(config, tmp_path / "c.json")
    again = configs.read(tmp_path / "c.json")
    assert configs.differences(config, again) == []
    assert again.a.t == ("p", "q") and again.a.pairs == (("m", 0.5),)
    again.top = 4
    assert configs.differences(config, again) == [("top", 3, 4)]


def test_an_unknown_config_file_names_the_nearest():
    with pytest.raises(UserError, match=r"Did you mean 'configs/mtl.py'"):
        configs.load("configs/mtll.py")


def test_an_unknown_variant_names_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'paper'"):
        configs.load("configs/mtl.py:papr")
