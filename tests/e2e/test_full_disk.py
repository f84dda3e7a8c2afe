# SPDX-License-Identifier: Apache-2.0
"""Real disks that are full, in each way that a disk can be: refused early and retryably, nothing acknowledged is lost to a kill -9
meanwhile, what is held goes on being delivered, and data is taken again without anybody's help when there is room."""

import json
import resource
import time

import pytest

from disks import Ext4, Thin, Tmpfs, missing
from weirtest import GRPC_PATHS, probe, request, rpc_status, wait_for

MIB = 1 << 20
FULL = {"full", "failed"}  # a flush that fails for want of room may say EIO

needs_disks = pytest.mark.skipif(bool(missing()), reason=missing() or "-")


def weir_on(box, directory, *upstreams, wrapper=(), **spool):
    """The relay stays at its ports through restarts, so that the senders find it again."""
    grpc, http = box.port(), box.port()
    return box.weir(*upstreams, wrapper=wrapper, config={
        "receiver": {"grpc": {"endpoint": grpc.address}, "http": {"endpoint": http.address}},
        "spool": {"directory": str(directory), "segment_size": "4MiB", "max_size": "1GiB", **spool},
    })


def sender(box, weir, transport="grpc", **options):
    """Repeats what was refused, as an exporter does, until it is stopped."""
    options = {"signal": "logs", "items": 0, "items_per_request": 10, "payload_bytes": 200_000, "in_flight": 4, "retry": True,
               "retry_max_ms": 50, "deadline_ms": 600_000, **options}
    return box.gen_start(weir, transport, **options)


def refused(weir):
    return weir.status()["receiver"]["signals"]["logs"]["refused_requests"]


def await_full(weir, states=FULL):
    """Until the spool says so and senders have heard it; returns the status."""
    wait_for(lambda: weir.status()["spool"]["state"] in states and refused(weir) >= 20, 60, lambda: f"full: {weir.status()}")
    status = weir.status()
    code, _, body = weir.get("/readyz")
    assert code == 503 and body.strip(), (code, body)
    assert weir.get("/healthz")[0] == 200, "a full disk is no reason to restart weir"
    assert not status["weir"]["ready"] and status["weir"]["reason"], status["weir"]
    return status


def check_refusals(box, weir):
    """Retryable, with a delay, over both transports, and before the body."""
    body = box.body("logs", items=1)
    grpc = probe(weir.grpc, "grpc", GRPC_PATHS["logs"], body, box, flag=0)
    http = probe(weir.http, "http", "/v1/logs", body, box)
    assert grpc["headers"].get("grpc-status") == "14" and "google.rpc.retryinfo-bin" in grpc["headers"], grpc
    assert http["http_status"] == 503 and int(http["headers"]["retry-after"]) >= 1, http
    code, text, delay = rpc_status(http["body"])
    assert code == 14 and text and delay > 0


def told(weir, *events):
    return sum(1 for e in weir.events() if e.get("event") in events)


def check_kill(weir, gen, power_cut=None):
    """kill -9 while senders knock at a full spool, with the power gone at the same moment if there is a disk to cut. It opens, and holds
    what it said OK to. Returns how many lines told that it is full."""
    told_before = told(weir, "spool_full", "spool_failed")
    if power_cut:
        power_cut.cut()
    weir.kill()
    acked = len(gen.acked())
    if power_cut:
        power_cut.repair()
    weir.start()
    held = weir.upstream()["lanes"]["logs"]["items"]
    assert held["accepted"] >= acked > 0, (held, acked)
    return told_before


def check_resumes(box, weir, gen, began):
    """Data is taken again, by itself."""
    before = len(gen.acked())
    wait_for(lambda: len(gen.acked()) > before + 200, 20, lambda: f"data is taken again: {weir.status()}")
    box.note(f"{time.monotonic() - began:.2f} s until 200 more items were acknowledged")


def check_everything(box, weir, sink, gen):
    """Everything acknowledged arrived, nothing is invented, and the ledger says so. Returns the sender's summary."""
    result = gen.stop()
    wait_for(lambda: weir.status()["weir"]["ready"], 20, lambda: weir.status()["weir"])
    weir.wait_drained()
    acked, received = gen.acked(), sink.ids("logs")
    assert len(acked) == result["acked_items"] > 0
    assert not acked - received, f"{len(acked - received)} acknowledged items are missing"
    for lanes in weir.check_ledger().values():
        assert lanes["logs"]["delivered"] == lanes["logs"]["accepted"] >= len(acked), lanes
    return result


