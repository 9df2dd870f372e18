"""glibc's thresholds: page faults are counted in processes of their own, since thresholds cannot be taken back."""

import json
import os
import platform
import subprocess
import sys

import pytest

from taafs_plugins.native import allocator

LINUX = platform.libc_ver()[0] == "glibc"
PROGRAM = """
import json, logging, resource
import numpy as np
from taafs_plugins.native.allocator import keep_freed_memory

said = []
log = logging.getLogger("test")
log.setLevel("INFO")
log.addHandler(type("Kept", (logging.Handler,), {"emit": lambda self, record: said.append(record.getMessage())})())
done = [keep_freed_memory(log) for _ in range(2)]

def step():
    blocks = [np.ones(250_000 * k) for k in (1, 2, 3)]  # 2 to 6 MB, as a layer's outputs of a batch are

step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(json.dumps({"faults": resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, "said": said, "done": done}))
"""


def run(**variables: str) -> dict:
    clean = {key: value for key, value in os.environ.items() if key not in (*allocator.OWN, allocator.SWITCH, "GLIBC_TUNABLES")}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env={**clean, **variables}, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_loop_that_frees_large_blocks_has_no_page_faults_and_it_is_said_once():
    kept, left = run(), run(TAAFS_MALLOC="system")
    assert left["done"] == [False, False] and not left["said"]
    assert kept["done"] == [LINUX, LINUX] and len(kept["said"]) == int(LINUX)
    if LINUX:
        assert "TAAFS_MALLOC=system" in kept["said"][0]
        assert kept["faults"] < 200 and left["faults"] > 10 * (kept["faults"] + 1), (kept["faults"], left["faults"])


@pytest.mark.parametrize(
    "variables",
    [
        {"TAAFS_MALLOC": "system"}, {"MALLOC_TRIM_THRESHOLD_": "131072"}, {"MALLOC_MMAP_MAX_": "0"},
        {"GLIBC_TUNABLES": "glibc.malloc.top_pad=0"}, {"LD_PRELOAD": "/usr/lib/libjemalloc.so.2"},
    ],
)  # fmt: skip
def test_what_the_user_has_set_himself_stays(variables):
    assert allocator.left_alone(variables)


def test_another_word_is_refused_with_the_choices():
    with pytest.raises(allocator.AllocatorError, match="keep .* or system"):
        allocator.left_alone({"TAAFS_MALLOC": "no"})


def test_without_glibc_nothing_is_done(monkeypatch):
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("", ""))
    assert allocator.left_alone({}) == "not glibc"
