import ml_collections
import pytest

from affect_jax import config as configs
from data_pipelines.errors import UserError


@pytest.fixture
def config():
    return ml_collections.ConfigDict(
        dict(
            a=dict(
                i=1,
                f=2.0,
                s="x",
                b=True,
                t=("p", "q"),
                n=(1, 2),
                pairs=(("m", 0.5),),
                e=(),
                none={},
            ),
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
        ("a.i", "1.5", r"--config.a.i=1.5: expected a whole number \(default: 1\)"),
        ("a.b", "maybe", r"expected true or false"),
        ("a", "3", r"--config.a: a group of keys"),
        ("a.i.x", "3", r"--config.a.i.x: no such key"),
        ("a.none", "3", r"--config.a.none: a group of keys. Known: none"),
        ("a.none.x", "3", r"--config.a.none.x: no such key. A config file defines"),
    ],
)
def test_a_wrong_override_is_one_line_that_names_the_key(config, key, text, message):
    with pytest.raises(UserError, match=message) as caught:
        configs.override(config, [(key, text)])
    assert "\n" not in str(caught.value)


def test_a_saved_config_is_read_back_the_same(tmp_path):
    config = configs.load("configs/mtl.py:smoke")
    configs.save(config, tmp_path / "c.json")
    again = configs.read(tmp_path / "c.json")
    assert configs.differences(config, again) == []
    assert again.model.head.layers == (8,) and again.total.terms == config.total.terms
    again.epochs = 4
    assert configs.differences(config, again) == [("epochs", 2, 4)]


def test_a_config_of_before_names_its_model_family_as_it_is_called_today(tmp_path):
    config = configs.load("configs/mtl.py:smoke")
    again = config.copy_and_resolve_references()
    again.model.name = "mtl"
    configs.save(again, tmp_path / "c.json")
    assert configs.differences(config, configs.read(tmp_path / "c.json")) == []


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data.batch_size", 0, r"config.data.batch_size = 0: expected a number from 1 on\."),
        ("data.eval_batch_size", -1, "from 1 on"),
        ("eval_every_epochs", 0, "from 1 on"),
        ("epochs", 0, "from 1 on"),
        ("model.encoder.hidden", 0, "from 1 on"),
        ("model.encoder.layers", -1, "from 0 on"),
        ("model.head.layers", (8, 0), "config.model.head.layers = 0: expected a number from 1 on"),
        ("seed", -1, "from 0 on"),
        ("seed", 99999999999999999999, "from 0 on and below 4294967296"),
        ("optim.clip_norm", -1.0, "from 0 on"),
        ("optim.lr", float("nan"), "config.optim.lr = nan: expected a finite number"),
        ("ema_decay", 1.0, "from 0 on and below 1"),
        ("total.terms", ("a",), "config.total.terms: expected .* got 'a'"),
        ("total.terms", (("valence/ccc", "x"),), "config.total.terms: expected"),
    ],
)
def test_a_number_out_of_its_bounds_is_named(key, value, message):
    config = configs.load("configs/mtl.py")
    configs.check(config)
    group, _, last = key.rpartition(".")
    part = config
    for name in group.split(".") if group else ():
        part = part[name]
    with part.ignore_type():
        part[last] = value
    with pytest.raises(UserError, match=message):
        configs.check(config)


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("monitor", "(1,)", r"config.monitor = \(1,\): expected names, \('a', 'b'\)\."),
        ("freeze", "(('a', 'b'),)", r"config.freeze = \(\('a', 'b'\),\): expected names"),
        ("init.match", "(2.5,)", "expected names"),
        ("total.terms", "(('valence/ccc', True),)", "config.total.terms: expected"),
        ("total.name", "\udcff", r"config.total.name = '\\udcff': expected text"),
        ("optim.lr", "inf", "config.optim.lr = inf: expected a finite number"),
        ("optim.eps", "1e999", "expected a finite number"),
        ("data.label_delay", "nan", "expected a finite number"),
        ("epochs", "2147483648", "expected a number from 1 on and below 1073741824"),
        ("data.stride", "99999999999", "expected a number from 1 on and below 1073741824"),
        ("early_stop", "9" * 5000, "expected a whole number"),
        ("data.workers", "100000", "from 0 on and below 1024"),
        ("data.seconds", "1e300", "from 0 on and below 1000000"),
        ("model.encoder.hidden", "100000000", "from 1 on and below 100001"),
        ("model.encoder.layers", "1000000", "from 0 on and below 1001"),
        ("model.head.layers", "1000000000000", "from 1 on and below 100001"),
        ("keep_epochs", "('a',)", "'a' names no epochs"),
        ("keep_epochs", "3-" + "9" * 30, "names no epochs"),
        ("model.head.layers", "(" * 500, "expected a,b or"),
    ],
)
def test_a_value_of_another_kind_or_beyond_reason_is_named_in_a_line(key, text, message):
    config = configs.load("configs/mtl.py:transformer")
    with pytest.raises(UserError, match=message) as caught:
        configs.override(config, [(key, text)])
        configs.check(config)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_group_in_the_place_of_a_value_is_named():
    config = configs.load("configs/mtl.py")
    with config.ignore_type():
        config.checkpoint = {}
    with pytest.raises(UserError, match="config.checkpoint: a group of keys, expected a value"):
        configs.check(config)