def test_the_limit_of_a_files_size(box):
    """RLIMIT_FSIZE, as a service manager sets it: no file can be made, and what is written ends in the middle of a segment."""
    sink = box.sink()
    sink.listen(False)
    weir = weir_on(box, box.directory / "spool", sink.url("grpc"), segment_size="16MiB")
    gen = sender(box, weir)
    wait_for(lambda: gen.acked(), 20, "data is taken")
    resource.prlimit(weir.pid, resource.RLIMIT_FSIZE, (8 * MIB, resource.RLIM_INFINITY))
    await_full(weir)
    check_refusals(box, weir)
    assert told(weir, "spool_full", "spool_failed") <= 2, weir.log_tail()
    began = time.monotonic()
    resource.prlimit(weir.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    check_resumes(box, weir, gen, began)
    sink.listen(True)
    check_everything(box, weir, sink, gen)


@needs_disks
@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
def test_filled_by_weir_itself(box, kind):
    """The disk is smaller than max_size. It heals as soon as the upstream takes data."""
    disk = Ext4(box, 96) if kind == "ext4" else Tmpfs(box, 64)
    sink = box.sink()
    sink.listen(False)
    weir = weir_on(box, disk.path / "spool", sink.url("grpc"), wrapper=disk.wrapper)
    gen = sender(box, weir, "grpc" if kind == "ext4" else "http")
    status = await_full(weir, {"full"})
    assert "disk" in status["weir"]["reason"], status["weir"]
    check_refusals(box, weir)
    assert check_kill(weir, gen, disk if kind == "ext4" else None) == 1, "said once"
    await_full(weir, {"full"})
    began = time.monotonic()
    sink.listen(True)
    check_resumes(box, weir, gen, began)
    check_everything(box, weir, sink, gen)


@needs_disks
def test_filled_by_another_program(box):
    """One upstream takes data and one is away, so that the disk stays full: the first one's lane drains and that is recorded."""
    disk, here, away = Ext4(box, 96), box.sink(), box.sink()
    away.listen(False)
    here.listen(False)
    weir = weir_on(box, disk.path / "spool", here.url("grpc"), away.url("http"), wrapper=disk.wrapper)
    gen = sender(box, weir)
    wait_for(lambda: disk.free() < 64 * MIB, 60, "some data is held")
    disk.fill()
    await_full(weir)
    here.listen(True)
    wait_for(lambda: weir.lane("logs", "up0")["pending"] == 0, 60, lambda: f"drained: {weir.status()['upstreams']}")
    assert weir.status()["spool"]["state"] in FULL and disk.free() < MIB
    # An order is written in one step with what was delivered before it.
    for order in ("pause", "resume"):
        assert json.loads(request(weir.admin, "POST", f"/v1/upstreams/up0/{order}")[2])["durable"], "the state is written on a full disk"
    check_kill(weir, gen)
    assert weir.lane("logs", "up0")["pending"] == 0, "deliveries are recorded on a full disk"
    await_full(weir)
    began = time.monotonic()
    disk.foreign.unlink()
    check_resumes(box, weir, gen, began)
    away.listen(True)
    check_everything(box, weir, here, gen)
    assert gen.acked() <= away.ids("logs")


@needs_disks
def test_a_thin_volume(box):
    """write() and fallocate() succeed, and fdatasync() says that there is no room: no OK for what is not durable."""
    disk, sink = Thin(box, 120, 40), box.sink()
    sink.listen(False)
    weir = weir_on(box, disk.path / "spool", sink.url("grpc"), wrapper=disk.wrapper)
    gen = sender(box, weir)
    await_full(weir)
    check_refusals(box, weir)
    check_kill(weir, gen)
    await_full(weir)
    check_kill(weir, gen, disk)
    await_full(weir)
    began = time.monotonic()
    disk.grow_pool(130)
    check_resumes(box, weir, gen, began)
    sink.listen(True)
    check_everything(box, weir, sink, gen)


@needs_disks
@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
def test_a_volume_that_grows(box, kind):
    disk, sink = Ext4(box, 64) if kind == "ext4" else Tmpfs(box, 64), box.sink()
    sink.listen(False)
    weir = weir_on(box, disk.path / "spool", sink.url("grpc"), wrapper=disk.wrapper)
    gen = sender(box, weir)
    await_full(weir, {"full"})
    began = time.monotonic()
    if not disk.grow(160):
        pytest.skip("not allowed to grow a mounted file system here")
    check_resumes(box, weir, gen, began)
    wait_for(lambda: weir.status()["spool"]["used_bytes"] > 64 * MIB, 30, "the new room is used")
    sink.listen(True)
    check_everything(box, weir, sink, gen)


# E15
@needs_disks
def test_a_file_system_that_turns_read_only(box):
    """The kernel remounts it after an error. What is held is delivered meanwhile; repaired and started again, all is well."""
    disk, sink = Ext4(box, 64, options="errors=remount-ro"), box.sink()
    sink.listen(False)
    weir = weir_on(box, disk.path / "spool", sink.url("grpc"), wrapper=disk.wrapper)
    gen = sender(box, weir)
    wait_for(lambda: len(gen.acked()) > 500, 20, "data is taken")
    disk.fail()
    status = await_full(weir, {"read_only"})
    check_refusals(box, weir)
    assert told(weir, "spool_read_only") == 1, weir.log_tail()
    assert "ead-only" in status["weir"]["reason"], status["weir"]
    sink.listen(True)
    wait_for(lambda: gen.acked() <= sink.ids("logs"), 30, "what is held is delivered")
    weir.kill()
    disk.repair()
    weir.start()
    check_everything(box, weir, sink, gen)
