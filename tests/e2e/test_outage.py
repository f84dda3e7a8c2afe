# SPDX-License-Identifier: Apache-2.0
"""An upstream that is away during the whole ingest gets everything when it comes back."""

import pytest

from weirtest import SIGNALS, TRANSPORTS, scaled, wait_for

ITEMS = scaled(200_000) // 6  # per signal and transport


@pytest.mark.parametrize("upstream", TRANSPORTS)
def test_sink_down_for_the_whole_ingest(box, upstream):
    sink = box.sink()
    sink.listen(False)
    weir = box.weir(sink.url(upstream))
    gens = [
        box.gen_start(weir, transport, signal=signal, items=ITEMS, first_id=at * ITEMS, items_per_request=50, in_flight=4,
                      stream=transport)
        for at, transport in enumerate(TRANSPORTS)
        for signal in SIGNALS
    ]
    for gen in gens:
        result = gen.wait()
        assert result["code"] == 0 and result["refused"] == {}, result
    status = weir.status()
    assert status["weir"]["phase"] == "outage" and status["weir"]["ready"], "an upstream's outage does not make it unready"
    assert status["upstreams"][0]["backlog"]["items"] == 6 * ITEMS
    ledger = weir.check_ledger()["up0"]
    assert all(ledger[s]["pending"] == ledger[s]["accepted"] == 2 * ITEMS for s in SIGNALS)

    sink.listen(True)
    weir.wait_drained(120)
    ledger = weir.check_ledger()["up0"]
    for signal in SIGNALS:
        assert ledger[signal]["delivered"] == ledger[signal]["accepted"] == 2 * ITEMS
        assert sink.ids(signal) == set(range(2 * ITEMS))
        assert sink.stats(signal)["duplicates"] == 0, "refused connections leave nothing uncertain"
    assert sink.stats("metrics")["order_violations"] == 0


def test_an_outage_over_a_restart_and_data_before_and_after(box):
    sink = box.sink()
    weir = box.weir(sink.url("grpc"))
    box.gen(weir, signal="metrics", items=1000, in_flight=2)
    weir.wait_drained()
    sink.listen(False)
    box.gen(weir, signal="metrics", items=1000, first_id=1000, in_flight=2)
    weir.restart()
    box.gen(weir, signal="metrics", items=1000, first_id=2000, in_flight=2)
    sink.listen(True)
    box.gen(weir, signal="metrics", items=1000, first_id=3000, in_flight=2)
    weir.wait_drained()
    stats = sink.stats("metrics")
    assert sink.ids("metrics") == set(range(4000)) and stats["order_violations"] == 0
    assert weir.check_ledger()["up0"]["metrics"]["delivered"] == 4000


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_upstream_that_comes_and_goes(box, transport):
    sink = box.sink()
    weir = box.weir(sink.url(transport))
    gen = box.gen_start(weir, signal="metrics", items=scaled(20_000), rate=scaled(20_000) // 2, in_flight=4, items_per_request=20)
    for turn in range(1, 6):
        wait_for(lambda: sink.stats("metrics")["items"] >= turn * scaled(2_000) or not gen.process.alive(), 60, "more arrives")
        sink.listen(False)
        wait_for(lambda: weir.upstream()["state"] in ("backing_off", "probing"), 30, "weir sees the outage")
        sink.listen(True)
    assert gen.wait()["code"] == 0
    weir.wait_drained()
    assert sink.ids("metrics") == set(range(scaled(20_000)))
    assert sink.stats("metrics")["order_violations"] == 0
    lane = weir.check_ledger()["up0"]["metrics"]
    assert lane["delivered"] == lane["accepted"] == scaled(20_000)
