import asyncio
import errno

import pytest

from affect_jax.disk import refused, without_late_answers, writing
from data_pipelines.errors import UserError


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "Permission denied"),
        (ValueError("RESOURCE_EXHAUSTED: Error writing x"), "No space left on device"),
        (
            ValueError("FAILED_PRECONDITION: x [OS error 30: EROFS Read-only file system]"),
            "Read-only file system",
        ),
        (ValueError("PERMISSION_DENIED: x"), "permission denied"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), None),
        (ValueError("User names and shapes must match"), None),
        (KeyError("x"), None),
    ],
)
def test_what_a_disk_refuses_is_told_from_mistakes_of_our_own(error, why):
    assert refused(error) == why


@pytest.mark.parametrize("named", [None, "/x/y"])
def test_a_line_names_the_file_or_else_the_folder(named, tmp_path):
    expected = f"^{named or tmp_path}: a file cannot be written \\(No space"
    with pytest.raises(UserError, match=expected), writing(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device", named)


def test_an_error_of_a_program_is_not_taken_for_one_of_the_disk(tmp_path):
    out_of_memory = ValueError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")
    with pytest.raises(ValueError), writing(tmp_path):
        raise out_of_memory
    with pytest.raises(UserError), writing(tmp_path, "a checkpoint", Exception):
        raise out_of_memory


def test_answers_that_nobody_reads_are_not_logged(caplog):
    loop = asyncio.new_event_loop()
    future = loop.create_future()
    future.set_exception(ValueError("RESOURCE_EXHAUSTED: of a leaf"))
    with without_late_answers():
        del future
        assert not caplog.records
    loop.close()
