# SPDX-License-Identifier: Apache-2.0
"""receiver.keep_headers: what is listed travels with its data through everything, what is not is nowhere."""

import json
import subprocess

from weirtest import BUILD, HTTP_PATHS, SANITIZER, SIGNALS, TRANSPORTS, request, scaled, wait_for

KEEP = {"receiver": {"keep_headers": ["x-scope-orgid"]}}
SECRET = "s3cret-5f2b1c"


def spool(*args):
    done = subprocess.run([BUILD / "weir", "spool", *map(str, args)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_arrived(sink, signal, gens, tenants):
    """Everything acknowledged has arrived, each item under its tenant's header."""
    acked = set().union(*(g.acked() for g in gens))
    stats = sink.stats(signal)
    assert acked <= sink.ids(signal) and stats["misplaced"] == 0 and stats["streams"] == tenants, (signal, stats)
    return stats


def test_every_signal_and_transport_through_an_outage_and_a_replay(box):
    sinks = {t: box.sink(stream_header="x-scope-orgid") for t in TRANSPORTS}
    relay = box.weir({"name": "g", "endpoint": sinks["grpc"].url("grpc")}, {"name": "h", "endpoint": sinks["http"].url("http")},
                     config={**KEEP, "spool": {"keep_delivered": "1h"}})
    for sink in sinks.values():
        sink.mode(status=14)
    gens = {s: [] for s in SIGNALS}
    for signal in SIGNALS:
        for n, transport in enumerate(TRANSPORTS):
            gens[signal].append(box.gen_start(relay, transport, signal=signal, items=scaled(2000), items_per_request=5, tenants=7,
                                              first_id=n * 10000, in_flight=8, payload_bytes=2000))
    for signal in SIGNALS:
        for gen in gens[signal]:
            assert gen.wait()["code"] == 0
    for sink in sinks.values():
        sink.mode(ok=1)
    relay.wait_drained()
    for sink in sinks.values():
        for signal in SIGNALS:
            stats = check_arrived(sink, signal, gens[signal], 7)
            assert stats["duplicates"] == 0, stats
    # And once more out of what is kept.
    for name in ("g", "h"):
        subprocess.run([BUILD / "weir", "replay", name, "--since", "-1h", "--admin", f"http://{relay.admin}"], check=True,
                       capture_output=True, timeout=60)
    relay.wait_drained()
    for sink in sinks.values():
        for signal in SIGNALS:
            stats = check_arrived(sink, signal, gens[signal], 7)
            assert stats["duplicates"] == stats["distinct"] == scaled(2000) * 2, stats
    relay.check_ledger()


def test_blocks_of_one_tenant_are_joined(box):
    sink = box.sink(stream_header="x-scope-orgid")
    port = box.port()
    relay = box.weir(f"grpc://{port.address}", config=KEEP)
    for round_ in range(20):  # one after the other, so that each is a block
        box.gen(relay, items=40, items_per_request=2, tenants=1, first_id=round_ * 40)
    relay.terminate()
    relay.config["upstreams"][0]["endpoint"] = sink.url("grpc")
    relay.start()
    relay.wait_drained()
    stats = sink.stats("traces")
    assert stats["misplaced"] == 0 and stats["distinct"] == 800 and stats["max_frames"] > 10, stats


def test_kill_9_under_load(box):
    sink = box.sink(stream_header="x-scope-orgid")
    relay = box.weir(sink.url("grpc"), config=KEEP)
    gens = []
    for round_ in range(4):
        gens.append(box.gen_start(relay, items=0, items_per_request=3, in_flight=32, tenants=40, first_id=round_ * 1000000))
        wait_for(lambda: len(gens[-1].acked()) > 600, 30, "data flows")
        relay.kill()
        gens[-1].stop()
        relay.start()
    relay.wait_drained()
    check_arrived(sink, "traces", gens, 40)
    relay.check_ledger()


def test_a_thousand_tenants_cost_no_memory_of_their_own(box):
    sink = box.sink(stream_header="x-scope-orgid")
    relay = box.weir(sink.url("grpc"), config=KEEP)
    gens = [box.gen_start(relay, signal=s, items=scaled(30000), items_per_request=2, in_flight=100, connections=2, tenants=1000)
            for s in SIGNALS]
    most = 0
    while any(g.process.alive() for g in gens):
        most = max(most, relay.anonymous_bytes())
    assert all(g.wait()["code"] == 0 for g in gens)
    relay.wait_drained(120)
    for signal, gen in zip(SIGNALS, gens):
        stats = check_arrived(sink, signal, [gen], 1000)
        assert stats["duplicates"] == 0, stats
    print(f"anonymous memory at most {most >> 20} MiB")
    assert most < (256 if SANITIZER else 32) << 20, f"{most >> 20} MiB"


def test_what_is_not_listed_is_neither_stored_nor_sent_nor_shown(box):
    sink = box.sink()
    port = box.port()
    config = {"receiver": {"keep_headers": ["x-tenant", "x-api-key"]}}
    relay = box.weir({"name": "c", "endpoint": f"http://{port.address}", "headers": {"x-own": "mine"}}, config=config)
    headers = {"Content-Type": "application/x-protobuf", "X-Tenant": "a tenant", "X-Api-Key": "k3y-77aa", "Authorization": SECRET}
    for signal, path in HTTP_PATHS.items():
        assert request(relay.http, "POST", path, box.body(signal), headers)[0] == 200
    kept = b""
    for log in (relay.process.log(), json.dumps(relay.status()), relay.get("/metrics")[2].decode()):
        assert SECRET not in log and "k3y-77aa" not in log
    relay.terminate()
    for file in relay.spool.iterdir():
        assert file.stat().st_mode & 0o077 == 0 or file.name == "LOCK", file
        kept += file.read_bytes()
    assert SECRET.encode() not in kept and b"authorization" not in kept.lower()
    assert b"a tenant" in kept and b"k3y-77aa" in kept
    listed = [json.loads(line) for line in spool("list", relay.spool, "--blocks", "--json").splitlines()]
    assert len(listed) == 3
    for block in listed:
        assert block["headers"] == [{"name": "x-api-key", "value": "********"}, {"name": "x-tenant", "value": "a tenant"}], block
    assert "x-api-key=********  x-tenant=a tenant" in spool("list", relay.spool, "--blocks")
    relay.config["upstreams"][0]["endpoint"] = sink.url("http")
    relay.start()
    relay.wait_drained()
    attempts = sink.attempts()
    assert len(attempts) == 3
    for attempt in attempts:
        sent = attempt["headers"]
        assert sent["x-tenant"] == "a tenant" and sent["x-api-key"] == "k3y-77aa" and sent["x-own"] == "mine"
        assert "authorization" not in sent and SECRET not in str(sent)


def test_dead_letters_keep_their_headers(box):
    sink = box.sink()
    away = f"grpc://{box.port().address}"
    relay = box.weir({"name": "refuses", "endpoint": sink.url("grpc")}, {"name": "away", "endpoint": away, "max_data_age": "1ms"}, config=KEEP)
    sink.mode(transport="grpc", status=3)
    box.gen(relay, items=6, items_per_request=2, tenants=3)
    relay.wait_drained()
    relay.terminate()
    letters = [json.loads(line) for line in spool("list", relay.spool, "--dead-letters", "--json").splitlines()]
    by_upstream = {}
    for letter in letters:
        assert [h["name"] for h in letter["headers"]] == ["x-scope-orgid"]
        by_upstream.setdefault(letter["upstream"], []).append(letter["headers"][0]["value"])
        assert letter["code"] == "TOO_OLD" or letter["upstream"] == "refuses", letter
    tenants = ["tenant-0", "tenant-1", "tenant-2"]
    assert sorted(by_upstream["refuses"]) == sorted(2 * tenants) and sorted(by_upstream["away"]) == tenants, letters  # items, blocks
    relay.start()


def test_check_config_warns_of_secrets(box):
    file = box.file("w.yaml", b"receiver: {keep_headers: [x-tenant, Authorization]}\nupstreams: [{name: a, endpoint: 'grpc://c:1'}]\n")
    done = subprocess.run([BUILD / "weir", "check-config", "--config", file], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "'authorization' look like secrets" in done.stderr and "x-tenant" not in done.stderr, done
