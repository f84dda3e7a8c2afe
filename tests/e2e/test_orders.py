# SPDX-License-Identifier: Apache-2.0
"""What a person orders of a running relay: drain, pause, resume, discard. Each holds through a restart, may be said again, and says clearly
what stands in its way."""

import json
import subprocess

import pytest

from weirtest import BUILD, GRPC_PATHS, TRANSPORTS, probe, request, rpc_status, sanitizer_options, scaled, wait_for

ITEMS = scaled(2000)
MANY = 2000  # so that there are several segments
SMALL = {"spool": {"segment_size": "1MiB", "max_size": "64MiB"}}


def command(weir, *args, **options):
    argv = [str(a) for a in (BUILD / "weir", *args, "--admin", f"http://{weir.admin}")]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, env=sanitizer_options(), **options)


def ordered(weir, *args):
    done = command(weir, *args, "--json")
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def post(weir, path, body="", **headers):
    status, _, answer = request(weir.admin, "POST", path, body, headers)
    return status, json.loads(answer)


def phase(weir):
    return weir.status()["weir"]["phase"]


def pending(weir, upstream="up0"):
    return sum(lane["items"]["pending"] for lane in weir.upstream(upstream)["lanes"].values())


def lanes(weir, upstream):
    return {name: lane["items"] for name, lane in weir.upstream(upstream)["lanes"].items()}


def send(box, weir, items=ITEMS, signals=("traces", "logs"), first_id=0):
    for name in signals:
        box.gen(weir, signal=name, items=items, first_id=first_id, items_per_request=20, in_flight=4)


# --- drain ----------------------------------------------------------------------------------------------------------------


def test_drain_takes_nothing_delivers_all_and_is_taken_back(box):
    sink = box.sink()
    weir = box.weir(sink.url("grpc"))
    send(box, weir)
    done = command(weir, "drain", "--wait", "60s")
    assert done.returncode == 0 and done.stdout.startswith("drained"), done
    assert all(sink.ids(s) == set(range(ITEMS)) for s in ("traces", "logs"))
    assert phase(weir) == "drained"
    status, _, body = weir.get("/readyz")
    assert status == 503 and b"drained" in body
    assert weir.get("/healthz")[0] == 200
    refused = command(weir, "drain")
    assert refused.returncode == 0, "the second time it is the same"
    assert weir.status()["drain"]["drained"]
    done = command(weir, "drain", "--cancel")
    assert done.returncode == 0 and "takes data again" in done.stdout, done
    done = command(weir, "drain", "--cancel")
    assert done.returncode == 0 and "does not drain" in done.stdout, done
    assert weir.get("/readyz")[0] == 200 and phase(weir) == "delivering"
    send(box, weir, first_id=ITEMS)
    weir.wait_drained()
    assert sink.ids("traces") == set(range(2 * ITEMS))
    weir.check_ledger()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_senders_are_told_to_come_again(box, transport):
    weir = box.weir(box.sink().url("grpc"))
    assert ordered(weir, "drain", "--wait", "10s")["drain"]["drained"]
    if transport == "grpc":
        answer = probe(weir.grpc, "grpc", GRPC_PATHS["traces"], box.body(), box, flag=0)
        assert answer["headers"].get("grpc-status") == "14" and "google.rpc.retryinfo-bin" in answer["headers"], answer
    else:
        answer = probe(weir.http, "http", "/v1/traces", box.body(), box)
        assert answer["http_status"] == 503 and int(answer["headers"]["retry-after"]) > 0, answer
        code, _, delay = rpc_status(answer["body"])
        assert code == 14 and delay > 0
    assert "drain" in json.dumps(answer["headers"]) or b"drain" in answer["body"]
    assert weir.status()["receiver"]["signals"]["traces"]["refused_requests"] >= 1
    gen = box.gen_start(weir, transport, items=50, deadline_ms=60_000, retry=True)
    wait_for(lambda: weir.status()["receiver"]["signals"]["traces"]["refused_requests"] >= 3, 30, "it is refused again")
    ordered(weir, "drain", "--cancel")
    assert gen.wait()["code"] == 0
    weir.wait_drained()


