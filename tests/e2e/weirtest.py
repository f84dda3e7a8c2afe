# SPDX-License-Identifier: Apache-2.0
"""The real binaries as objects: Weir, Sink, gen(). Each test has a directory, ports and processes of its own."""

import ctypes
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = (ROOT / os.environ.get("WEIR_BUILD", "build")).resolve()
SIGNALS = ("traces", "metrics", "logs")
TRANSPORTS = ("grpc", "http")
HTTP_PATHS = {"traces": "/v1/traces", "metrics": "/v1/metrics", "logs": "/v1/logs"}
GRPC_PATHS = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}


def _sanitizer():
    binary = BUILD / "weir"
    content = binary.read_bytes() if binary.exists() else b""
    return next((name for name in ("asan", "tsan") if b"__%s_init" % name.encode() in content), None)


SANITIZER = _sanitizer()
# A sanitizer costs a factor of 3 to 15: the same tests, with fewer items and kills, and more patience.
SLOW = 4 if SANITIZER else 1


def scaled(count):
    """How many of something a test does: a tenth under a sanitizer."""
    return max(1, count // 10) if SANITIZER else count


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: a killed test run leaves nothing behind


def wait_for(condition, timeout, what):
    """Returns the first true value of condition(); fails after timeout seconds with `what` (text or a callable)."""
    deadline = time.monotonic() + timeout * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout * SLOW} s still not: {what() if callable(what) else what}")
        time.sleep(0.02)


def request(address, method, path, body=None, headers=None, timeout=30):
    """One HTTP/1.1 request. Returns (status, headers with lower-case names, body)."""
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=timeout)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, content
    finally:
        connection.close()


def parse_ranges(text):
    """ "0-99,105" or lines of them -> set of int."""
    ids = set()
    for part in text.replace("\n", ",").split(","):
        first, _, last = part.partition("-")
        if part:
            ids.update(range(int(first), int(last or first) + 1))
    return ids


class ReservedPort:
    """A port that stays ours while nobody listens on it: bound, not listening, so that connections are refused."""

    def __init__(self):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]

    def close(self):
        self.socket.close()


class Process:
    """A child process with its stdout and stderr in files."""

    def __init__(self, name, directory, argv, env=None):
        self.name = name
        self.stdout = directory / f"{name}.out"
        self.stderr = directory / f"{name}.log"
        with open(self.stdout, "ab") as out, open(self.stderr, "ab") as err:
            self.popen = subprocess.Popen(
                [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=directory,
                env={**os.environ, **sanitizer_options(), **(env or {})}, preexec_fn=die_with_parent,
            )
        self.pid = self.popen.pid

    def alive(self):
        return self.popen.poll() is None

    def signal(self, number):
        if self.alive():
            self.popen.send_signal(number)

    def kill(self):
        self.signal(signal.SIGKILL)
        return self.popen.wait(30)

    def wait(self, timeout):
        try:
            return self.popen.wait(timeout * SLOW)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} (pid {self.pid}) still runs after {timeout * SLOW} s") from None

    def log(self):
        return self.stderr.read_text(errors="replace")


def sanitizer_options():
    return {
        "LSAN_OPTIONS": f"suppressions={ROOT}/tests/tools/lsan.supp:print_suppressions=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "ASAN_OPTIONS": "verify_asan_link_order=0:detect_leaks=1",
    }


class Sink:
    """weir-sink: what arrived, and how to misbehave."""

    def __init__(self, directory, name="sink", record=None, stream_header=None, arguments=()):
        argv = [BUILD / "weir-sink"] + (["--record", record] if record else [])
        argv += ["--stream-header", stream_header] if stream_header else []
        argv += arguments
        self.process = Process(name, directory, argv)
        wait_for(lambda: self.process.stdout.read_text().endswith("\n") or not self.process.alive(), 10, "the sink is ready")
        assert self.process.alive(), self.process.log()
        ready = json.loads(self.process.stdout.read_text())
        self.grpc, self.http, self.control = ready["grpc"], ready["http"], ready["control"]

    def _do(self, method, path, form=None):
        status, _, body = request(self.control, method, path, form)
        assert status == 200, (path, form, status, body)
        return body.decode()

    def stats(self, signal=None):
        stats = json.loads(self._do("GET", "/stats"))
        return stats["signals"][signal] if signal else stats

    def ids(self, signal):
        return parse_ranges(self._do("GET", f"/ids/{signal}"))

    def attempts(self, **match):
        """The last requests, oldest first; match: signal, transport, outcome, encoding."""
        return [a for a in json.loads(self._do("GET", "/attempts")) if all(a.get(k) == v for k, v in match.items())]

    def mode(self, **form):
        self._do("POST", "/mode", "&".join(f"{key}={value}" for key, value in form.items()))

    def listen(self, on):
        self._do("POST", "/listen", f"on={int(on)}")

    def reset(self):
        self._do("POST", "/reset")

    def address(self, transport):
        return self.grpc if transport == "grpc" else self.http

    def url(self, transport):
        return f"grpc://{self.grpc}" if transport == "grpc" else f"http://{self.http}"


