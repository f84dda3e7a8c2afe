# SPDX-License-Identifier: Apache-2.0
"""A bad network between relay and upstream: what was acknowledged arrives, whatever weir-chaos does to the connections."""

import pytest

from weirtest import TRANSPORTS, scaled, wait_for


def through_chaos(box, transport, **upstream):
    """A relay whose one upstream is a sink behind weir-chaos."""
    sink = box.sink()
    chaos = box.chaos(sink.address(transport))
    weir = box.weir({"name": "up0", "endpoint": chaos.url(transport), "timeout": "1s", **upstream})
    return sink, chaos, weir


def check(box, sink, weir, items):
    """acknowledged ⊆ received, and the ledger adds up."""
    weir.wait_drained()
    acked = set().union(*(gen.acked() for gen in box.gens))
    assert len(acked) == items
    assert acked <= sink.ids("traces")
    lane = weir.check_ledger()["up0"]["traces"]
    assert lane["delivered"] == items and lane["dead_lettered"] == 0, lane


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_peer_that_vanished(box, transport):
    """Half open: the network acknowledges what nobody reads. The first timeout leads to a new connection."""
    sink, chaos, weir = through_chaos(box, transport)
    box.gen(weir, items=100)
    weir.wait_drained()
    accepted = chaos.stats()["accepted"]
    chaos.do("swallow")
    box.gen(weir, items=400, first_id=100)
    check(box, sink, weir, 500)
    assert chaos.stats()["swallowed"] > 0 and chaos.stats()["accepted"] > accepted
    assert weir.last_error()["code"] == "timeout"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_cut_in_mid_answer(box, transport):
    """Each connection ends after so many bytes of answers: before, in and behind the first one."""
    sink, chaos, weir = through_chaos(box, transport)
    first = 0
    for cut in (1, 20, 40, 60, 80, 100, 140, 200):
        chaos.mode(cut_down=cut)
        chaos.do("reset")
        cuts = chaos.stats()["cuts"]
        while chaos.stats()["cuts"] == cuts:
            assert first < 5000, "a cut"
            box.gen(weir, items=10, first_id=first)
            first += 10
    chaos.mode(cut_down=0)
    chaos.do("reset")
    check(box, sink, weir, first)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_cut_in_mid_request(box, transport):
    sink, chaos, weir = through_chaos(box, transport, compression="none")
    chaos.mode(cut_up=20000)
    box.gen(weir, items=400, payload_bytes=10000, items_per_request=10)
    wait_for(lambda: chaos.stats()["cuts"] > 3, 30, "cuts")
    chaos.mode(cut_up=0)
    chaos.do("cut")
    check(box, sink, weir, 400)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_slow_link(box, transport):
    """200 ms each way: nothing fails, and joined exports make up for the wait."""
    sink, chaos, weir = through_chaos(box, transport, timeout="10s")
    chaos.mode(delay_ms=200)
    items = scaled(5000)
    box.gen(weir, items=items, in_flight=8)
    check(box, sink, weir, items)
    assert weir.last_error() is None
    assert len(sink.ids("traces")) == sink.stats("traces")["items"], "nothing came twice"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_narrow_link(box, transport):
    """A whole export would take longer than its timeout: exports become smaller until they pass."""
    sink, chaos, weir = through_chaos(box, transport, compression="none", max_in_flight=1)
    sink.listen(False)
    box.gen(weir, items=300, payload_bytes=10000, items_per_request=5, in_flight=4)  # 600 KB, three seconds of this link
    chaos.mode(throttle=200000)
    sink.listen(True)
    check(box, sink, weir, 300)
    assert any(e.get("code") == "timeout" for e in weir.events()), "the first was too large"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_link_that_flaps(box, transport):
    sink, chaos, weir = through_chaos(box, transport)
    chaos.mode(flap_ms=100, delay_ms=10)
    sent = 0

    def sent_through_ten_cuts():  # a connection that has nothing to carry is not made again, and not cut
        nonlocal sent
        box.gen(weir, items=scaled(2000), first_id=sent, in_flight=4)
        sent += scaled(2000)
        return chaos.stats()["cuts"] >= 10

    wait_for(sent_through_ten_cuts, 60, "ten cuts")
    chaos.mode(flap_ms=0)
    check(box, sink, weir, sent)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_held_and_let_go(box, transport):
    """A network that stalls and goes on: what was under way comes late, is sent again meanwhile, and counts once."""
    sink, chaos, weir = through_chaos(box, transport)
    chaos.mode(hold=1)
    box.gen(weir, items=200)
    wait_for(weir.last_error, 30, "a timeout")
    chaos.mode(hold=0)
    check(box, sink, weir, 200)