def test_what_is_under_way_when_it_begins_is_delivered(box):
    """Under load: whatever was acknowledged before "drained" is at the sink then."""
    sink = box.sink()
    weir = box.weir(sink.url("grpc"))
    gen = box.gen_start(weir, items=0, items_per_request=10, connections=4, in_flight=8, deadline_ms=60_000)
    wait_for(lambda: weir.lane("traces")["accepted"] > 2000, 30, "it is under load")
    assert ordered(weir, "drain", "--wait", "60s")["drain"]["drained"]
    acked = gen.acked()
    assert acked and acked <= sink.ids("traces")
    before = weir.lane("traces")["accepted"]
    wait_for(lambda: weir.status()["receiver"]["signals"]["traces"]["refused_requests"] > 10, 30, "senders go on trying")
    assert weir.lane("traces")["accepted"] == before, "nothing came behind it"
    gen.stop()
    gen.wait()


@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_drain_holds_through_a_restart(box, end):
    sink = box.sink()
    sink.listen(False)
    weir = box.weir(sink.url("grpc"))
    send(box, weir)
    done = command(weir, "drain", "--wait", "0s")
    assert done.returncode == 3 and "goes on" in done.stderr and f"{2 * ITEMS:,} items" in done.stderr, done
    assert phase(weir) == "draining"
    assert b"draining" in weir.get("/readyz")[2]
    getattr(weir, end)()
    weir.start()
    assert weir.status()["drain"]["draining"] and phase(weir) == "draining"
    assert weir.event("draining")
    waiting = subprocess.Popen([BUILD / "weir", "drain", "--wait", "60s", "--admin", f"http://{weir.admin}"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=sanitizer_options())
    sink.listen(True)
    out, err = waiting.communicate(timeout=90)
    assert waiting.returncode == 0, (out, err)
    assert sink.ids("logs") == set(range(ITEMS))
    weir.restart()
    assert pending(weir) == 0, "that it is drained was durable"
    wait_for(lambda: phase(weir) == "drained", 10, "it is drained still")
    ordered(weir, "drain", "--cancel")
    weir.restart()
    assert phase(weir) == "delivering"
    send(box, weir, items=10, first_id=ITEMS, signals=["traces"])
    weir.check_ledger()


def test_drain_says_what_stands_in_its_way(box):
    sink, other = box.sink(), box.sink()
    weir = box.weir(sink.url("grpc"), other.url("grpc"))
    other.mode(status=16)
    ordered(weir, "pause", "up0")
    send(box, weir, items=100, signals=["traces"])
    wait_for(lambda: weir.upstream("up1")["state"] == "held", 30, "up1 is held")
    done = command(weir, "drain", "--wait", "1s")
    assert done.returncode == 3, done
    assert "weir resume up0" in done.stderr and "up1" in done.stderr and "UNAUTHENTICATED" in done.stderr, done
    status, answer = post(weir, "/v1/drain")
    assert status == 200 and not answer["changed"] and answer["durable"] and len(answer["warnings"]) == 2, answer
    status, answer = post(weir, "/v1/upstreams/up0/pause")
    assert status == 200 and "drains" in answer["warnings"][0], answer
    ordered(weir, "resume", "up0")
    other.mode(ok=1)
    assert command(weir, "drain", "--wait", "90s").returncode == 0
    assert sink.ids("traces") == other.ids("traces") == set(range(100))


def test_drain_taken_back_while_somebody_waits(box):
    sink = box.sink()
    sink.listen(False)
    weir = box.weir(sink.url("grpc"))
    send(box, weir, items=10, signals=["traces"])
    waiting = subprocess.Popen([BUILD / "weir", "drain", "--wait", "1h", "--admin", f"http://{weir.admin}"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=sanitizer_options())
    wait_for(lambda: phase(weir) == "draining", 30, "it drains")
    ordered(weir, "drain", "--cancel")
    out, err = waiting.communicate(timeout=30)
    assert waiting.returncode == 1 and "taken back" in err, (out, err)


# --- pause and resume ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_a_paused_upstream_gets_nothing_and_loses_nothing(box, end):
    sink, other = box.sink(), box.sink()
    weir = box.weir(sink.url("grpc"), other.url("http"))
    assert ordered(weir, "pause", "up0") | {"pending_items": 0} == {
        "upstream": "up0", "paused": True, "pending_items": 0, "changed": True, "durable": True, "warnings": []}
    assert not ordered(weir, "pause", "up0")["changed"]
    send(box, weir)
    wait_for(lambda: pending(weir, "up1") == 0, 60, "the other one gets its data")
    assert weir.upstream("up0")["state"] == "paused" and pending(weir) == 2 * ITEMS
    getattr(weir, end)()
    weir.start()
    assert weir.upstream("up0")["state"] == "paused" and weir.event("upstream_paused")
    send(box, weir, items=10, first_id=ITEMS, signals=["traces"])
    wait_for(lambda: len(other.ids("traces")) == ITEMS + 10, 30, "the other one goes on")
    assert sink.attempts() == [], "nothing was sent"
    done = command(weir, "resume", "up0")
    assert done.returncode == 0 and "is not paused" in done.stdout, done
    weir.wait_drained()
    assert sink.ids("traces") == other.ids("traces") == set(range(ITEMS + 10))
    weir.restart()
    assert weir.upstream("up0")["state"] != "paused"
    weir.check_ledger()


def test_orders_about_nobody(box):
    weir = box.weir(box.sink().url("grpc"))
    for verb in ("pause", "resume"):
        done = command(weir, verb, "up1")
        assert done.returncode == 1 and "unknown upstream 'up1': there are up0" in done.stderr, done
        assert command(weir, verb).returncode == 2
    done = command(weir, "discard", "up1", "--yes")
    assert done.returncode == 1 and "no lane of an upstream 'up1'" in done.stderr, done
    assert command(weir, "discard", "up1", "--signal", "trace").returncode == 2
    assert command(weir, "drain", "--wait", "soon").returncode == 2
    rows = [
        ("/v1/upstreams/up0/pause", "{\"a\":1}", 400, "unknown member 'a': there are none"),
        ("/v1/upstreams/up0/pause", "[]", 400, "must be a JSON object"),
        ("/v1/upstreams//pause", "", 404, "unknown path"),
        ("/v1/upstreams/pause", "", 404, "unknown path"),
        ("/v1/upstreams/up0/stop", "", 404, "unknown path"),
        ("/v1/upstreams/" + "a" * 300 + "/pause", "", 404, "no upstream has such a name"),
        ("/v1/upstreams/%00/pause", "", 404, "no upstream"),
        ("/v1/upstreams/a%2fb/pause", "", 404, "unknown upstream 'a/b'"),
        ("/v1/upstreams/up0/discard", "", 409, "is configured"),
        ("/v1/upstreams/up0/discard", "{\"signal\":\"trace\"}", 400, "trace"),
        ("/v1/drain", "{\"cancel\":\"yes\"}", 400, "'cancel' must be true or false"),
    ]
    for path, body, status, text in rows:
        got, answer = post(weir, path, body)
        assert got == status and text in answer["error"], (path, got, answer)
    assert request(weir.admin, "GET", "/v1/drain")[0] == 405
    assert post(weir, "/v1/upstreams/%75p0/pause")[1]["paused"], "escaped or not, it is the same name"
    assert post(weir, "/v1/drain", Origin="http://evil.example")[0] == 403
    assert phase(weir) == "delivering"


def test_orders_need_the_token(box):
    token = box.file("token", b"s3cret\n")
    weir = box.weir(box.sink().url("grpc"), config={"admin": {"token_file": str(token)}})
    for args in (["drain", "--wait", "1s"], ["pause", "up0"], ["resume", "up0"], ["discard", "gone", "--yes"]):
        done = command(weir, *args)
        assert done.returncode == 1 and "--token-file" in done.stderr, done
    assert phase(weir) == "delivering" and weir.upstream("up0")["state"] != "paused"
    assert command(weir, "pause", "up0", "--token-file", token).returncode == 0
    wait_for(lambda: weir.upstream("up0")["state"] == "paused", 10, "it is paused")


# --- orphans --------------------------------------------------------------------------------------------------------------------


def name_upstreams(weir, *upstreams):
    weir.config["upstreams"] = [{"name": name, "endpoint": url} for name, url in upstreams]


def orphans(weir):
    return {(o["name"], o["signal"]): o["items"] for o in weir.status()["orphans"]}


@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_a_removed_upstreams_data_is_shown_and_goes_only_on_command(box, end):
    sink = box.sink()
    weir = box.weir("grpc://127.0.0.1:1", sink.url("grpc"), config=SMALL)
    for s in ("traces", "logs"):
        box.gen(weir, signal=s, items=MANY, items_per_request=20, in_flight=4, payload_bytes=60_000)
    wait_for(lambda: pending(weir, "up1") == 0, 60, "the one that is there has it")
    held = weir.status()["spool"]["segments"]
    assert held > 3
    weir.terminate()
    weir.config["upstreams"] = weir.config["upstreams"][1:]
    weir.start()
    assert {key: items["pending"] for key, items in orphans(weir).items() if items["pending"]} == {
        ("up0", "traces"): MANY, ("up0", "logs"): MANY}
    shown = command(weir, "status").stdout
    assert "up0" in shown and "weir discard up0" in shown, shown
    metrics = weir.get("/metrics")[2].decode()
    assert f'weir_orphan_pending_items{{upstream="up0",signal="logs"}} {MANY}' in metrics
    assert weir.status()["spool"]["segments"] >= held, "it holds what it is still to get"
    done = command(weir, "drain", "--wait", "30s")
    assert done.returncode == 0 and "'up0', which is not configured" in done.stderr, done
    ordered(weir, "drain", "--cancel")
    done = command(weir, "discard", "up0", stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and f"{MANY:,} items" in done.stdout and "--yes does it" in done.stderr, done
    assert orphans(weir)["up0", "logs"]["pending"] == MANY
    answer = ordered(weir, "discard", "up0", "--signal", "logs", "--yes")
    assert answer["items"] == MANY and answer["durable"], answer
    assert orphans(weir)["up0", "traces"]["pending"] == MANY
    assert ordered(weir, "discard", "up0", "--yes")["signals"]["traces"]["items"] == MANY
    getattr(weir, end)()
    weir.start()
    for name in ("traces", "logs"):
        items = orphans(weir)["up0", name]
        assert items["pending"] == 0 and items["discarded"] == MANY and items["accepted"] == MANY, items
    wait_for(lambda: weir.status()["spool"]["segments"] <= 2, 30, "the segments go")
    assert ordered(weir, "discard", "up0", "--yes")["items"] == 0
    done = command(weir, "discard", "up1", "--yes")
    assert done.returncode == 1 and "is configured" in done.stderr, done


def test_a_signal_that_an_upstream_takes_no_more(box):
    """The lane of a configured upstream that it does not take any more is as ownerless as a removed upstream's; those it takes are not."""
    sink = box.sink()
    sink.listen(False)
    weir = box.weir(sink.url("grpc"))
    send(box, weir, items=100)
    weir.terminate()
    weir.config["upstreams"][0]["signals"] = ["traces"]
    weir.start()
    assert orphans(weir)["up0", "logs"]["pending"] == 100 and ("up0", "traces") not in orphans(weir)
    answer = ordered(weir, "discard", "up0", "--yes")
    assert list(answer["signals"]).count("traces") == 0 and answer["items"] == 100, answer
    assert weir.lane("traces")["pending"] == 100
    status, answer = post(weir, "/v1/upstreams/up0/discard", '{"signal":"traces"}')
    assert status == 409, answer


def test_an_upstream_is_its_name(box):
    """A changed endpoint keeps the lane; a removed upstream that comes back finds its own."""
    sink, moved = box.sink(), box.sink()
    sink.listen(False)
    weir = box.weir(sink.url("grpc"))
    send(box, weir, items=200, signals=["traces"])
    weir.terminate()
    weir.config["upstreams"][0]["endpoint"] = moved.url("http")
    weir.start()
    weir.wait_drained()
    assert moved.ids("traces") == set(range(200)) and orphans(weir) == {}
    assert lanes(weir, "up0")["traces"]["accepted"] == 200
    moved.listen(False)
    send(box, weir, items=100, signals=["traces"], first_id=200)
    weir.terminate()
    kept, weir.config["upstreams"] = weir.config["upstreams"], [{"name": "another", "endpoint": sink.url("grpc")}]
    weir.start()
    assert orphans(weir)["up0", "traces"]["pending"] == 100
    weir.terminate()
    weir.config["upstreams"] = kept
    moved.listen(True)
    weir.start()
    weir.wait_drained()
    assert moved.ids("traces") == set(range(300))
    weir.check_ledger()


def test_names_come_and_go(box):
    """More names than there are lanes for, one configuration after the other: those of which nothing is left make room, and that is told.
    What is still to be had by one stays, and so does the ledger of one that is configured in both."""
    sink = box.sink()
    away = "grpc://127.0.0.1:1"

    def named(prefix, n):
        return [{"name": f"{prefix}{i}", "endpoint": sink.url("grpc"), "start": "oldest"} for i in range(n)]

    weir = box.weir(sink.url("grpc"))
    weir.terminate()
    first = named("a", 31) + [{"name": "away", "endpoint": away}]
    weir.config["upstreams"] = first
    weir.start()
    send(box, weir, items=100, signals=["traces"])
    wait_for(lambda: all(pending(weir, f"a{i}") == 0 for i in range(31)), 60, "all but one have it")
    weir.terminate()
    weir.config["upstreams"] = named("b", 31) + first[:1]  # known names are found first
    offset = len(weir.process.log())
    weir.start()

    def gone():
        return [(e["upstream"], e["signal"]) for e in weir.events(offset) if e["event"] == "lane_forgotten"]

    wait_for(lambda: len(gone()) >= (1 + 32 + 31) * 4 - 192, 20, "they are told")
    assert len(gone()) == len(set(gone())) == (1 + 32 + 31) * 4 - 192, gone()
    assert ("away", "traces") not in gone() and "a0" not in [name for name, _ in gone()]
    assert orphans(weir)["away", "traces"]["pending"] == 100
    assert lanes(weir, "a0")["traces"]["delivered"] == 100, "it found its own"
    weir.check_ledger()
    # One that was forgotten and comes back names what it sends anew; of one that was not, what it sent first keeps its name.
    back = gone()
    weir.terminate()
    weir.config["upstreams"] = first
    weir.start()
    weir.terminate()
    stat = subprocess.run([BUILD / "weir", "spool", "stat", weir.config["spool"]["directory"], "--json"], capture_output=True, check=True)
    runs = {note["key"]: note["bytes"] // 16 for note in json.loads(stat.stdout)["notes"]}
    for up in first[:31]:
        for number, name in enumerate(("traces", "metrics", "logs", "profiles")):
            assert runs[f".handoff/{number}/{up['name']}"] == (1 if (up["name"], name) in back else 2), (up, name, runs)
