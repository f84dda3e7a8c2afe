# SPDX-License-Identifier: Apache-2.0
"""What a person sees: the status document, metrics, health, readiness, `weir status`."""

import json
import re
import shutil
import subprocess

from weirtest import BUILD, ROOT, SIGNALS, request, wait_for

STATUS = {  # every member that is promised, and its type; None allows null
    "weir": {"version": str, "instance": str, "started": str, "uptime_seconds": (int, float), "phase": str, "ready": bool,
             "reason": (str, None)},
    "receiver": {"grpc": str, "http": str, "connections": int, "unwritten_bytes": int, "signals": dict},
    "spool": {"state": str, "directory": str, "used_bytes": int, "max_bytes": int, "disk_free_bytes": int, "segments": int,
              "oldest": (str, None), "compression_ratio": (int, float, None), "commits": int,
              "requests_per_commit": (int, float, None), "full_in_seconds": (int, float, None), "kept_bytes": int,
              "when_full": str, "max_age_seconds": (int, float, None), "keep_delivered_seconds": (int, float),
              "damaged_files": int, "scrubbed_bytes": int, "scrub_finished": (str, None)},
    "upstreams": list,
    "dead_letters": {"requests": int, "items": int, "bytes": int, "max_bytes": int, "to_redrive": int, "redriven": int, "purged": int,
                     "evicted": int},
}
RECEIVED = {"requests": int, "items": int, "bytes": int, "refused_requests": int, "last_received": (str, None)}
UPSTREAM = {
    "name": str, "endpoint": str, "state": str, "since": str, "last_error": {"time": (str, None), "code": (str, None), "message": (str, None)},
    "next_attempt_seconds": (int, float, None), "eta_seconds": (int, float, None),
    "backlog": {"items": int, "bytes": int, "oldest_age_seconds": (int, float, None)},
    "rates": {"in_items": (int, float), "out_items": (int, float), "in_bytes": (int, float), "out_bytes": (int, float)},
    "lanes": dict, "max_request_bytes": int,
}
LANE = {
    "state": str, "intervals": list, "oldest_age_seconds": (int, float, None), "export_max_bytes": int,
    "items": {k: int for k in ("accepted", "delivered", "pending", "dead_lettered", "evicted", "discarded", "rejected_by_upstream", "replayed")},
    "evicted": {"full": int, "age": int, "damage": int, "received_first": (str, None), "received_last": (str, None)},
}
STATES = {"idle", "delivering", "replaying", "probing", "backing_off", "held", "paused"}


def check(value, shape, where):
    if isinstance(shape, dict):
        assert isinstance(value, dict), where
        for key, inner in shape.items():
            assert key in value, f"{where}.{key} is missing"
            check(value[key], inner, f"{where}.{key}")
        return
    kinds = shape if isinstance(shape, tuple) else (shape,)
    assert (value is None and None in kinds) or isinstance(value, tuple(k for k in kinds if k)), (where, value, shape)