class Chaos:
    """weir-chaos: the network between two others, and how to make it a bad one."""

    def __init__(self, directory, to, name="chaos"):
        self.process = Process(name, directory, [BUILD / "weir-chaos", "--to", to])
        wait_for(lambda: self.process.stdout.read_text().endswith("\n") or not self.process.alive(), 10, "weir-chaos is ready")
        assert self.process.alive(), self.process.log()
        ready = json.loads(self.process.stdout.read_text())
        self.address, self.control = ready["address"], ready["control"]

    def _do(self, method, path, form=None):
        status, _, body = request(self.control, method, path, form)
        assert status == 200, (path, form, status, body)
        return body.decode()

    def url(self, transport):
        return f"{'grpc' if transport == 'grpc' else 'http'}://{self.address}"

    def stats(self):
        return json.loads(self._do("GET", "/stats"))

    def mode(self, **form):
        self._do("POST", "/mode", "&".join(f"{key}={value}" for key, value in form.items()))

    def do(self, action):
        self._do("POST", "/do", f"action={action}")


class Weir:
    """The relay: started with a generated configuration, in a spool directory that stays the same across restarts."""

    def __init__(self, directory, upstreams, name="weir", config=None, env=None, wrapper=(), start=True):
        self.directory, self.name, self.env, self.wrapper = directory, name, env, list(wrapper)
        self.spool = directory / f"{name}.spool"
        self.config_file = directory / f"{name}.yaml"
        self.config = {
            "receiver": {"grpc": {"endpoint": "127.0.0.1:0"}, "http": {"endpoint": "127.0.0.1:0"}},
            "spool": {"directory": str(self.spool)},
            "upstreams": [dict({"retry": {"initial": "50ms", "max": "500ms"}}, **u) for u in upstreams],
            "admin": {"endpoint": "127.0.0.1:0"},
            "log": {"format": "json"},
        }
        merge(self.config, config or {})
        self.process = None
        if start:
            self.start()

    def start(self, wait=True):
        self.config_file.write_text(json.dumps(self.config, indent=1))  # JSON is YAML
        logged = len(self.process.log()) if self.process else 0
        argv = [*self.wrapper, BUILD / "weir", "run", "--config", self.config_file]
        self.process = Process(self.name, self.directory, argv, self.env)
        self.pid = self.process.pid
        if wait:
            event = wait_for(lambda: self.event("listening", logged) or not self.process.alive(), 30, "weir listens")
            assert event is not True, f"weir ended with {self.process.popen.returncode}: {self.log_tail()}"
            self.grpc, self.http, self.admin = event["grpc"], event["http"], event["admin"]
        return self

    def events(self, offset=0):
        for line in self.process.log()[offset:].splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue

    def event(self, name, offset=0):
        return next((e for e in self.events(offset) if e.get("event") == name), None)

    def kill(self):
        self.process.kill()

    def terminate(self, timeout=15):
        self.process.signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def restart(self):
        self.kill()
        return self.start()

    def address(self, transport):
        return self.grpc if transport == "grpc" else self.http

    def get(self, path, **kwargs):
        return request(self.admin, "GET", path, **kwargs)

    def status(self):
        status, _, body = self.get("/v1/status")
        assert status == 200, (status, body)
        return json.loads(body)

    def upstream(self, name=None):
        upstreams = self.status()["upstreams"]
        return next(u for u in upstreams if name in (None, u["name"]))

    def last_error(self, upstream=None):
        """The upstream's last error, or None when there was none yet."""
        error = self.upstream(upstream)["last_error"]
        return error if error["code"] else None

    def lane(self, signal, upstream=None):
        return self.upstream(upstream)["lanes"][signal]["items"]

    def drained(self):
        upstreams = self.status()["upstreams"]
        return all(lane["items"]["pending"] == 0 for u in upstreams for lane in u["lanes"].values())

    def wait_drained(self, timeout=60):
        wait_for(self.drained, timeout, lambda: "drained: " + json.dumps(self.status()["upstreams"], indent=1))

    def check_ledger(self):
        """Every lane adds up. Returns {upstream: {signal: items}}."""
        ledger = {}
        for upstream in self.status()["upstreams"]:
            for signal, lane in upstream["lanes"].items():
                items = lane["items"]
                parts = sum(items[k] for k in ("delivered", "pending", "dead_lettered", "evicted", "discarded"))
                assert items["accepted"] == parts, (upstream["name"], signal, items)
                ledger.setdefault(upstream["name"], {})[signal] = items
        return ledger

    def anonymous_bytes(self):
        for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Anonymous:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("smaps_rollup has no Anonymous line")

    def log_tail(self, lines=60):
        return "\n".join(self.process.log().splitlines()[-lines:])


