# SPDX-License-Identifier: Apache-2.0
"""weir -> weir: what the first sends again, because it did not hear the answer, the second does not store again.

WEIR_TEST_CUTS=1000 is the long form: so many answers are cut off on each transport, and each weir is killed a twentieth as often."""

import os
import random
import shutil
import socket
import subprocess
import threading

import pytest

from test_deadletters import letters
from weirtest import BUILD, HTTP_PATHS, TRANSPORTS, field, request, scaled, wait_for

CUTS = int(os.environ.get("WEIR_TEST_CUTS", "0")) or scaled(30)
SIGNALS = ("traces", "metrics")  # relaxed and strict
RETRY = {"initial": "10ms", "max": "100ms"}


class Chain:
    """gen -> first -> weir-chaos -> second -> sink."""

    def __init__(self, box, transport, config=None):
        self.box, self.transport, self.sent = box, transport, {signal: 0 for signal in SIGNALS}
        self.poison = {signal: 0 for signal in SIGNALS}
        self.sink = box.sink()
        ports = box.port(), box.port()
        self.second = box.weir({"name": "sink", "endpoint": self.sink.url("grpc")}, name="second", config={
            "receiver": {"grpc": {"endpoint": ports[0].address}, "http": {"endpoint": ports[1].address}},
            "spool": {"segment_size": "1MiB"}})
        self.chaos = box.chaos(self.second.address(transport))
        self.first = box.weir({"name": "second", "endpoint": self.chaos.url(transport), "timeout": "2s", "retry": RETRY, **(config or {})},
                              name="first", config={"receiver": {"utf8": "pass"}})

    def send(self, items, **options):
        for signal in SIGNALS:
            self.box.gen(self.first, signal=signal, items=items, first_id=self.sent[signal], items_per_request=options.pop("items_per_request", 5),
                         **options)
            self.sent[signal] += items

    def send_poison(self, items, which):
        """A request with one item that the first weir takes, as configured here, and the second refuses: a text that is not UTF-8."""
        for signal in SIGNALS:
            numbers = range(self.sent[signal], self.sent[signal] + items)
            body = crafted(signal, [(n, n == numbers[which]) for n in numbers])
            status, _, answer = request(self.first.http, "POST", HTTP_PATHS[signal], body, {"content-type": "application/x-protobuf"})
            assert status == 200, answer
            self.sent[signal] += items
            self.poison[signal] += 1

    def drain_second(self):
        """The second's own hop is a clean one: nothing is cut or killed while it delivers."""
        self.sink.listen(True)
        self.second.wait_drained()
        assert self.second.terminate() == 0, "all that it delivered is settled durably"
        self.sink.listen(False)
        self.second.start()

    def check(self, clean):
        """Each item once in the second weir, and where its own hop was a clean one at the sink, too."""
        self.first.wait_drained(60 + sum(self.sent.values()) / 1000)  # a backlog in exports of 2 KiB, each durable before the next
        self.sink.listen(True)
        self.second.wait_drained()
        for signal, items in self.sent.items():
            stats = self.sink.stats(signal)
            received = self.sink.ids(signal)
            sent, items = items, items - self.poison[signal]
            assert len(received) == items, f"{signal}: {items - len(received)} items are missing"
            stored = self.second.check_ledger()["sink"][signal]["accepted"]
            assert stored == items, f"{signal}: {stored - items} items were stored twice"
            assert not clean or stats["items"] == items, f"{signal}: {stats['items'] - items} items came twice"
            lane = self.first.check_ledger()["second"][signal]
            assert lane["delivered"] == items and lane["accepted"] == sent and lane["dead_lettered"] == sent - items, lane
        assert counted(self.second, "weir_receiver_origins_forgotten_total") == 0
        assert not clean or self.sink.stats("metrics")["order_violations"] == 0


def attribute(key, kind, value):
    return field(1, key) + field(2, field(kind, value))


