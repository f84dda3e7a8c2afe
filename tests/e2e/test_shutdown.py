# SPDX-License-Identifier: Apache-2.0
"""SIGTERM: what is under way is answered, data stays, it ends in seconds; a second one ends it at once."""

import signal
import time

import pytest

from weirtest import SLOW, TRANSPORTS, wait_for


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_sigterm_under_load_answers_what_is_under_way(box, transport):
    """Every request is acknowledged, or refused, or never began: what is stored is exactly what was acknowledged."""
    sink = box.sink()
    weir = box.weir(sink.url("grpc"))
    gen = box.gen_start(weir, transport, items=0, items_per_request=10, connections=4, in_flight=8, deadline_ms=60_000)
    wait_for(lambda: weir.lane("traces")["accepted"] > 2000, 30, "it is under load")
    began = time.monotonic()
    assert weir.terminate() == 0
    took = time.monotonic() - began
    gen.process.signal(signal.SIGTERM)
    result = gen.wait()
    assert took < 5 * SLOW, f"{took:.1f} s"
    assert result["uncertain_items"] == 0, result
    assert set(result["refused"]) <= {"UNAVAILABLE", "HTTP 503", "connect", "not_processed"}, result["refused"]
    weir.start()
    weir.wait_drained()
    assert gen.acked() == sink.ids("traces"), "stored exactly what was acknowledged"
    assert weir.check_ledger()["up0"]["traces"]["accepted"] == len(gen.acked())


def test_undelivered_data_stays(box):
    sink = box.sink()
    sink.listen(False)
    weir = box.weir(sink.url("grpc"))
    box.gen(weir, items=1000, in_flight=4)
    began = time.monotonic()
    assert weir.terminate() == 0
    assert time.monotonic() - began < 5 * SLOW, "it does not wait for an upstream that is away"
    sink.listen(True)
    weir.start()
    weir.wait_drained()
    assert sink.ids("traces") == set(range(1000))


def test_an_upstream_that_hangs_does_not_hold_the_end_up(box):
    sink = box.sink()
    sink.mode(hang=1)
    weir = box.weir(sink.url("grpc"))
    box.gen(weir, items=10)
    wait_for(lambda: sink.attempts(), 30, "an export is under way")
    began = time.monotonic()
    assert weir.terminate() == 0
    assert time.monotonic() - began < 5 * SLOW


def test_a_second_sigterm_ends_it_at_once(box):
    weir = box.weir("grpc://127.0.0.1:1", config={"receiver": {"shutdown_delay": "1h"}})
    box.gen(weir, items=100)
    weir.process.signal(signal.SIGTERM)
    wait_for(lambda: weir.get("/readyz")[0] == 503, 20, "not ready while it shuts down")
    assert weir.process.alive()
    box.gen(weir, items=100, first_id=100)  # still serving, for those who do not know yet
    weir.process.signal(signal.SIGTERM)
    weir.process.wait(5)
    weir.config["receiver"]["shutdown_delay"] = "0s"
    weir.start()
    assert weir.lane("traces")["pending"] == 200


def test_a_second_sigterm_while_exports_have_their_last_second(box):
    """An export hangs, so the replay worker would wait its second out. The moment is looked for: the admin port ends just before."""
    sink = box.sink()
    sink.mode(hang=1)
    said = []
    for _ in range(5):
        weir = box.weir(sink.url("grpc"))
        box.gen(weir, items=10)
        wait_for(lambda: sink.attempts(), 30, "an export is under way")
        weir.process.signal(signal.SIGTERM)
        wait_for(lambda: not answers(weir), 20, "the admin port has ended")
        weir.process.signal(signal.SIGTERM)
        assert weir.process.wait(15) == 0
        said.append(weir.event("stopped")["message"])
        if "at once" in said[-1]:
            return
    raise AssertionError(said)


def answers(weir):
    try:
        return weir.get("/healthz")[0] == 200
    except OSError:
        return False


def test_sigint_is_the_same_and_sighup_is_not_the_end(box):
    weir = box.weir("grpc://127.0.0.1:1")
    weir.process.signal(signal.SIGHUP)
    box.gen(weir, items=10)
    assert weir.process.alive()
    weir.process.signal(signal.SIGINT)
    assert weir.process.wait(15) == 0


def test_connections_to_many_upstreams(box):
    """The threads that made the connections are gone when a relay ends, and with more than a few of them their stacks too."""
    sink = box.sink()
    weir = box.weir(*(sink.url(transport) for transport in ("grpc", "http") for _ in range(6)))
    box.gen(weir, items=200)
    weir.wait_drained()
    assert weir.terminate() == 0, weir.process.log()