def merge(into, more):
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


class Gen:
    """weir-gen in the background."""

    count = 0

    def __init__(self, directory, address, transport="grpc", **options):
        Gen.count += 1
        self.acked_file = directory / f"gen{Gen.count}.acked"
        argv = [BUILD / "weir-gen", f"--{transport}", address, "--acked", self.acked_file]
        for key, value in options.items():
            argv.append("--" + key.replace("_", "-"))
            if value is not True:
                argv.append(value)
        self.process = Process(f"gen{Gen.count}", directory, argv)

    def stop(self):
        self.process.signal(signal.SIGTERM)
        return self.wait()

    def wait(self, timeout=120):
        """The summary as a dictionary; `code` is the exit code: 0 when all was acknowledged."""
        code = self.process.wait(timeout)
        text = self.process.stdout.read_text()
        assert code in (0, 1) and text, f"weir-gen: exit {code}: {self.process.log()}"
        return dict(json.loads(text), code=code)

    def acked(self):
        return parse_ranges(self.acked_file.read_text()) if self.acked_file.exists() else set()


class Box:
    """What one test has: a directory and the processes in it, all gone at its end."""

    def __init__(self, name):
        self.directory = Path(tempfile.mkdtemp(prefix=f"weir-{name[:40]}-", dir=os.environ.get("TMPDIR", "/tmp")))
        self.weirs, self.sinks, self.gens, self.ports, self.chaoses = [], [], [], [], []
        self.closers = []  # called at the end, after the processes

    def weir(self, *upstreams, **kwargs):
        """upstreams: URLs or dictionaries of the configuration."""
        named = [{"name": f"up{i}", "endpoint": u} if isinstance(u, str) else u for i, u in enumerate(upstreams)]
        weir = Weir(self.directory, named, name=kwargs.pop("name", f"weir{len(self.weirs)}"), start=False, **kwargs)
        self.weirs.append(weir)
        return weir.start()

    def sink(self, **kwargs):
        self.sinks.append(Sink(self.directory, name=f"sink{len(self.sinks)}", **kwargs))
        return self.sinks[-1]

    def chaos(self, to):
        self.chaoses.append(Chaos(self.directory, to, name=f"chaos{len(self.chaoses)}"))
        return self.chaoses[-1]

    def gen_start(self, target, transport="grpc", **options):
        address = target if isinstance(target, str) else target.address(transport)
        self.gens.append(Gen(self.directory, address, transport, **options))
        return self.gens[-1]

    def gen(self, target, transport="grpc", **options):
        """Runs weir-gen to its end. Everything must be acknowledged unless expect_all=False."""
        expect_all = options.pop("expect_all", True)
        result = self.gen_start(target, transport, **options).wait()
        assert not expect_all or result["code"] == 0, result
        return result

    def port(self):
        self.ports.append(ReservedPort())
        return self.ports[-1]

    def file(self, name, content):
        path = self.directory / name
        path.write_bytes(content)
        return path

    def body(self, signal="traces", items=3, first_id=0, payload_bytes=0):
        """The bytes of one real request, made by weir-gen and recorded by a sink of its own."""
        record = self.directory / f"body-{time.monotonic_ns()}"
        sink = Sink(self.directory, name=record.name, record=record)
        Gen(self.directory, sink.http, "http", signal=signal, items=items, items_per_request=items, first_id=first_id,
            payload_bytes=payload_bytes).wait()
        sink.process.kill()
        return read_record(record)[0][1]

    def close(self):
        """Ends every process; weir by SIGTERM, which must end it with exit code 0. Returns what went wrong."""
        faults = []
        for gen in self.gens:
            gen.process.kill()
        for weir in self.weirs:
            if weir.process is not None and weir.process.alive():
                try:
                    code = weir.terminate()
                    if code != 0:
                        faults.append(f"{weir.name} ended with {code} on SIGTERM")
                except AssertionError as error:
                    faults.append(str(error))
                    weir.kill()
            log = weir.process.log() if weir.process else ""
            if any(sign in log for sign in ("Sanitizer", "runtime error:", "Assertion `")):
                faults.append(f"{weir.name}: a sanitizer or an assertion spoke")
        for other in self.sinks + self.chaoses:
            other.process.kill()
        for port in self.ports:
            port.close()
        for closer in self.closers:
            closer()
        return faults

    def logs(self):
        return "\n".join(f"--- {w.name}\n{w.log_tail()}" for w in self.weirs if w.process) + "\n".join(
            f"--- {s.process.name}\n{s.process.log()}" for s in self.sinks if s.process.log()
        )

    def remove(self):
        shutil.rmtree(self.directory, ignore_errors=True)


