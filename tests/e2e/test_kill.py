# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random moments of ingest and replay, under load: nothing that was acknowledged is ever missing."""

import json
import os
import random
import subprocess
import time

import pytest

from weirtest import BUILD, SIGNALS, SLOW, TRANSPORTS, sanitizer_options, scaled, wait_for

KILLS = scaled(200) // 2  # with each kind of upstream
PER_REQUEST = 20
# A delivery is recorded at most so long or so many blocks after it was made, whichever is earlier; besides, exports are under way.
UNSETTLED_SECONDS, UNSETTLED_BLOCKS = 0.1, 64
IN_FLIGHT = 4 + 4 + 1  # of traces, logs and metrics


def durable_lanes(weir):
    """{signal: [[first, end], …]}: what is still to be delivered, as a killed relay's directory says."""
    done = subprocess.run([BUILD / "tests" / "tools" / "lanes", weir.spool], capture_output=True, text=True,
                          env={**os.environ, **sanitizer_options()})
    assert done.returncode == 0, done.stderr
    return {lane["signal"]: lane["intervals"] for lane in json.loads(done.stdout)["lanes"]}


class Arrivals:
    """The exports that the sink took, by the block numbers in their weir-batch header, compared with what is durable at each kill."""

    def __init__(self, sink):
        self.sink, self.looked_at, self.pending = sink, 0, {}
        self.repeatable_items, self.unsettled = 0, []  # (exports, seconds that the oldest of them is old) at each kill
        self.exports = 0

    def _take(self):
        """Those since the last look. The relay is dead and all that it sent has been read."""
        wait_for(lambda: self.sink.stats()["connections"] == 0, 20, "the dead relay's connections are closed")
        new = self.sink.stats()["attempts"] - self.looked_at
        attempts = self.sink.attempts()
        assert new <= len(attempts), "the sink remembers fewer"
        self.looked_at += new
        for attempt in attempts[len(attempts) - new:]:
            if attempt.get("outcome") == 0:
                first, _, last = attempt["headers"]["weir-batch"].split("/")[2].partition("-")
                yield attempt["signal"], int(first), int(last), attempt["items"], attempt["at_ms"] / 1000

    def at_kill(self, weir, killed):
        taken = list(self._take())
        # Nothing that was settled durably at an earlier death comes again.
        for signal, first, last, *_ in taken:
            intervals = self.pending.get(signal, [[0, 1 << 64]])
            assert any(a <= first and last < end for a, end in intervals), (signal, first, last, intervals)
        self.pending = durable_lanes(weir)
        again = [(items, at) for signal, first, last, items, at in taken if any(a <= last and first < end for a, end in self.pending[signal])]
        self.exports += len(taken)
        self.repeatable_items += sum(items for items, _ in again)
        self.unsettled.append((len(again), max((killed - at for _, at in again), default=0)))


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
    arrivals = Arrivals(sink)
    longest_start = 0.0
    for kill in range(KILLS):
        away = chance.random() < 0.2
        if away:
            sink.listen(False)
        time.sleep(chance.uniform(0, 0.25))  # the random moment itself, not a wait for something
        if away:
            sink.listen(True)  # killed while the backlog drains
        time.sleep(chance.uniform(0, 0.25))
        killed = time.monotonic()
        weir.kill()
        arrivals.at_kill(weir, killed)
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
    # An acknowledgement that was lost with the process makes the generator send again: uncertain. Besides that, a kill repeats what the
    # sink took and the state on the disk does not have: what was on its way, and what was delivered since the last commit.
    exports, ages = (sorted(values) for values in zip(*arrivals.unsettled))
    box.note(f"{KILLS} kills: {duplicates} duplicates of {sum(s['acked_items'] for s in sent.values())} items, "
             f"{uncertain} from lost acknowledgements at most, {arrivals.repeatable_items} unsettled at most; "
             f"unsettled at a kill: median {exports[KILLS // 2]}, most {exports[-1]} of {arrivals.exports} exports, the oldest "
             f"{ages[KILLS // 2] * 1000:.0f} ms old in the median, {ages[-1] * 1000:.0f} ms at most; longest start {longest_start:.2f} s")
    assert duplicates <= uncertain + arrivals.repeatable_items
    assert exports[-1] <= UNSETTLED_BLOCKS + IN_FLIGHT
    assert ages[KILLS // 2] < UNSETTLED_SECONDS * SLOW
    assert sink.stats("metrics")["order_violations"] == 0
