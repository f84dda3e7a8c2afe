# SPDX-License-Identifier: Apache-2.0
"""While a backlog drains, new data flows at its share: by the order in which everything arrives at the upstream."""

import pytest

from weirtest import read_record, wait_for

# Not scaled under a sanitizer: shares are counted in exports, of which there have to be enough, and most of the time goes to the upstream's pace.
OLD = 12_000  # items of backlog of each signal: more than is drained while anything is looked at
WATCHED = 150  # exports
LOOKED_AT = 30  # exports behind a crash
SLOW_UPSTREAM = {"service_ms": 10, "slots": 1}  # 100 exports a second


def arrivals(record, signal):
    """[(requests of the backlog, new ones)] of each export, in the order of arrival."""
    bodies = [body for name, body in read_record(record) if name == signal]
    return [(body.count(b"old-data"), body.count(b"new-data")) for body in bodies]


def behind(weir, signals):
    lanes = weir.upstream()["lanes"]
    return all((lanes[s]["oldest_age_seconds"] or 0) > 2.5 for s in signals)


def outage(box, share, signals):
    """A relay with a backlog, its upstream back but slow, and more new data than it can take."""
    record = box.directory / "arrived"
    sink = box.sink(record=record)
    sink.listen(False)
    weir = box.weir({"name": "up0", "endpoint": sink.url("grpc"), "fresh_share": share, "max_request_size": "16KiB"})
    for signal in signals:
        box.gen(weir, signal=signal, items=OLD, items_per_request=10, payload_bytes=2000, in_flight=4, stream="old-data")
    wait_for(lambda: behind(weir, signals), 30, "the backlog is a backlog")
    sink.mode(**SLOW_UPSTREAM)
    sink.listen(True)
    gens = [box.gen_start(weir, signal=signal, items=OLD, first_id=OLD, rate=OLD // 4, items_per_request=10, payload_bytes=2000,
                          in_flight=4, stream="new-data", retry=True) for signal in signals]
    return record, sink, weir, gens


def share_of_new(exports):
    old, new = sum(e[0] for e in exports), sum(e[1] for e in exports)
    return new / max(1, old + new)


def first_new(exports):
    return next((i for i, e in enumerate(exports) if e[1] > 0), None)


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_new_data_has_its_share_from_the_first_moment(box, share):
    record, sink, weir, gens = outage(box, share, ["traces", "metrics"])
    wait_for(lambda: sink.stats("traces")["requests"] >= WATCHED, 60, "exports arrive")
    watched = arrivals(record, "traces")[:WATCHED]
    sink.mode(ok=1)
    for gen in gens:
        assert gen.wait()["code"] == 0
    weir.wait_drained()
    first = first_new(watched)
    assert first is not None and first <= 40, "new data came among the first exports"  # the generator has to start, too
    assert sum(old for old, _ in watched) < OLD // 10, "the backlog was there all the time"
    # In each stretch of it, not only on the whole.
    for at in range(first + 10, WATCHED - 40, 40):
        assert abs(share_of_new(watched[at : at + 40]) - share) < 0.15, watched[first:]
    for signal in ("traces", "metrics"):
        assert sink.ids(signal) == set(range(2 * OLD))
        assert sink.stats(signal)["duplicates"] == 0
    assert sink.stats("metrics")["order_violations"] == 0
    metrics = arrivals(record, "metrics")
    assert first_new(metrics) >= max(i for i, e in enumerate(metrics) if e[0] > 0), "a strict lane: the oldest first"
    weir.check_ledger()


def test_a_crash_in_the_middle_loses_nothing_and_goes_on_with_the_newest(box):
    record, sink, weir, gens = outage(box, 0.5, ["traces"])

    def new_since(taken):
        behind = arrivals(record, "traces")[taken:]
        first = first_new(behind)
        return 0 if first is None else len(behind) - first

    wait_for(lambda: first_new(arrivals(record, "traces")) is not None, 60, "new data arrives")
    taken = []
    for _ in range(2):
        before = sink.stats("traces")["requests"]
        wait_for(lambda: new_since(before) >= LOOKED_AT, 60, "exports arrive, and new data among them")
        weir.kill()
        taken.append(sink.stats("traces")["requests"])
        weir.config["receiver"]["grpc"]["endpoint"] = weir.grpc  # where the generator goes on
        weir.start()
    for gen in gens:
        result = gen.wait()
        assert result["code"] == 0
    wait_for(lambda: sink.stats("traces")["requests"] >= taken[-1] + 10, 60, "it goes on")
    sink.mode(ok=1)
    weir.wait_drained()
    exports = arrivals(record, "traces")
    behind_crash = exports[taken[0] : taken[1]]
    again = first_new(behind_crash)  # the generator has to come back, too
    assert again is not None, f"behind the first crash new data goes beside the backlog: {behind_crash}"
    watched = behind_crash[again : again + LOOKED_AT]
    assert len(watched) == LOOKED_AT, f"enough to say: {len(behind_crash)} exports behind the first crash, new data from {again} on"
    assert abs(share_of_new(watched) - 0.5) < 0.25, f"at its share, while there is a backlog: {behind_crash}"
    assert sink.ids("traces") == set(range(2 * OLD))
    weir.check_ledger()
    # What was under way and what was delivered since the state was last made durable goes again: at most 64 blocks a crash, and what
    # the generator itself had to send again.
    assert sink.stats("traces")["duplicates"] <= 2 * 10 * 3 * 64 + sum(g.wait()["uncertain_items"] for g in gens)
