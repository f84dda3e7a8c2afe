#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""make bench: what a durable request costs and how fast a backlog drains, beside the machine's own limits in the same run.

Ingest: 8 KiB requests by gRPC and HTTP at 1, 8 and 64 in flight, upstream down, so that the CPU is that of making data durable
alone. Beside each row: append + fdatasync of 8 KiB by one writer, measured just before and just after.
Drain: one backlog of raw telemetry, drained from copies of the same spool with zstd (as stored), gzip and no compression into an
upstream that throws everything away.
Fan-out: a load through a relay with one upstream, and in turns through relays that have a dead one beside it. Ratios hold within this run only; the load generator shares the cores."""
import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

BUILD = os.environ.get("WEIR_BUILD", "build")
TICK = os.sysconf("SC_CLK_TCK")
children = []


def spawn(arguments, **keywords):
    child = subprocess.Popen([str(a) for a in arguments], **keywords)
    children.append(child)
    return child


def stop(child):
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(20)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def anonymous_mib(pid):
    with open(f"/proc/{pid}/smaps_rollup") as smaps:
        return next(int(line.split()[1]) for line in smaps if line.startswith("Anonymous:")) / 1024


class Relay:
    def __init__(self, directory, upstream, *settings, config=None):
        self.log = open(os.path.join(directory, "weir.log"), "w+")
        arguments = [f"{BUILD}/weir", "run", *(("--config", config) if config else ("--upstream", upstream)), "--spool", os.path.join(directory, "spool"),
                     "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--set", "log.format=json"]
        for setting in settings:
            arguments += ["--set", setting]
        self.process = spawn(arguments, stderr=self.log)
        while True:
            with open(self.log.name) as log:
                event = next((json.loads(line) for line in log if '"event":"listening"' in line and line.endswith("\n")), None)
            if event:
                break
            if self.process.poll() is not None:
                sys.exit(open(self.log.name).read())
            time.sleep(0.005)
        self.grpc, self.http, self.admin = event["grpc"], event["http"], event["admin"]

    def status(self):
        with urllib.request.urlopen(f"http://{self.admin}/v1/status", timeout=30) as answer:
            return json.load(answer)

    def cpu(self):
        return cpu_seconds(self.process.pid)

    def stop(self):
        stop(self.process)
        self.log.close()


def append(directory, seconds):
    out = subprocess.run([f"{BUILD}/tests/bench/bench_append", directory, "8192", str(seconds)], check=True,
                         capture_output=True)
    return json.loads(out.stdout)


def generate(relay, transport, in_flight, items, per_request, payload, signal_name="traces", first=0, more=()):
    connections = min(in_flight, 4)
    out = subprocess.run(
        [str(a) for a in (f"{BUILD}/weir-gen", f"--{transport}", relay.grpc if transport == "grpc" else relay.http,
                          "--signal", signal_name, "--first-id", first, "--items", items, "--items-per-request", per_request,
                          "--in-flight", in_flight // connections, "--connections", connections,
                          "--payload-bytes", payload, "--deadline-ms", 120000, "--retry", *more)], capture_output=True)
    if out.returncode != 0:
        sys.exit(f"weir-gen failed: {out.stderr.decode()}{out.stdout.decode()}")
    return json.loads(out.stdout)


def ingest(directory, seconds):
    print("\n## Durable ingest of 8 KiB requests, upstream down\n")
    print("| transport | in flight | requests/s | relay CPU µs/request | ack p50 µs | ack p99 µs | requests/commit |"
          " append+fdatasync p50 µs | ack p50 / append p50 | requests/s ÷ appends/s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for transport in ("grpc", "http"):
        for in_flight in (1, 8, 64):
            work = tempfile.mkdtemp(dir=directory)
            relay = Relay(work, "grpc://127.0.0.1:1", "upstreams.default.retry.max=60s")
            generate(relay, transport, in_flight, 22 * 500, 22, 8192)  # warm up
            raw = [append(work, 1)]
            # As many requests as take about the wished time, judged by a short run.
            probe = generate(relay, transport, in_flight, 22 * 1000, 22, 8192)
            requests = max(2000, int(probe["requests"] / probe["seconds"] * seconds))
            before_cpu, before = relay.cpu(), relay.status()["spool"]
            result = generate(relay, transport, in_flight, 22 * requests, 22, 8192)
            after_cpu, after = relay.cpu(), relay.status()["spool"]
            raw.append(append(work, 1))
            commits = after["commits"] - before["commits"]
            append_p50 = statistics.mean(r["p50_us"] for r in raw)
            appends = statistics.mean(r["per_second"] for r in raw)
            rate = result["requests"] / result["seconds"]
            p50, p99 = result["latency_us"]["p50"], result["latency_us"]["p99"]
            print(f"| {transport} | {in_flight} | {rate:.0f} | {(after_cpu - before_cpu) / result['requests'] * 1e6:.1f} |"
                  f" {p50:.0f} | {p99:.0f} | {result['requests'] / max(1, commits):.1f} | {append_p50:.0f} |"
                  f" {p50 / append_p50:.2f} | {rate / appends:.2f} |", flush=True)
            relay.stop()
            shutil.rmtree(work)


def tls(directory, seconds):
    """The same load in the clear and over TLS, in turn."""
    print("\n## TLS beside plaintext: durable ingest of 8 KiB requests, 64 in flight over 4 connections\n")
    print("| transport | | requests/s | relay CPU µs/request | ack p50 µs | ack p99 µs |")
    print("|---|---|---|---|---|---|")
    work = tempfile.mkdtemp(dir=directory)
    crt, key = os.path.join(work, "tls.crt"), os.path.join(work, "tls.key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", crt,
                    "-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"], check=True, capture_output=True)
    for transport in ("grpc", "http"):
        for name, settings, more in (("plaintext", (), ()),
                                     ("TLS 1.3", [f"receiver.{transport}.tls.{k}={v}" for k, v in (("cert_file", crt), ("key_file", key))],
                                      ("--tls-ca", crt))):
            run = tempfile.mkdtemp(dir=directory)
            relay = Relay(run, "grpc://127.0.0.1:1", "upstreams.default.retry.max=60s", *settings)
            probe = generate(relay, transport, 64, 22 * 2000, 22, 8192, more=more)
            requests = max(2000, int(probe["requests"] / probe["seconds"] * seconds))
            before = relay.cpu()
            result = generate(relay, transport, 64, 22 * requests, 22, 8192, more=more)
            cpu = (relay.cpu() - before) / result["requests"] * 1e6
            latency = result["latency_us"]
            print(f"| {transport} | {name} | {result['requests'] / result['seconds']:.0f} | {cpu:.1f} | {latency['p50']:.0f} | {latency['p99']:.0f} |",
                  flush=True)
            relay.stop()
            shutil.rmtree(run)


def drain(directory, mib):
    print(f"\n## Drain of a backlog of {mib} MiB raw telemetry (traces, gRPC upstream)\n", flush=True)
    work = tempfile.mkdtemp(dir=directory)
    relay = Relay(work, "grpc://127.0.0.1:1", "upstreams.default.retry.max=60s")
    requests = mib * 1024 * 1024 // 8192
    generate(relay, "grpc", 64, 22 * requests, 22, 8192)
    spool = relay.status()["spool"]
    raw = relay.status()["upstreams"][0]["backlog"]["bytes"]
    print(f"{raw / 1e6:.0f} MB raw, {spool['used_bytes'] / 1e6:.0f} MB on disk\n")
    relay.stop()
    upstream = spawn([f"{BUILD}/tests/bench/bench_upstream"], stdout=subprocess.PIPE)
    address = json.loads(upstream.stdout.readline())["grpc"]
    print("| compression | seconds | MB/s raw | relay CPU s/GB raw | anonymous MiB at the end | speed ÷ gzip |")
    print("|---|---|---|---|---|---|")
    rows = []
    for compression in ("zstd", "gzip", "none"):
        copy = tempfile.mkdtemp(dir=directory)
        shutil.copytree(os.path.join(work, "spool"), os.path.join(copy, "spool"))
        began = time.monotonic()  # start-up is part of it: the drain begins while we wait for the address
        relay = Relay(copy, f"grpc://{address}", f"upstreams.default.compression={compression}")
        while relay.status()["upstreams"][0]["backlog"]["items"] > 0:
            time.sleep(0.02)
        seconds = time.monotonic() - began
        rows.append((compression, seconds, raw / 1e6 / seconds, relay.cpu() / (raw / 1e9), anonymous_mib(relay.process.pid)))
        relay.stop()
        shutil.rmtree(copy)
    gzip = next(row[2] for row in rows if row[0] == "gzip")
    for row in rows:
        print(f"| {row[0]} | {row[1]:.2f} | {row[2]:.0f} | {row[3]:.2f} | {row[4]:.1f} | {row[2] / gzip:.2f} |")
    stop(upstream)


class Fanout:
    """A relay whose first upstream takes everything, and beside it none, a dead one, or one that accepts and says nothing."""

    def __init__(self, directory, name, live, dead):
        self.name, self.live, self.dead, self.directory = name, live, dead, directory
        self.rounds = []

    def start(self):
        self.work = tempfile.mkdtemp(dir=self.directory)
        config = os.path.join(self.work, "weir.yaml")
        upstreams = [{"name": "live", "endpoint": f"grpc://{self.live}", "compression": "zstd"}]
        if self.dead is not None:
            upstreams.append({"name": "dead", "endpoint": f"grpc://{self.dead}"})
        with open(config, "w") as file:
            json.dump({"upstreams": upstreams, "spool": {"max_size": "4GiB"}}, file)
        self.relay = Relay(self.work, None, config=config)

    def round(self, requests, in_flight):
        """One load, until the live upstream has it."""
        before = self.relay.cpu()
        began = time.monotonic()
        result = generate(self.relay, "grpc", in_flight, 22 * requests, 22, 8192)
        while self.relay.status()["upstreams"][0]["backlog"]["items"] > 0:
            time.sleep(0.002)
        seconds = time.monotonic() - began
        count, total = (metric(self.relay, f"weir_lane_send_duration_seconds_{part}", 'upstream="live",signal="traces"') for part in ("count", "sum"))
        self.rounds.append({"delivered/s": requests / seconds, "ack p50 µs": result["latency_us"]["p50"], "ack p99 µs": result["latency_us"]["p99"],
                            "send µs": total / count * 1e6, "CPU µs/request": (self.relay.cpu() - before) / requests * 1e6})

    def stop(self):
        self.relay.stop()
        shutil.rmtree(self.work)


def metric(relay, name, labels):
    with urllib.request.urlopen(f"http://{relay.admin}/metrics", timeout=30) as answer:
        return next(float(line.rsplit(" ", 1)[1]) for line in answer.read().decode().splitlines() if line.startswith(f"{name}{{{labels}}}"))


def good_quartile(name, rounds):
    """The border of the better quarter: other work on the machine makes rounds worse, never better."""
    return statistics.quantiles((r[name] for r in rounds), n=4)[2 if name.endswith("/s") else 0]


def fanout(directory, seconds, rounds):
    """In turns within one run, so that what else the machine does meets all variants alike; the better quarter of each one's rounds is compared."""
    upstream = spawn([f"{BUILD}/tests/bench/bench_upstream"], stdout=subprocess.PIPE)
    address = json.loads(upstream.stdout.readline())["grpc"]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        variants = [Fanout(directory, "alone", address, None), Fanout(directory, "beside one that refuses", address, "127.0.0.1:1"),
                    Fanout(directory, "beside one that is silent", address, "%s:%d" % silent.getsockname())]
        for in_flight in (1, 64):
            for variant in variants:
                variant.rounds.clear()
                variant.start()
            probe = generate(variants[0].relay, "grpc", in_flight, 22 * 1000, 22, 8192)
            requests = max(500, int(probe["requests"] / probe["seconds"] * seconds))
            for turn in range(rounds + 1):
                for variant in variants if turn % 2 else reversed(variants):
                    variant.round(requests, in_flight)
            for variant in variants:
                variant.rounds.pop(0)  # to warm up
                variant.stop()
            names = list(variants[0].rounds[0])
            print(f"\n## Two upstreams, one down for the whole run: {in_flight} in flight, {rounds} rounds of {requests} requests in turns\n")
            print("| live upstream | " + " | ".join(names) + " |\n" + "|---" * (len(names) + 1) + "|")
            for variant in variants:
                cells = []
                for name in names:
                    mine, alone = (good_quartile(name, v.rounds) for v in (variant, variants[0]))
                    cells.append(f"{mine:.0f}" + (f" ({mine / alone:.2f} ×)" if variant.dead else ""))
                print(f"| {variant.name} | " + " | ".join(cells) + " |", flush=True)
    stop(upstream)


def machine():
    with open("/proc/cpuinfo") as info:
        model = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), "unknown")
    print(f"{os.cpu_count()} × {model}, Linux {os.uname().release}; build "
          f"{subprocess.run([f'{BUILD}/weir', 'version'], capture_output=True, text=True).stdout.strip()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", default=None, help="where the spools go (a temporary directory of the current file system)")
    parser.add_argument("--seconds", type=float, default=3, help="of each ingest row")
    parser.add_argument("--drain-mib", type=int, default=1024)
    parser.add_argument("--only", choices=["ingest", "tls", "drain", "fanout"])
    parser.add_argument("--rounds", type=int, default=9, help="of fanout")
    options = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="weir-bench-", dir=options.directory or BUILD)
    try:
        machine()
        if options.only in (None, "ingest"):
            ingest(directory, options.seconds)
        if options.only in (None, "tls"):
            tls(directory, options.seconds)
        if options.only in (None, "drain"):
            drain(directory, options.drain_mib)
        if options.only in (None, "fanout"):
            fanout(directory, options.seconds / 2, options.rounds)
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
