"""Memory that runs out in umbel's primary when a test says so: tests/lack/lack.c, which is preloaded."""
import mmap
import os
import struct
import time

import pytest
from c_programs import TESTS
from harness import is_sanitized

LIBRARY = TESTS / "lack.so"

needs_lack = pytest.mark.skipif(is_sanitized(), reason="the sanitizer's allocator cannot be replaced")


class Lack:
    """order(before, lacks): so many allocations of the primary succeed from now on, then so many fail."""

    def __init__(self, path):
        path.write_bytes(bytes(16))
        path.chmod(0o666)
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 16)
        self.before = ["env", f"LD_PRELOAD={LIBRARY}", f"LACK={path}"]

    def order(self, before, lacks=1):
        self.map[8:12] = bytes(4)  # this first: nothing fails while the rest is written
        self.map[4:8] = struct.pack("i", before)
        self.map[12:16] = bytes(4)
        self.map[8:12] = struct.pack("i", lacks)

    def wait(self, seconds):
        """Until the order is carried out, or so long: what it is to meet may not need so much."""
        end = time.monotonic() + seconds
        while self.map[8:12] != bytes(4) and time.monotonic() < end:
            time.sleep(0.01)

    def end(self):
        """No order any more; how many failed."""
        self.map[8:12] = bytes(4)
        return struct.unpack("i", self.map[12:16])[0]


@pytest.fixture
def lack(tmp_path):
    return Lack(tmp_path / "lack")


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))
