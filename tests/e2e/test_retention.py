# SPDX-License-Identifier: Apache-2.0
"""Bounds on what is held: by size, by age, and by age for one upstream. What goes is counted, item by item, and told."""

import re
import subprocess

from weirtest import BUILD, SIGNALS, sanitizer_options, scaled, wait_for


def small(**spool):
    return {"spool": {"segment_size": "1MiB", "max_size": "10MiB", **spool}}


def logged(weir, event="spool_evicted"):
    """{(upstream, signal, reason): items} of all lines."""
    sums = {}
    for e in weir.events():
        if e.get("event") == event:
            key = (e["upstream"], e["signal"], e["reason"])
            sums[key] = sums.get(key, 0) + e["items"]
    return sums


def shown(weir):
    """The same by the status, without zeros."""
    return {(u["name"], signal, reason): lane["evicted"][reason]
            for u in weir.status()["upstreams"] for signal, lane in u["lanes"].items()
            for reason in ("full", "age", "damage") if lane["evicted"][reason]}


def measured(weir):
    """The same by the metrics."""
    found = re.findall(r'^weir_lane_evicted_items_total\{upstream="(\w+)",signal="(\w+)",reason="(\w+)"\} (\d+)$',
                       weir.get("/metrics")[2].decode(), re.M)
    return {(u, s, r): int(n) for u, s, r, n in found if int(n)}


def check_evicted(weir, reason):
    """The three tell the same, and what they say adds up with the ledger. Returns {signal: items} of the first upstream."""
    evicted = shown(weir)
    assert measured(weir) == evicted
    assert {key[2] for key in evicted} == {reason}
    for upstream, lanes in weir.check_ledger().items():
        for signal, items in lanes.items():
            assert items["evicted"] == evicted.get((upstream, signal, reason), 0), (upstream, signal, items)
    for upstream in weir.status()["upstreams"]:
        for lane in upstream["lanes"].values():
            if lane["items"]["evicted"]:
                assert lane["evicted"]["received_first"] <= lane["evicted"]["received_last"], lane["evicted"]
    return {signal: items for (upstream, signal, _), items in evicted.items() if upstream == "up0"}


def test_evict_oldest_in_an_outage(box):
    """Senders are never refused, and each item is delivered or counted, per lane; what is left is the newest."""
    items = 20_000  # not fewer under a sanitizer: it must be more than fits
    sink, other = box.sink(), box.sink()
    sink.listen(False)
    weir = box.weir(sink.url("grpc"), {"name": "good", "endpoint": other.url("grpc"), "signals": ["logs"]},
                    config=small(when_full="evict_oldest"))
    gens = [box.gen_start(weir, signal=s, items=items, items_per_request=50, payload_bytes=60_000, in_flight=2) for s in SIGNALS]
    for gen in gens:
        result = gen.wait()
        assert result["code"] == 0 and result["refused"] == {}, result
    status = weir.status()
    assert status["spool"]["when_full"] == "evict_oldest" and status["spool"]["used_bytes"] <= status["spool"]["max_bytes"]
    sink.listen(True)
    weir.wait_drained()
    evicted = check_evicted(weir, "full")
    ledger = weir.check_ledger()
    for signal in SIGNALS:
        lane, got = ledger["up0"][signal], sink.ids(signal)
        assert evicted[signal] > 0 and lane["accepted"] == items, (signal, lane)
        assert len(got) == lane["delivered"] == items - evicted[signal], (signal, lane, len(got))
        lost = set(range(items)) - got
        assert not got or max(lost) - min(got) <= 4 * 50, "what is left is the newest, but for requests under way together"
    good = ledger["good"]["logs"]
    # What was on its way when its segment went is counted as evicted, and may have arrived all the same: never the other way round.
    assert good["delivered"] == items - good["evicted"] <= len(other.ids("logs")), good
    totals = shown(weir)
    assert weir.terminate() == 0
    assert logged(weir) == totals, "all of it is in the log when it ends"
    lines = [e for e in weir.events() if e["event"] == "spool_evicted"]
    assert len(lines) <= 40, "and not line by line"
    box.note(f"evicted {evicted} of {items} each, told in {len(lines)} lines")


def test_refuse_is_the_default(box):
    sink = box.sink()
    sink.listen(False)
    weir = box.weir(sink.url("grpc"), config=small())
    result = box.gen(weir, items=50_000, items_per_request=50, payload_bytes=60_000, in_flight=2, expect_all=False)
    assert result["refused"], result
    sink.listen(True)
    weir.wait_drained()
    assert shown(weir) == {} and sink.ids("traces") >= box.gens[-1].acked()


def test_max_age(box):
    sink = box.sink()
    sink.listen(False)
    weir = box.weir(sink.url("grpc"), config=small(max_age="2s"))
    for signal in SIGNALS:
        box.gen(weir, signal=signal, items=500)
    assert all(weir.lane(s)["accepted"] == 500 for s in SIGNALS)
    weir.wait_drained()
    assert check_evicted(weir, "age") == {s: 500 for s in SIGNALS}
    sink.listen(True)
    box.gen(weir, signal="logs", items=100, first_id=500)
    weir.wait_drained()
    assert sink.ids("logs") == set(range(500, 600)), "what is young enough goes out"
    weir.restart()
    assert check_evicted(weir, "age") == {s: 500 for s in SIGNALS}, "the ledger remembers"
    out = subprocess.run([BUILD / "weir", "status", "--admin", f"http://{weir.admin}"], capture_output=True, text=True,
                         timeout=60, env=sanitizer_options()).stdout
    assert "traces evicted  age 500  received 20" in out and "at most 2.0s old" in out, out


def test_max_data_age_goes_to_the_dead_letters(box):
    """Of one upstream alone, while the other gets everything."""
    sink, other = box.sink(), box.sink()
    sink.listen(False)
    weir = box.weir({"name": "up0", "endpoint": sink.url("grpc"), "max_data_age": "1s"}, other.url("grpc"), config=small())
    items = scaled(5000)
    for signal in SIGNALS:
        box.gen(weir, signal=signal, items=items, items_per_request=50)
    wait_for(lambda: all(weir.lane(s, "up0")["dead_lettered"] == items for s in SIGNALS), 30,
             lambda: f"it is old enough: {weir.upstream('up0')}")
    sink.listen(True)
    box.gen(weir, signal="traces", items=100, first_id=items)
    weir.wait_drained()
    ledger = weir.check_ledger()
    for signal in SIGNALS:
        assert other.ids(signal) >= set(range(items))
        assert sink.ids(signal) == (set(range(items, items + 100)) if signal == "traces" else set())
        assert ledger["up0"][signal]["dead_lettered"] == items and ledger["up1"][signal]["dead_lettered"] == 0
    dead = weir.status()["dead_letters"]
    assert dead["items"] == 3 * items and 0 < dead["bytes"] <= dead["max_bytes"], dead
    told = next(e for e in weir.events() if e.get("event") == "dead_letter")
    assert told["code"] == "TOO_OLD" and "older than max_data_age (1s)" in told["message"], told
