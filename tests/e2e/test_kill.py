# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random moments of ingest and replay, under load: nothing that was acknowledged is ever missing."""

import os
import random
import time

import pytest

from weirtest import SIGNALS, TRANSPORTS, scaled

KILLS = scaled(200) // 2  # with each kind of upstream
PER_REQUEST = 20
# State is durable at most this long after a delivery: what arrived within it before a kill may arrive again.
UNSETTLED_SECONDS = 0.3


@pytest.mark.parametrize("upstream", TRANSPORTS)
def test_kill_9(box, upstream):
    seed = int(os.environ.get("WEIR_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)
    box.note(f"WEIR_TEST_SEED={seed}")
    chance = random.Random(seed)
    sink = box.sink()
    grpc, http = box.port(), box.port()
    weir = box.weir(sink.url(upstream), config={
        "receiver": {"grpc": {"endpoint": grpc.address}, "http": {"endpoint": http.address}},
        "spool": {"segment_size": "16MiB"},
    })
    # Each generator repeats what was not acknowledged, as an exporter does, through every death of the relay.
    gens = {
        signal: box.gen_start(weir, "http" if signal == "metrics" else "grpc", signal=signal, items=0, rate=1000,
                              items_per_request=PER_REQUEST, in_flight=2, retry=True, retry_max_ms=50, deadline_ms=900_000)
        for signal in SIGNALS
    }
    repeatable = 0  # items that were on their way to the sink, or not yet settled, at a kill
    longest_start = 0.0

    def arrived():
        stats = sink.stats()
        return sum(stats["signals"][s]["items"] for s in SIGNALS)

    for kill in range(KILLS):
        away = chance.random() < 0.2
        if away:
            sink.listen(False)
        life = chance.uniform(0, 0.5)
        if life > UNSETTLED_SECONDS:
            time.sleep(life - UNSETTLED_SECONDS)  # the random moment itself, not a wait for something
        before = arrived()
        if away:
            sink.listen(True)  # killed while the backlog drains
        time.sleep(min(life, UNSETTLED_SECONDS))
        weir.kill()
        repeatable += arrived() - before
        began = time.monotonic()
        weir.start()
        longest_start = max(longest_start, time.monotonic() - began)
        if kill % 20 == 0:
            weir.check_ledger()
    sent = {}
    for signal, gen in gens.items():
        result = gen.stop()
        sent[signal] = result
        assert result["failed_items"] == 0, result
    weir.wait_drained()
    ledger = weir.check_ledger()["up0"]
    duplicates = uncertain = 0
    for signal, gen in gens.items():
        acked, received, stats = gen.acked(), sink.ids(signal), sink.stats(signal)
        assert len(acked) == sent[signal]["acked_items"] > 0
        missing = acked - received
        assert not missing, f"{signal}: {len(missing)} acknowledged items are missing, e.g. {sorted(missing)[:10]}"
        assert not received - acked, "everything was repeated until it was acknowledged"
        assert ledger[signal]["delivered"] == ledger[signal]["accepted"], ledger[signal]
        duplicates += stats["duplicates"]
        uncertain += sent[signal]["uncertain_items"]
    # An acknowledgement that was lost with the process makes the generator send again: uncertain. Besides that, a kill repeats
    # what the sink got without weir's having settled it.
    box.note(f"{KILLS} kills: {duplicates} duplicates, {uncertain} from lost acknowledgements at most, {repeatable} unsettled at "
             f"most; {sum(s['acked_items'] for s in sent.values())} items; longest start {longest_start:.2f} s")
    assert duplicates <= uncertain + repeatable
    assert sink.stats("metrics")["order_violations"] == 0