def check_status(status):
    check(status, STATUS, "status")
    assert status["weir"]["phase"] in {"delivering", "replaying", "outage", "draining", "drained", "stopping", "failed"}
    assert status["spool"]["state"] in {"ok", "full", "failed", "read_only"}
    for signal in SIGNALS:
        check(status["receiver"]["signals"][signal], RECEIVED, f"receiver.signals.{signal}")
    for upstream in status["upstreams"]:
        check(upstream, UPSTREAM, upstream["name"])
        assert upstream["state"] in STATES
        for signal, lane in upstream["lanes"].items():
            check(lane, LANE, signal)
            assert lane["state"] in STATES
            assert all(len(i) == 2 for i in lane["intervals"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", status["weir"]["started"])


def test_status_has_every_member_in_every_phase(box):
    sink = box.sink()
    weir = box.weir(sink.url("grpc"))
    check_status(weir.status())
    box.gen(weir, items=500)
    weir.wait_drained()
    status = weir.status()
    check_status(status)
    assert status["upstreams"][0]["last_error"]["code"] is None and status["weir"]["ready"]
    assert status["spool"]["commits"] > 0 and status["spool"]["requests_per_commit"] >= 1
    assert status["receiver"]["grpc"] == weir.grpc and status["spool"]["directory"] == str(weir.spool)
    sink.listen(False)
    box.gen(weir, items=500, first_id=500)
    wait_for(lambda: weir.status()["weir"]["phase"] == "outage", 30, "the outage shows")
    status = weir.status()
    check_status(status)
    upstream = status["upstreams"][0]
    assert upstream["last_error"]["code"] == "connect" and upstream["backlog"]["items"] == 500
    assert upstream["backlog"]["bytes"] > 0 and upstream["backlog"]["oldest_age_seconds"] >= 0
    assert status["spool"]["oldest"] is not None


def test_a_status_during_work_always_adds_up(box):
    sink = box.sink()
    weir = box.weir(sink.url("grpc"))
    gen = box.gen_start(weir, items=20_000, items_per_request=20, in_flight=8, rate=20_000)
    looks = 0
    while gen.process.alive():
        check_status(weir.status())
        weir.check_ledger()
        looks += 1
    assert gen.wait()["code"] == 0 and looks > 3
    weir.wait_drained()


def test_health_and_readiness(box):
    sink = box.sink()
    sink.listen(False)
    weir = box.weir(sink.url("grpc"))
    box.gen(weir, items=10)
    wait_for(lambda: weir.last_error(), 30, "weir sees the outage")
    assert weir.get("/healthz")[0] == 200
    assert weir.get("/readyz")[0] == 200, "an upstream's outage is no reason to send clients away"


def test_wrong_admin_requests(box):
    weir = box.weir("grpc://127.0.0.1:1")
    status, _, body = weir.get("/v1/nothing")
    assert status == 404 and json.loads(body)["error"]
    status, headers, body = request(weir.admin, "DELETE", "/v1/status")
    assert status == 405 and json.loads(body)["error"] and "GET" in headers["allow"]
    assert weir.get("/")[0] == 200


METRIC = re.compile(r"^([a-z_:][a-z0-9_:]*)(\{.*\})? (\S+)$")


def parse_metrics(text):
    """{name{labels}: value}, after checking that every sample has HELP and TYPE of its family above it."""
    values, families = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            families[name] = kind
        elif not line.startswith("#") and line:
            name, labels, value = METRIC.match(line).groups()
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            assert name in families or base in families, line
            assert name + (labels or "") not in values, f"twice: {line}"
            values[name + (labels or "")] = float(value)
            if families.get(name) == "counter":
                assert name.endswith("_total"), line
    return values


def test_metrics(box):
    sink = box.sink()
    weir = box.weir(sink.url("grpc"))
    box.gen(weir, items=300, items_per_request=10)
    box.gen(weir, "http", signal="logs", items=200, items_per_request=10)
    weir.wait_drained()
    status, headers, body = weir.get("/metrics")
    assert status == 200 and headers["content-type"].startswith("text/plain")
    values = parse_metrics(body.decode())

    def total(name, *labels):
        return sum(v for k, v in values.items() if re.match(name + r"(\{|$)", k) and all(label in k for label in labels))

    assert total("weir_receiver_items_total") == 500
    assert total("weir_receiver_items_total", 'signal="traces"', 'transport="grpc"') == 300
    assert total("weir_receiver_requests_total", 'signal="logs"', 'transport="http"') == 20
    assert total("weir_lane_delivered_items_total", 'upstream="up0"') == 500
    assert total("weir_lane_pending_items") == 0
    assert all(k.startswith(("weir_", "process_")) for k in values)
    assert any(k.startswith("weir_build_info") for k in values) and "process_resident_memory_bytes" in values
    promtool = shutil.which("promtool") or shutil.which(ROOT / "build/interop/promtool")
    if promtool:
        done = subprocess.run([promtool, "check", "metrics"], input=body, capture_output=True)
        assert done.returncode == 0 and not done.stdout + done.stderr, done.stdout + done.stderr
    else:
        box.note("promtool is not there (tests/interop/run.sh fetch): its check of the metrics was left out")


def test_weir_status(box):
    sink = box.sink()
    sink.listen(False)
    weir = box.weir(sink.url("grpc"))
    box.gen(weir, items=123)

    def status(*args):
        return subprocess.run([str(BUILD / "weir"), "status", "--admin", f"http://{weir.admin}", *args], capture_output=True,
                              text=True, timeout=60)

    done = status()
    assert done.returncode == 0 and "up0" in done.stdout and "123" in done.stdout, done
    done = status("--json")
    check_status(json.loads(done.stdout))
    weir.kill()
    done = status()
    assert done.returncode == 1 and weir.admin in done.stderr, done