def test_ranges_of_epochs_take_no_longer_the_more_they_name():
    epochs = configs.epochs_in(("17", "20-99999999999", 3))
    assert 17 in epochs and 10**10 in epochs and 3 in epochs and 18 not in epochs
    assert epochs.ends == (17, 17, 20, 99999999999, 3, 3)
    assert not configs.epochs_in(())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{" * 3000, "not a config as a run keeps it"),
        ('{"a": ' * 600 + "1" + "}" * 600, "not a config as a run keeps it|is missing"),
        ("[1]", "expected keys and values"),
        ('{"epochs": 1e999}', "is missing"),
    ],
)
def test_a_file_that_is_no_config_of_a_run_is_one_line(text, message, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        configs.read(tmp_path / "config.json")
    assert str(tmp_path / "config.json") in str(caught.value) and "\n" not in str(caught.value)


def test_a_value_of_another_kind_in_the_config_of_a_run_is_named_with_its_file(tmp_path):
    config = configs.load("configs/mtl.py")
    with config.ignore_type():
        config.epochs = "many"
    configs.save(config, tmp_path / "config.json")
    with pytest.raises(UserError, match=r"config.json: config.epochs = 'many': expected a whole"):
        configs.read(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(:\n", r"mine\.py:1: SyntaxError: invalid syntax"),
        ("\nimport nosuch\n", r"mine\.py:2: ModuleNotFoundError: No module named 'nosuch'\.$"),
        ("def get_config(variants):\n    return 1 / 0\n", r"mine\.py:2: ZeroDivisionError"),
        ("def get_config():\n    pass\n", r"has no function get_config\(variants\)"),
        ("get_config = 3\n", r"has no function get_config\(variants\)"),
        ("def get_config(variants):\n    pass\n", "returns a NoneType, expected a ConfigDict"),
        (
            "from ml_collections import ConfigDict\ndef get_config(v):\n    return ConfigDict()\n",
            r"mine\.py: config.checkpoint is missing \(and",
        ),
        (
            "from configs.mosi import get_config as mosi\ndef get_config(v):\n"
            "    c = mosi()\n    c.optim.grups = ('a',)\n    return c\n",
            r"mine\.py: config.optim.grups: Did you mean 'groups'",
        ),
    ],
)
def test_a_mistake_in_a_config_file_is_one_line_with_its_place(text, message, tmp_path):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        configs.load(str(tmp_path / "mine.py"))
    assert "\n" not in str(caught.value)


def test_an_unknown_config_file_names_the_nearest():
    with pytest.raises(UserError, match=r"Did you mean 'configs/mtl.py'\? Known: ") as caught:
        configs.load("configs/mtll.py")
    assert "base.py" not in str(caught.value)  # no config of its own


def test_an_unknown_variant_names_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'paper'"):
        configs.load("configs/mtl.py:papr")
