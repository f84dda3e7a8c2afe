#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A whole outage, end to end: an upstream that goes away, agents that keep sending, a relay that is killed in the middle,
and the drain when the upstream is back. Compares number by number what was acknowledged with what arrived.
Exit 1 if anything acknowledged is missing. Everything runs on 127.0.0.1 and in a temporary directory."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

BUILD = os.environ.get("WEIR_BUILD", "build")
ITEMS = int(os.environ.get("DEMO_ITEMS", "60000"))  # of each signal, half of them during the outage
SIGNALS = {"traces": "grpc", "metrics": "http", "logs": "grpc"}
COLOUR = sys.stdout.isatty()
children = []


def say(text, colour="1"):
    print(f"\033[{colour}m{text}\033[0m" if COLOUR else text, flush=True)


def spawn(arguments, **keywords):
    child = subprocess.Popen([str(a) for a in arguments], **keywords)
    children.append(child)
    return child


def fetch(url, method="GET"):
    request = urllib.request.Request(url, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


class Relay:
    """weir itself: started, killed, started again on the same ports and directory."""

    def __init__(self, directory, upstream):
        self.directory, self.upstream = directory, upstream
        self.grpc = self.http = self.admin = "127.0.0.1:0"

    def start(self):
        log_path = os.path.join(self.directory, "weir.log")
        position = os.path.getsize(log_path) if os.path.exists(log_path) else 0
        began = time.monotonic()
        with open(log_path, "ab") as log:
            self.process = spawn(
                [f"{BUILD}/weir", "run", "--upstream", self.upstream, "--spool", os.path.join(self.directory, "spool"),
                 "--grpc", self.grpc, "--http", self.http, "--admin", self.admin,
                 "--set", "log.format=json", "--set", "upstreams.default.retry.max=2s"], stderr=log)
        while True:
            with open(log_path, "rb") as log:
                log.seek(position)
                for line in log:
                    if b'"event":"listening"' in line and line.endswith(b"\n"):
                        event = json.loads(line)
                        self.grpc, self.http, self.admin = event["grpc"], event["http"], event["admin"]
                        return time.monotonic() - began
            if self.process.poll() is not None:
                sys.exit(f"weir did not start:\n{open(log_path).read()}")
            time.sleep(0.01)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def status(self):
        return json.loads(fetch(f"http://{self.admin}/v1/status"))

    def backlog(self):
        return self.status()["upstreams"][0]["backlog"]


def generate(relay, directory, name, first, count, rate=0):
    transport = SIGNALS[name]
    return spawn(
        [f"{BUILD}/weir-gen", f"--{transport}", relay.grpc if transport == "grpc" else relay.http, "--signal", name,
         "--first-id", first, "--items", count, "--items-per-request", 50, "--in-flight", 8, "--rate", rate, "--retry",
         "--deadline-ms", 60000, "--encoding", "gzip", "--acked", os.path.join(directory, f"acked-{name}-{first}")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(generators):
    results = []
    for generator in generators:
        out, errors = generator.communicate()
        try:
            results.append(json.loads(out))
        except ValueError:
            sys.exit(f"weir-gen failed: {errors.decode()}")
    return results


def ranges(text):
    """"0-99,105" or one range a line -> a set of numbers."""
    numbers = set()
    for part in text.replace("\n", ",").split(","):
        if part.strip():
            low, _, high = part.strip().partition("-")
            numbers.update(range(int(low), int(high or low) + 1))
    return numbers


def acknowledged(directory, name):
    numbers = set()
    for file in os.listdir(directory):
        if file.startswith(f"acked-{name}-"):
            with open(os.path.join(directory, file)) as lines:
                numbers |= ranges(lines.read())
    return numbers


def drain(relay):
    """Follows the backlog to zero with a progress line."""
    start = relay.backlog()["items"] or 1
    began = time.monotonic()
    shown = None
    while True:
        status = relay.status()
        upstream = status["upstreams"][0]
        left = upstream["backlog"]["items"]
        width = 40
        done = min(width, int(width * (1 - left / start)))
        line = f"   [{'#' * done}{'.' * (width - done)}] {left:>9,} items left   {upstream['state'].replace('_', ' '):<12}"
        if COLOUR:
            print("\r" + line, end="", flush=True)
        elif left != shown:  # in a file or a pipe only what is new
            print(line.rstrip(), flush=True)
        shown = left
        if left == 0:
            break
        if time.monotonic() - began > 120:
            sys.exit("\nthe backlog did not drain within two minutes")
        time.sleep(0.1 if COLOUR else 0.5)
    if COLOUR:
        print()
    return time.monotonic() - began


def main():
    directory = tempfile.mkdtemp(prefix="weir-demo-")
    half = ITEMS // 2
    try:
        sink = spawn([f"{BUILD}/weir-sink", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--control", "127.0.0.1:0"],
                     stdout=subprocess.PIPE)
        ready = json.loads(sink.stdout.readline())
        control = f"http://{ready['control']}"
        relay = Relay(directory, f"grpc://{ready['grpc']}")

        say("1. The upstream is up; weir stands between it and three agents")
        took = relay.start()
        print(f"   weir took {took * 1000:.0f} ms to start: gRPC {relay.grpc}, HTTP {relay.http}, status http://{relay.admin}/")
        results = finish([generate(relay, directory, name, 0, half) for name in SIGNALS])
        print(f"   {sum(r['acked_items'] for r in results):,} items in {len(SIGNALS)} signals acknowledged, each batch durable before its OK")

        say("2. The upstream goes away, the agents keep sending")
        fetch(f"{control}/listen?on=0", "POST")
        generators = [generate(relay, directory, name, half, half, rate=half // 4) for name in SIGNALS]
        time.sleep(1.5)

        say("3. weir is killed (SIGKILL) in the middle of it, and started again", "1;31")
        relay.kill()
        took = relay.start()
        print(f"   ready again after {took * 1000:.0f} ms; the agents try again what was not acknowledged")
        results = finish(generators)
        print(f"   {sum(r['acked_items'] for r in results):,} more items acknowledged during the outage")

        say("4. What weir says of itself")
        subprocess.run([f"{BUILD}/weir", "status", "--admin", f"http://{relay.admin}"], check=True)

        say("5. The upstream is back: the backlog drains", "1;32")
        fetch(f"{control}/listen?on=1", "POST")
        took = drain(relay)
        print(f"   empty {took:.1f} s after the upstream came back, its next attempt included")

        say("6. Number by number")
        print(f"   {'':<9}{'sent':>9}{'acknowledged':>14}{'received':>10}{'lost':>7}{'duplicates':>12}")
        lost = total = 0
        stats = json.loads(fetch(f"{control}/stats"))
        for name in SIGNALS:
            acked = acknowledged(directory, name)
            received = ranges(fetch(f"{control}/ids/{name}"))
            lost += len(acked - received)
            total += len(acked)
            duplicates = stats["signals"][name]["duplicates"]
            print(f"   {name:<9}{ITEMS // 2 * 2:>9,}{len(acked):>14,}{len(received):>10,}{len(acked - received):>7,}{duplicates:>12,}")
        if lost:
            say(f"FAILED: of {total:,} acknowledged items {lost:,} are missing", "1;31")
            return 1
        say(f"lost 0: all {total:,} acknowledged items have arrived, through an outage and a kill -9", "1;32")
        return 0
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
