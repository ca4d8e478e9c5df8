"""Systems by file."""

import pytest

from affect_jax import systems
from data_pipelines.errors import UserError
from tests.tiny import tiny_config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def build(config, **given:\n", r"mine\.py:1: SyntaxError: "),
        ("\nimport nosuch\n", r"mine\.py:2: ModuleNotFoundError: No module named 'nosuch'\.$"),
        ("x = 1\n", r"mine\.py: has no function build\(config, tasks=, statistics=\)\.$"),
        ("build = 3\n", r"mine\.py: has no function build\("),
        ("def build(config):\n    pass\n", r"mine\.py: has no function build\("),
    ],
)
def test_a_mistake_in_the_file_of_a_system_is_one_line_with_its_place(text, message, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        systems.build(tiny_config("none", system=str(path)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("supervisd", "config.system = 'supervisd': Did you mean 'supervised'.* a .py file"),
        ("nosuch.py", r"config.system = '.*/nosuch.py': no such file"),
    ],
)
def test_a_system_that_is_not_there_is_named(name, message):
    with pytest.raises(UserError, match=message):
        systems.build(tiny_config("none", system=name))


def test_the_file_of_a_system_is_run_once(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def build(config, **given):\n    return Mine\n\n\nclass Mine:\n    pass\n"
    )
    config = tiny_config("none", system=str(tmp_path / "mine.py"))
    assert systems.build(config) is systems.build(config)
