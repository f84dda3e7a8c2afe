# SPDX-License-Identifier: Apache-2.0
"""Small disks of a test's own, to be filled, grown and broken: mounted in a mount namespace that ends with its holder."""

import ctypes
import fcntl
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from weirtest import Process, wait_for

MIB = 1 << 20
EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH = 0x8004587D, 2
TOOLS = ("unshare", "nsenter", "mount", "mkfs.ext4", "resize2fs", "e2fsck", "losetup")


@cache
def missing():
    """Why no disk can be made here; "" when one can."""
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return "no " + ", ".join(absent)
    if os.geteuid() != 0:
        return "not root: a disk of the test's own cannot be mounted"
    done = subprocess.run(["unshare", "-m", "--propagation", "private", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True)
    return "" if done.returncode == 0 else "mounting is not allowed here: " + done.stderr.strip()


class Disk:
    """A mounted file system. `path` is where processes behind `wrapper` see it, `outside` where this one does."""

    def __init__(self, box, script):
        self.path = box.directory / "disk"
        self.path.mkdir()
        self.holder = Process("disk", box.directory, ["unshare", "-m", "--propagation", "private", "sh", "-euc",
                                                      script + "\necho mounted\nexec sleep infinity"])
        wait_for(lambda: self.holder.stdout.read_text().endswith("mounted\n") or not self.holder.alive(), 30, "the disk is mounted")
        assert self.holder.alive(), self.holder.log()
        self.outside = Path(f"/proc/{self.holder.pid}/root{self.path}")
        self.wrapper = ["nsenter", "-t", self.holder.pid, "-m"]
        self.foreign = self.outside / "foreign"
        box.closers.append(self.close)

    def run(self, script):
        done = subprocess.run([*map(str, self.wrapper), "sh", "-euc", script], capture_output=True, text=True)
        assert done.returncode == 0, f"{script}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def free(self):
        stat = os.statvfs(self.outside)
        return stat.f_bavail * stat.f_frsize

    def fill(self):
        """Another program's file takes all that is left."""
        libc, fd = ctypes.CDLL(None, use_errno=True), os.open(self.foreign, os.O_CREAT | os.O_WRONLY)
        step, size = 16 * MIB, os.fstat(fd).st_size
        while step >= 4096:
            if libc.posix_fallocate(fd, ctypes.c_long(size), ctypes.c_long(step)) == 0:
                size += step
            else:
                step //= 2
        os.close(fd)

    def close(self):
        self.holder.kill()


class Ext4(Disk):
    """On a loop device; its image lies in `directory`."""

    def __init__(self, box, mib, directory=None, options="", before="", after=""):
        self.image = (directory or box.directory) / "image"
        mount = ",".join(["loop", *filter(None, [options])])
        super().__init__(box, f"""{before}
            truncate -s {mib}M '{self.image}'
            mkfs.ext4 -q -F -m 0 -J size=4 -E lazy_itable_init=0,nodiscard,packed_meta_blocks=1 '{self.image}'
            {after}
            mount -o {mount} '{self.image}' '{box.directory / "disk"}'""")
        self.device = self.run(f"losetup -nO NAME -j '{self.image}'")
        assert self.device.startswith("/dev/loop"), self.device

    def grow(self, mib):
        """False: this machine's root may not (it takes CAP_SYS_RESOURCE)."""
        done = self.run(f"truncate -s {mib}M '{self.image}' && losetup -c {self.device} && resize2fs {self.device} 2>&1 || true")
        return "ermission denied" not in done

    def fail(self):
        """What the kernel does when it meets an error in the file system mounted with errors=remount-ro."""
        self.run(f"echo 1 > /sys/fs/ext4/{os.path.basename(self.device)}/trigger_fs_error")

    def cut(self):
        """As a power cut: what was not flushed is gone, and nothing works until it is mounted again."""
        fd = os.open(self.outside, os.O_RDONLY)
        fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH.to_bytes(4, "little"))
        os.close(fd)

    def repair(self):
        """What a person does then. Nobody may have a file open."""
        self.run(f"umount '{self.path}' && (e2fsck -fy '{self.image}' || test $? = 1) && mount -o loop '{self.image}' '{self.path}'")


class Tmpfs(Disk):
    def __init__(self, box, mib):
        super().__init__(box, f"mount -t tmpfs -o size={mib}m none '{box.directory / 'disk'}'")

    def grow(self, mib):
        self.run(f"mount -o remount,size={mib}m '{self.path}'")
        return True


class Thin(Ext4):
    """An ext4 that believes to have `mib`, on a pool that has less: write() is content, and the flush is told that there is no room.
    The first 12 MiB have room, so that the file system's own blocks do: without them it would turn read-only."""

    def __init__(self, box, mib, pool_mib):
        self.pool = box.directory / "pool"
        self.pool.mkdir()
        super().__init__(box, mib, self.pool, before=f"mount -t tmpfs -o size={pool_mib}m none '{self.pool}'",
                         after=f"fallocate -l 12M '{self.pool / 'image'}'")

    def grow_pool(self, mib):
        self.run(f"mount -o remount,size={mib}m '{self.pool}'")
