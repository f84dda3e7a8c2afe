# SPDX-License-Identifier: Apache-2.0
"""A relay under attack, honest senders beside it, and what must be true of both afterwards."""

import os
import re
import ssl
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from test_tls import Pki, receiver  # noqa: E402
from wire import Peer  # noqa: E402
from weirtest import SANITIZER, SLOW, Box, wait_for  # noqa: E402

MIB = 1 << 20
MEMORY_MAX = 256 * MIB  # anonymous, whatever comes
REST_MAX = 24 * MIB  # after all of it
LATENCY_MAX_MS = 10_000 * SLOW  # of an honest request, its retries included
ITEMS_A_SECOND = 200


class Fault(AssertionError):
    pass


def check(condition, text):
    if not condition:
        raise Fault(text)


def anonymous(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


class Watch(threading.Thread):
    """The peak of a process's anonymous memory, and the CPU it takes."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.ended = pid, 0, threading.Event()
        self.cpu0, self.began = self.cpu(), time.monotonic()
        self.start()

    def cpu(self):
        words = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def run(self):
        while not self.ended.wait(0.01):
            try:
                self.peak = max(self.peak, anonymous(self.pid))
            except OSError:
                return

    def wait_busy(self):
        """Until the relay has done what it was given: it rests."""
        before, deadline = self.cpu(), time.monotonic() + 30
        while time.monotonic() < deadline:
            time.sleep(0.1)
            now = self.cpu()
            if now - before < 0.05:
                return
            before = now

    def end(self):
        self.ended.set()
        self.join()
        self.peak = max(self.peak, anonymous(self.pid))
        self.seconds = time.monotonic() - self.began
        self.cpu_seconds = self.cpu() - self.cpu0


def speak_tls(pki, address, protocol):
    context = ssl.create_default_context(cafile=pki.path("ca.crt"))
    context.check_hostname = False
    context.set_alpn_protocols([protocol])
    Peer.tls[address] = context


class Target:
    """One relay with its upstream; attacked many times. With tls its two listeners speak nothing else."""

    def __init__(self, name, tls=False, **config):
        self.box = Box(name)
        self.sink = self.box.sink()
        self.pki, self.trust = Pki(self.box) if tls else None, {}
        if tls:
            self.trust = {"tls_ca": self.pki.path("ca.crt"), "tls_name": "localhost"}
            config = {**config, **receiver(self.pki.pair("server"))}
        self.weir = self.box.weir(self.sink.url("grpc"), config=config)
        self.first_id = 0
        self.bodies = {s: self.box.body(s, items=1) for s in ("traces", "logs")}
        self.grpc, self.http, self.admin = self.weir.grpc, self.weir.http, self.weir.admin
        if tls:
            speak_tls(self.pki, self.grpc, "h2")
            speak_tls(self.pki, self.http, "http/1.1")
        for gen in self.honest():  # the upstream's connections are open then
            gen.stop()
        self.weir.wait_drained()

    def metric(self, name):
        text = self.weir.get("/metrics", timeout=60)[2].decode()
        return float(re.search(rf"^{name} (\S+)$", text, re.M).group(1))

    def fds(self):
        return len(os.listdir(f"/proc/{self.weir.pid}/fd"))

    def connections(self):
        return self.metric("weir_receiver_connections")

    def gen(self, transport, **options):
        self.box.gen(self.weir, transport, **self.trust, **options)

    def honest(self):
        gens = []
        for transport, signal in (("grpc", "traces"), ("http", "logs")):
            gens.append(self.box.gen_start(self.weir, transport, signal=signal, items=0, rate=ITEMS_A_SECOND, items_per_request=10,
                                           retry=True, retry_max_ms=100, deadline_ms=300_000, first_id=self.first_id,
                                           stream=f"{transport}{self.first_id}", **self.trust))
            self.first_id += 1_000_000
        for gen in gens:
            wait_for(lambda: gen.acked() or not gen.process.alive(), 20, "an honest sender is served")
        return gens

    def rest(self):
        """What the attacks took has gone back to the machine."""
        pid = self.weir.pid
        if not SANITIZER and self.weir.process.alive():
            wait_for(lambda: anonymous(pid) < REST_MAX, 30, lambda: f"{anonymous(pid) / MIB:.0f} MiB of anonymous memory stay")

    def close(self):
        faults = self.box.close()
        if faults:
            print(self.box.logs())
        self.box.remove()
        return faults


def right_afterwards(target, gens, fds):
    """Acknowledged ⊆ received, ledger exact, connections back to what they were, no descriptor and no promise left."""
    weir = target.weir
    check(weir.process.alive(), f"the relay ended: {weir.log_tail()}")
    wait_for(lambda: target.metric("weir_receiver_connections") == 0, 60, "connections are back to zero")
    wait_for(lambda: target.metric("weir_receiver_promised_bytes") == 0, 30, "no memory is promised any more")
    wait_for(lambda: target.fds() <= fds, 30, lambda: f"{target.fds()} descriptors, {fds} before")
    weir.wait_drained()
    weir.check_ledger()
    for gen, signal in zip(gens, ("traces", "logs")):
        check(gen.acked() <= target.sink.ids(signal), "acknowledged, but not received")


def in_turn(attacks):
    """One attack of many: the short form."""

    def all_of_them(target, long):
        for attack in attacks:
            began = time.monotonic()
            text = attack(target, long)
            Peer.close_every()
            wait_for(lambda: target.connections() <= 2, 60, f"{attack.__name__}: its connections are gone")
            wait_for(lambda: target.metric("weir_receiver_promised_bytes") <= MIB, 30, f"{attack.__name__}: its promises are gone")
            print(f"  {attack.__name__:18} {time.monotonic() - began:4.1f} s   {text}", flush=True)
        return f"{len(attacks)} attacks in turn"
    return all_of_them


def under_attack(target, attack, long):
    """Runs one attack beside honest senders. Returns the row of figures."""
    wait_for(lambda: target.metric("weir_receiver_connections") == 0, 30, "no connections before")
    wait_for(target.weir.drained, 30, "nothing pending before")
    target.weir.get("/healthz")
    fds = target.fds()
    gens = target.honest()
    watch = Watch(target.weir.pid)
    try:
        text = attack(target, long)
        watch.wait_busy()
    except BaseException:
        for gen in gens:
            gen.process.kill()
        raise
    finally:
        watch.end()
        Peer.close_every()
    # Served afterwards as well, and not only before.
    for gen in gens:
        acked = len(gen.acked())
        wait_for(lambda: len(gen.acked()) > acked, 20, "an honest sender is served after the attack")
    results = [gen.stop() for gen in gens]
    right_afterwards(target, gens, fds)
    latency_ms = max(r["latency_us"]["max"] for r in results) / 1000
    refused = sum(sum(r["refused"].values()) for r in results)
    requests = sum(r["acked_items"] for r in results) // 10
    if not SANITIZER:
        check(watch.peak < MEMORY_MAX, f"{watch.peak / MIB:.0f} MiB of anonymous memory")
    check(latency_ms < LATENCY_MAX_MS, f"an honest request took {latency_ms:.0f} ms")
    return {"sent": text, "mib": watch.peak / MIB, "cpu": watch.cpu_seconds, "seconds": watch.seconds, "refused": refused,
            "requests": requests, "latency_ms": latency_ms}
