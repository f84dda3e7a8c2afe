# SPDX-License-Identifier: Apache-2.0
"""Several upstreams, one copy on disk: one that is away costs the others nothing, and a segment goes when all have it, then and not before."""

import re
from pathlib import Path

import pytest

from weirtest import request, scaled, wait_for

SMALL = {"spool": {"segment_size": "1MiB", "max_size": "256MiB"}}


def segments(weir):
    """The first block numbers of the segments that there are, ascending."""
    names = (re.fullmatch(r"seg-(\d{20})\.mdb", path.name) for path in Path(weir.spool).iterdir())
    return sorted(int(name[1]) for name in names if name)


def first_needed(weir):
    """The lowest number that a lane has still to get; where the spool ends when none has."""
    return min(lane["intervals"][0][0] for u in weir.status()["upstreams"] for lane in u["lanes"].values() if lane["intervals"])


def pending(weir, upstream):
    return sum(lane["items"]["pending"] for lane in weir.upstream(upstream)["lanes"].values())


def switches_of_replay_threads(weir):
    """How often each replay worker went to sleep, since it began."""
    counts = {}
    for task in Path(f"/proc/{weir.pid}/task").iterdir():
        if (task / "comm").read_text().strip() == "replay":
            counts[task.name] = int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", (task / "status").read_text(), re.M)[1])
    return counts


@pytest.mark.parametrize("why", ["away", "silent", "paused", "held"])
def test_a_dead_upstream_costs_nothing_per_request(box, why):
    """Its worker is not woken for what comes meanwhile."""
    sink, dead = box.sink(), box.sink()
    patient = {"retry": {"initial": "30s", "max": "60s"}, "timeout": "60s"}
    weir = box.weir(sink.url("grpc"), {"name": "dead", "endpoint": dead.url("grpc"), **patient})
    if why == "away":
        dead.listen(False)
    elif why == "silent":
        dead.mode(hang=1)
    elif why == "paused":
        assert request(weir.admin, "POST", "/v1/upstreams/dead/pause")[0] == 200
    else:
        dead.mode(status=16)
    signals = ("traces", "metrics", "logs")
    for signal in signals:  # whatever it does with a first one, it has done it
        box.gen(weir, signal=signal, items=1)
    states = {"away": ["backing_off"], "silent": ["delivering", "replaying", "probing"], "paused": ["paused"], "held": ["held"]}[why]
    wait_for(lambda: weir.upstream("dead")["state"] in states and (why in ("away", "paused") or len(dead.attempts()) >= 3), 30, f"it is {why}")
    box.gen(weir, items=scaled(8), in_flight=8)  # and the in-flight exports of a silent one are all out
    before, commits = switches_of_replay_threads(weir), weir.status()["spool"]["commits"]
    assert len(before) == 2
    items = scaled(1000)
    box.gen(weir, items=items, first_id=1000, in_flight=1, items_per_request=1)
    commits = weir.status()["spool"]["commits"] - commits
    after = switches_of_replay_threads(weir)
    woken = sorted(after[task] - before[task] for task in before)
    box.note(f"{why}: {commits} commits, workers slept {woken} times")
    assert commits > items / 2
    assert woken[0] < commits / 10, (woken, commits)
    wait_for(lambda: pending(weir, "up0") == 0, 60, "the other one has all of it")
    assert pending(weir, "dead") > 0
    weir.check_ledger()


def test_segments_go_when_both_have_them(box):
    sink, slow = box.sink(), box.sink()
    weir = box.weir(sink.url("grpc"), {"name": "slow", "endpoint": slow.url("grpc"), "max_in_flight": 1}, config=SMALL)
    slow.listen(False)
    items = max(300, scaled(1000))
    box.gen(weir, items=items * 20, items_per_request=20, payload_bytes=60_000, in_flight=4)
    wait_for(lambda: pending(weir, "up0") == 0, 60, "one has all of it")
    there = segments(weir)
    assert len(there) > 4 and there[0] == 0, "what the other one has not stays, all of it"
    slow.mode(delay_ms=100)
    slow.listen(True)
    freed = 0
    while pending(weir, "slow") > 0:
        there = segments(weir)
        needed = first_needed(weir)
        assert there[0] <= needed, "not before: what is needed was there a moment ago"
        # Whatever ends below the first number that is needed goes now. The last one stays: it is written.
        gone = [a for a, b in zip(there, there[1:]) if b <= needed]
        if gone:
            wait_for(lambda: segments(weir)[0] > gone[-1], 5, f"segments {gone} go: {needed} is the first that is needed")
            freed += len(gone)
    assert freed > 0, "some were seen to go on the way"
    wait_for(lambda: len(segments(weir)) <= 2, 5, "all but the one that is written are gone")
    assert sink.ids("traces") == slow.ids("traces") == set(range(items * 20))
    weir.check_ledger()
