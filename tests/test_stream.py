import os
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT

CODE = """
import multiprocessing, sys
import numpy as np
from data_pipelines.rows import segments
from data_pipelines.source import Source
from data_pipelines.stream import stream
from tests.stores import small_store

if __name__ == "__main__":
    store = small_store(sys.argv[1])
    rows = segments([track.frames for track in store.tracks], 4)
    source, table = Source(store, ("a",)), np.zeros((100_000, 2), np.int32)
    batches = stream(source, rows, source.shape(rows), table, workers=2)
    next(batches), next(batches)
    print(*(process.pid for process in multiprocessing.active_children()), flush=True)
    sys.stdin.read()
"""


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_workers_end_when_the_process_that_reads_from_them_is_killed(tmp_path):
    (tmp_path / "read.py").write_text(CODE)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "read.py", tmp_path / "s"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    workers = [int(pid) for pid in process.stdout.readline().split()]
    assert len(workers) >= 2 and all(map(alive, workers))
    process.send_signal(signal.SIGKILL)
    process.wait()
    until = time.monotonic() + 20
    while any(map(alive, workers)) and time.monotonic() < until:
        time.sleep(0.1)
    left = [pid for pid in workers if alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left