def read_record(path):
    """[(signal, bytes)] of a sink's --record file."""
    content, out, at = Path(path).read_bytes(), [], 0
    while at < len(content):
        length = int.from_bytes(content[at : at + 4], "little")
        signal_number = content[at + 4]
        out.append((("traces", "metrics", "logs", "profiles")[signal_number], content[at + 5 : at + 5 + length]))
        at += 5 + length
    return out


def probe(address, transport, path, body=None, box=None, **options):
    """weir-gen probe: one odd request. header=[...] may be a list."""
    argv = [BUILD / "weir-gen", "probe", f"--{transport}", address, "--path", path]
    if body is not None:
        argv += ["--raw-file", box.file(f"probe-{time.monotonic_ns()}", body)]
    for key, value in options.items():
        for one in value if isinstance(value, list) else [value]:
            argv += ["--" + key.replace("_", "-"), one]
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=60, env={**os.environ, **sanitizer_options()})
    assert done.returncode in (0, 1) and done.stdout, (done.returncode, done.stdout, done.stderr)
    answer = json.loads(done.stdout)
    answer["body"] = bytes.fromhex(answer.pop("body_hex"))
    return answer


# --- a little protobuf: enough to read google.rpc.Status and to write odd requests ---------------------------------------


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number, value):
    """bytes: length-delimited, int: varint."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(message):
    """[(number, value)]; value is int or bytes."""

    def read_varint(at):
        value = shift = 0
        while True:
            byte = message[at]
            value |= (byte & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if byte < 0x80:
                return value, at

    at, out = 0, []
    while at < len(message):
        tag, at = read_varint(at)
        kind = tag & 7
        if kind == 0:
            value, at = read_varint(at)
        elif kind == 2:
            length, at = read_varint(at)
            value, at = message[at : at + length], at + length
            assert len(value) == length, "truncated message"
        else:
            width = {1: 8, 5: 4}[kind]
            value, at = message[at : at + width], at + width
        out.append((tag >> 3, value))
    return out


def rpc_status(message):
    """google.rpc.Status -> (code, message, retry delay in seconds or None)."""
    parts = fields(message)
    code = next((v for n, v in parts if n == 1), 0)
    text = next((v for n, v in parts if n == 2), b"").decode()
    delay = None
    for number, value in parts:
        if number == 3:
            detail = dict(fields(value))
            if detail[1] == b"type.googleapis.com/google.rpc.RetryInfo":
                duration = dict(fields(dict(fields(detail.get(2, b""))).get(1, b"")))
                delay = duration.get(1, 0) + duration.get(2, 0) / 1e9
    return code, text, delay
