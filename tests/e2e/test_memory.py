# SPDX-License-Identifier: Apache-2.0
"""Memory does not grow with the backlog, and a small pod's is enough. WEIR_TEST_BACKLOG_MIB sets the backlog: `make memory`."""

import os
import shutil
import statistics
import subprocess

import pytest

from memory_limit import MemoryLimit, version
from weirtest import BUILD, SANITIZER, wait_for

MIB = 1 << 20
BACKLOG_MIB = int(os.environ.get("WEIR_TEST_BACKLOG_MIB", "128"))
TURNS = int(os.environ.get("WEIR_TEST_TURNS", "1"))
LIVE = 10_000_000  # numbers of what is sent while the backlog is held: behind those of the backlog
PATIENCE = 60 + BACKLOG_MIB / 10
# What README.md says of a small pod.
SMALL_POD = {
    "receiver": {"max_request_size": "8MiB"},
    "spool": {"max_unwritten": "8MiB", "segment_size": "16MiB"},
}
SMALL_UPSTREAM = {"max_request_size": "2MiB", "max_in_flight": 2}

pytestmark = pytest.mark.skipif(SANITIZER is not None, reason="a sanitizer's own memory would be counted")


def fill(box, name, segment_mib=64):
    """A spool for the relay of that name, with BACKLOG_MIB of logs that do not compress, and none of it in the page cache."""
    directory = box.directory / f"{name}.spool"
    out = subprocess.run([BUILD / "tests/tools/fill", directory, str(BACKLOG_MIB), "up0", str(segment_mib)], check=True, capture_output=True)
    for path in directory.iterdir():
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
    return int(out.stdout)


def send(box, weir, round_number, items, in_flight=8):
    return [
        box.gen_start(weir, signal=signal, items=items, items_per_request=20, payload_bytes=16384, in_flight=in_flight, retry=True,
                      first_id=LIVE + (round_number * 3 + at) * items)
        for at, signal in enumerate(("traces", "metrics", "logs"))
    ]


def anonymous_mib(weir):
    for line in open(f"/proc/{weir.pid}/status"):
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no RssAnon")


def check_all_arrived(box, weir, sink, numbered):
    weir.wait_drained(PATIENCE)
    weir.check_ledger()
    assert set(range(numbered)) <= sink.ids("logs"), "the backlog"
    for gen in box.gens:
        assert gen.acked() <= set().union(*(sink.ids(s) for s in ("traces", "metrics", "logs")))


def test_a_backlog_costs_no_memory(box):
    """Two relays get the same traffic. One delivers it, the other one holds a backlog and cannot."""
    sinks = [box.sink(), box.sink()]
    numbered = fill(box, "weir1")
    sinks[1].listen(False)
    weirs = [box.weir(sink.url("grpc"), config={"spool": {"max_size": "64GiB"}}) for sink in sinks]
    samples = [[], []]
    for round_number in range(2):
        gens = [gen for weir in weirs for gen in send(box, weir, round_number, 4000)]

        def sample():
            for weir, values in zip(weirs, samples):
                values.append(anonymous_mib(weir))
            return not any(gen.process.alive() for gen in gens)

        wait_for(sample, 120, "the senders have their answers")
        assert all(gen.wait()["code"] == 0 for gen in gens)
    without, held = (statistics.median(values) for values in samples)
    peaks = [max(values) for values in samples]
    sinks[1].listen(True)
    draining = [anonymous_mib(weirs[1])]
    wait_for(lambda: (draining.append(anonymous_mib(weirs[1])), weirs[1].drained())[1], PATIENCE, "drained")
    check_all_arrived(box, weirs[1], sinks[1], numbered)
    box.note(f"anonymous MiB with {BACKLOG_MIB} MiB held {held:.1f} (at most {peaks[1]:.1f}), with none {without:.1f} ({peaks[0]:.1f}), "
             f"while it drains at most {max(draining):.1f}, then {anonymous_mib(weirs[1]):.1f}")
    assert held <= without + 4


def test_what_a_drain_took_is_given_back(box):
    """Many large exports at once, each with a body of its own, since the stored frames are not what this upstream wants."""
    sink = box.sink()
    numbered = fill(box, "weir0")
    sink.mode(delay_ms=200)
    weir = box.weir({"name": "up0", "endpoint": sink.url("grpc"), "compression": "none"}, config={"spool": {"max_size": "64GiB"}})
    before, draining = anonymous_mib(weir), []
    wait_for(lambda: (draining.append(anonymous_mib(weir)), weir.drained())[1], PATIENCE, "drained")
    assert sink.ids("logs") == set(range(numbered))
    assert max(draining) > before + 16, "it took nothing worth giving back"
    wait_for(lambda: anonymous_mib(weir) < before + 8, 30, lambda: f"{anonymous_mib(weir):.1f} MiB stay, of {before:.1f} at first")
    box.note(f"anonymous MiB at first {before:.1f}, while it drains at most {max(draining):.1f}, then {anonymous_mib(weir):.1f}")


def flat_out(box, name, limit):
    """One relay's whole life: senders flat out while the upstream is away, then while the backlog drains. Latencies in ms."""
    sink = box.sink()
    numbered = fill(box, name, 16)
    sink.listen(False)
    config = {**SMALL_POD, "spool": {**SMALL_POD["spool"], "max_size": "64GiB"}}
    weir = box.weir({"name": "up0", "endpoint": sink.url("grpc"), **SMALL_UPSTREAM}, config=config, wrapper=limit.wrapper if limit else ())
    box.gens, results = [], []
    for round_number in range(2):
        sink.listen(round_number == 1)
        results += [gen.wait() for gen in send(box, weir, round_number, 10_000, 4)]
    assert all(result["code"] == 0 for result in results)
    check_all_arrived(box, weir, sink, numbered)
    assert weir.process.alive() and weir.terminate() == 0
    shutil.rmtree(weir.spool)
    sink.process.kill()
    latency = [result["latency_us"] for result in results]
    return statistics.median(one["p50"] for one in latency) / 1000, max(one["max"] for one in latency) / 1000


@pytest.mark.skipif(version() is None, reason="no memory cgroup can be made here (not root, or none mounted)")
def test_64_mib_are_enough(box):
    """Beside the same without a limit, in turns: a busy machine has stalls of its own."""
    limit = MemoryLimit(box, 64 * MIB)
    free, limited = [], []
    for turn in range(TURNS):
        free.append(flat_out(box, f"weir{2 * turn}", None))
        limited.append(flat_out(box, f"weir{2 * turn + 1}", limit))
    seen = limit.figures()
    assert seen["killed"] == 0, seen
    assert seen["met"] > 0 or seen["peak_bytes"] > 16 * MIB, f"the relay was not in it: {seen}"
    for name, figures in (("without a limit", free), ("in 64 MiB", limited)):
        longest = sorted(most for _, most in figures)
        box.note(f"{name}: acknowledged p50 {statistics.median(p50 for p50, _ in figures):.1f} ms, longest in each turn "
                 + ", ".join(f"{most:.0f}" for most in longest) + " ms")
    box.note(f"cgroup: {seen}")