def crafted(signal, items):
    """A request of these: (id, whether it is poison)."""
    resource = field(1, field(1, attribute(b"weir.test.stream", 1, b"gen")))
    number = {"traces": 9, "metrics": 7}[signal]  # of an item's attributes
    made = [field(number, attribute(b"weir.test.id", 3, n)) + (field(number, attribute(b"poison", 1, b"\xff")) if bad else b"") for n, bad in items]
    if signal == "metrics":
        points = b"".join(field(1, item) for item in made)
        return field(1, resource + field(2, field(2, field(1, b"m") + field(7, points + field(2, 2)))))
    return field(1, resource + field(2, b"".join(field(2, item) for item in made)))


def live(chain, clean, besides=lambda chance: None):
    """Sends, cuts and kills, until CUTS answers were cut off and both weirs killed often enough, and checks what came of it."""
    seed = int(os.environ.get("WEIR_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)
    chain.box.note(f"WEIR_TEST_SEED={seed}")
    chance = random.Random(seed)
    chain.sink.listen(not clean)
    chain.chaos.mode(cut_answers=2)
    kills = {"first": 0, "second": 0}
    while chain.chaos.stats()["cut_answers"] < CUTS or min(kills.values()) < max(1, CUTS // 20):
        if chance.random() < 0.3:
            chain.chaos.mode(refuse=1)  # so that there is a backlog, and exports are joined
            chain.chaos.do("reset")
        chain.send(chance.choice((20, 100, 400)), in_flight=4, payload_bytes=chance.choice((10, 1000)))
        besides(chance)
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
        if clean and chance.random() < 0.05:
            chain.drain_second()
    stats = chain.chaos.stats()
    chain.chaos.mode(cut_answers=0)
    chain.check(clean)
    chain.box.note(f"{chain.transport}: {stats['cut_answers']} of {stats['answers']} answers cut off, {kills['first']} kills of the first weir, "
                   f"{kills['second']} of the second: {sum(chain.sent.values())} items, none lost, none twice, {sum(chain.poison.values())} refused")


@pytest.mark.parametrize("clean", (True, False), ids=("clean", "live"))
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_answers_cut_off_and_both_killed(box, transport, clean):
    """Every second answer is cut off after the second weir has said it; both are killed at random moments, and the first one joins and splits
    its blocks differently after each death. Where the last hop is a clean one each item arrives once; where the second weir delivers all the
    while, and its deaths repeat some of that, its ledger says that each was stored once."""
    live(Chain(box, transport), clean)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_poison_among_what_is_there_in_part(box, transport):
    """The same, with items that the second weir refuses: each of them is one dead letter of the first, and nothing beside it is lost or stored twice."""
    chain = Chain(box, transport)
    live(chain, True, lambda chance: (sum(chain.poison.values()) == 0 or chance.random() < 0.5) and chain.send_poison(5, chance.randrange(5)))
    kept = [(letter["signal"], letter["items"]) for letter in letters(chain.first)]
    assert kept and sorted(kept) == sorted((signal, 1) for signal in SIGNALS for _ in range(chain.poison[signal]))


class Keeper:
    """A proxy that keeps the first request: the sender waits in vain. deliver() sends that copy, over a connection of its own."""

    def __init__(self, to):
        self.to, self.kept, self.first = to, b"", True
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _connect(self):
        host, port = self.to.rsplit(":", 1)
        return socket.create_connection((host, int(port)))

    def _accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            try:
                upstream = self._connect()
            except OSError:
                client.close()
                continue
            keeps, self.first = self.first, False
            threading.Thread(target=self._up, args=(client, upstream, keeps), daemon=True).start()
            threading.Thread(target=self._pump, args=(upstream, client, lambda data: data), daemon=True).start()

    def _pump(self, source, target, pick):
        try:
            while data := source.recv(65536):
                target.sendall(pick(data))
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _up(self, client, upstream, keeps):
        passed = 0

        def pick(data):
            nonlocal passed
            if not keeps:
                return data
            self.kept += data
            end = before_request(self.kept)
            part, passed = self.kept[passed:end], max(end, passed)
            return part

        self._pump(client, upstream, pick)

    def deliver(self, arrived):
        """Sends what was kept, and waits until it has arrived. (It may have no answer: the sender's reset comes right behind it.)"""
        with self._connect() as upstream:
            upstream.sendall(self.kept)
            wait_for(arrived, 20, "the late copy has arrived")


def frames(data):
    while len(data) >= 9:
        length = int.from_bytes(data[:3], "big")
        yield data[3], 9 + length
        data = data[9 + length:]


def before_request(data):
    """How many bytes of a client come before its first request: HTTP/2's preface and settings."""
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    if not data.startswith(preface):
        return 0
    end = len(preface)
    for kind, length in frames(data[end:]):
        if kind == 1 or end + length > len(data):
            break
        end += length
    return end


def counted(weir, name):
    text = weir.get("/metrics")[2].decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


@pytest.mark.parametrize("restarted", (False, True), ids=("", "restarted"))
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_late_copy(box, transport, restarted):
    """A proxy keeps a request for so long that its sender gives up, sends it again joined with more, and gets on. Then the copy arrives."""
    sink, port = box.sink(), box.port()
    config = {"receiver": {transport: {"endpoint": port.address}}}
    second = box.weir({"name": "sink", "endpoint": sink.url("grpc")}, name="second", config=config)
    keeper = Keeper(second.address(transport))
    first = box.weir({"name": "second", "endpoint": f"{'grpc' if transport == 'grpc' else 'http'}://{keeper.address}", "timeout": "1s",
                      "retry": RETRY}, name="first")
    box.gen(first, items=5, items_per_request=5)
    wait_for(lambda: len(keeper.kept) > before_request(keeper.kept), 10, "the first request")
    box.gen(first, items=95, first_id=5, items_per_request=5)
    first.wait_drained()
    box.gen(first, items=10, first_id=100)  # the first weir says now that it needs nothing of that any more
    first.wait_drained()
    second.wait_drained()
    if restarted:
        second.restart()
    repeats = counted(second, "weir_receiver_repeated_requests_total")
    keeper.deliver(lambda: counted(second, "weir_receiver_repeated_requests_total") > repeats)
    second.wait_drained()
    assert second.lane("traces")["accepted"] == 110 and len(sink.ids("traces")) == 110


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_replay_by_command_is_stored_again(box, transport):
    sink = box.sink()
    second = box.weir({"name": "sink", "endpoint": sink.url("grpc")}, name="second")
    first = box.weir({"name": "second", "endpoint": f"{'grpc' if transport == 'grpc' else 'http'}://{second.address(transport)}"},
                     name="first", config={"spool": {"keep_delivered": "1h"}})
    box.gen(first, items=100, items_per_request=5)
    for times in (2, 3):
        first.wait_drained()
        replay = subprocess.run([BUILD / "weir", "replay", "second", "--since", "-1h", "--admin", f"http://{first.admin}"],
                                capture_output=True, text=True)
        assert replay.returncode == 0, replay.stderr
        first.wait_drained()
        second.wait_drained()
        assert sink.stats("traces")["items"] == 100 * times
    assert counted(second, "weir_receiver_repeated_requests_total") == 0


def test_a_spool_that_was_set_back(box):
    """An old snapshot goes on differently: the numbers of its blocks are used again, for other data, which must not be taken for old."""
    sink = box.sink()
    second = box.weir({"name": "sink", "endpoint": sink.url("grpc")}, name="second")
    first = box.weir({"name": "second", "endpoint": f"grpc://{second.grpc}"}, name="first")
    box.gen(first, items=50, items_per_request=5)
    first.wait_drained()
    assert first.terminate() == 0
    snapshot = box.directory / "snapshot"
    shutil.copytree(first.spool, snapshot)
    first.start()
    box.gen(first, items=100, first_id=1000, items_per_request=5)
    first.wait_drained()
    first.kill()
    shutil.rmtree(first.spool)
    shutil.copytree(snapshot, first.spool)
    first.start()
    box.gen(first, items=100, first_id=2000, items_per_request=5)
    first.wait_drained()
    second.wait_drained()
    assert sink.ids("traces") == {*range(50), *range(1000, 1100), *range(2000, 2100)}
    assert sink.stats("traces")["items"] == 250
