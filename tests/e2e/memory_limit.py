# SPDX-License-Identifier: Apache-2.0
"""A memory cgroup of a test's own, version 1 or 2: what is in it may not have more memory than so much, page cache included."""

import os
from pathlib import Path

V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
FILES = {  # of the limit, the peak, how often it was met, and how often something was killed for it
    1: ("memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.failcnt", "memory.oom_control"),
    2: ("memory.max", "memory.peak", "memory.events", "memory.events"),
}


def version():
    """1, 2, or None: not here, or not root."""
    if os.geteuid() != 0:
        return None
    if (V1 / "memory.limit_in_bytes").exists() and os.access(V1, os.W_OK):
        return 1
    control = V2 / "cgroup.subtree_control"
    return 2 if control.exists() and os.access(V2, os.W_OK) and "memory" in control.read_text() else None


class MemoryLimit:
    def __init__(self, box, limit):
        self.version = version()
        self.path = (V1 if self.version == 1 else V2) / f"weir-test-{os.getpid()}-{box.directory.name}"
        self.path.mkdir()
        box.closers.append(self.path.rmdir)
        self.limit, self.peak, self.met, self.killed = FILES[self.version]
        (self.path / self.limit).write_text(str(limit))
        self.wrapper = ["sh", "-c", f'echo $$ >{self.path}/cgroup.procs && exec "$@"', "sh"]

    def _number(self, file, name):
        text = (self.path / file).read_text()
        lines = dict(line.split() for line in text.splitlines() if " " in line)
        return int(lines[name]) if lines else int(text)

    def figures(self):
        """The limit was met: pages were given back to stay below it, which is what a limit is for. Killed: never."""
        return {
            "peak_bytes": int((self.path / self.peak).read_text()) if (self.path / self.peak).exists() else None,
            "met": self._number(self.met, "max"),
            "killed": self._number(self.killed, "oom_kill"),
        }
