# SPDX-License-Identifier: Apache-2.0
"""`weir spool stat|list|verify|salvage` on what a real relay left behind."""

import fcntl
import hashlib
import json
import os

from test_start import weir
from weirtest import SIGNALS, request, wait_for

ITEMS = 12000
SMALL = {"spool": {"segment_size": "1MiB", "max_size": "512MiB"}}


def spool(verb, directory, *args, code=0):
    done = weir("spool", verb, directory, *args)
    assert done.returncode == code, (verb, args, done)
    return done


def lines(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def fingerprint(directory):
    return {p.name: (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns) for p in directory.iterdir()}


def backlog(box, upstreams=1, items=ITEMS, rest=False, **config):
    """A relay without upstreams that took items of each signal, killed. Returns it and its last status. `rest`: nothing moves between the
    status and an orderly end (attempts pass over the blocks of other signals)."""
    ports = [box.port() for _ in range(upstreams)]
    relay = box.weir(*[f"grpc://{p.address}" for p in ports], config={**SMALL, **config})
    for signal in SIGNALS:
        box.gen(relay, signal=signal, items=items, items_per_request=20, payload_bytes=500)
    if rest:
        for i in range(upstreams):
            assert request(relay.admin, "POST", f"/v1/upstreams/up{i}/pause")[0] == 200
            wait_for(lambda i=i: relay.upstream(f"up{i}")["state"] == "paused", 10, "the upstream is paused")
    status = relay.status()
    if rest:
        relay.terminate()
    else:
        relay.kill()
    return relay, status


def verify(directory, code=0):
    *findings, summary = lines(spool("verify", directory, "--json", code=code))
    return {f["finding"]: f for f in findings}, summary


def test_stat_says_what_status_said(box):
    relay, status = backlog(box, upstreams=2, rest=True)
    before = fingerprint(relay.spool)
    stat = json.loads(spool("stat", relay.spool, "--json").stdout)
    assert stat["spool"]["instance"] == status["weir"]["instance"]
    assert stat["spool"]["segments"] == status["spool"]["segments"]
    told = {u["name"]: u for u in status["upstreams"]}
    assert {u["name"] for u in stat["upstreams"]} == set(told) == {"up0", "up1"}
    for upstream in stat["upstreams"]:
        was = told[upstream["name"]]
        assert upstream["backlog"]["items"] == was["backlog"]["items"] == len(SIGNALS) * ITEMS
        assert upstream["backlog"]["bytes"] == was["backlog"]["bytes"]
        for signal, lane in was["lanes"].items():
            assert upstream["lanes"][signal]["items"] == lane["items"], (signal, upstream, lane)
            for same in ("intervals", "evicted", "pending_bytes"):
                assert upstream["lanes"][signal][same] == lane[same], (same, upstream, lane)
    for signal in SIGNALS:
        assert stat["spool"]["signals"][signal]["items"] == ITEMS
    text = spool("stat", relay.spool).stdout
    assert "up0" in text and f"{ITEMS:,}" in text and status["weir"]["instance"] in text
    findings, summary = verify(relay.spool)
    assert summary["verdict"] == "sound" and summary["items"] == {s: ITEMS for s in SIGNALS}, (findings, summary)
    assert set(findings) <= {"W101"}, findings
    # Lists agree with it, and with their filters.
    files = lines(spool("list", relay.spool, "--json"))
    segments = [f for f in files if f["kind"] == "segment"]
    assert len(segments) == stat["spool"]["segments"] > 2 and {f["file"] for f in files} == set(os.listdir(relay.spool))
    blocks = lines(spool("list", relay.spool, "--blocks", "--json"))
    assert [b["block"] for b in blocks] == list(range(stat["spool"]["next_block"]))
    some = lines(spool("list", relay.spool, "--json", "--blocks=3-5"))
    assert [b["block"] for b in some] == [3, 4, 5] and some == blocks[3:6]
    assert lines(spool("list", relay.spool, "--json", "--blocks", "3-5")) == some
    logs = lines(spool("list", relay.spool, "--blocks", "--signal", "logs", "--json"))
    assert sum(b["items"] for b in logs) == ITEMS and logs == [b for b in blocks if b["signal"] == "logs"]
    assert lines(spool("list", relay.spool, "--blocks", "--since", logs[0]["received_first"], "--json"))
    assert not lines(spool("list", relay.spool, "--blocks", "--until", "-1h", "--json"))
    lanes = lines(spool("list", relay.spool, "--lanes", "--json"))
    assert sum(lane["items"]["pending"] for lane in lanes) == 2 * len(SIGNALS) * ITEMS
    assert fingerprint(relay.spool) == before
    relay.start()  # so that it ends as it must


def test_sound_after_kill_9_under_load(box):
    sink = box.sink()
    relay = box.weir(sink.url("grpc"), config=SMALL)
    for round_ in range(5):
        gens = [box.gen_start(relay, signal=s, items=0, rate=5000, items_per_request=20, in_flight=2) for s in SIGNALS]
        wait_for(lambda: min(sink.stats(s)["items"] for s in SIGNALS) > 500 * (round_ + 1), 30, "data flows")
        relay.kill()
        for gen in gens:
            gen.process.kill()
        findings, summary = verify(relay.spool)
        assert summary["verdict"] == "sound" and set(findings) <= {"W101", "W205"}, (findings, summary)
        relay.start()


def lost_ids(sink, gens):
    return {s: gens[s].acked() - sink.ids(s) for s in SIGNALS}


def test_damage_is_found_and_the_rest_is_salvaged(box):
    port = box.port()
    relay = box.weir({"name": "central", "endpoint": f"grpc://{port.address}"}, config=SMALL)
    gens = {}
    for signal in SIGNALS:
        gens[signal] = box.gen_start(relay, signal=signal, items=ITEMS, items_per_request=20, payload_bytes=500)
        assert gens[signal].wait()["code"] == 0
    relay.kill()
    segments = [f for f in lines(spool("list", relay.spool, "--json")) if f["kind"] == "segment"]
    blocks = lines(spool("list", relay.spool, "--blocks", "--json"))
    # One file is gone; in another one block is changed.
    gone, other = segments[1], segments[-1]
    changed = next(b for b in blocks if b["file"] == other["file"])
    (relay.spool / gone["file"]).unlink()
    with open(relay.spool / changed["file"], "r+b") as file:
        file.seek(changed["offset"] + 300)
        was = file.read(8)
        file.seek(changed["offset"] + 300)
        file.write(bytes(b ^ 0xFF for b in was))
    before = fingerprint(relay.spool)
    findings, summary = verify(relay.spool, code=1)
    assert findings["W204"]["blocks"] == [gone["first"], gone["end"] - 1], findings
    assert findings["W204"]["items"] == {s: v["items"] for s, v in gone["signals"].items()}
    assert findings["W203"]["blocks"] == [changed["block"]] * 2 and findings["W203"]["file"] == changed["file"]
    assert findings["W203"]["items"] == {changed["signal"]: changed["items"]}
    assert findings["W203"]["lanes"] == [f"central/{changed['signal']}"]
    assert findings["W202"]["file"] == changed["file"]
    lost = {s: sum(b["items"] for b in blocks if b["signal"] == s and (b["file"] == gone["file"] or b == changed)) for s in SIGNALS}
    assert sum(lost.values()) > 0 and summary["items"] == {s: ITEMS - lost[s] for s in SIGNALS}

    plan = json.loads(spool("salvage", relay.spool, "--json").stdout)
    assert plan["written"] is None and plan["items"] == {**{s: ITEMS - lost[s] for s in SIGNALS}, "profiles": 0}
    assert {lane["signal"]: lane["lost_items"] for lane in plan["lanes"]} == {**lost, "profiles": 0}
    new = box.directory / "salvaged"
    spool("salvage", relay.spool, "--to", new)
    assert not new.exists(), "without --yes nothing is written"
    done = spool("salvage", relay.spool, "--to", new, "--yes")
    assert "salvaged" in done.stdout and fingerprint(relay.spool) == before
    assert spool("salvage", relay.spool, "--to", new, "--yes", code=2).stderr  # it is not empty any more

    sink = box.sink()
    config = {**SMALL, "spool": {**SMALL["spool"], "directory": str(new)}}
    heir = box.weir({"name": "central", "endpoint": sink.url("grpc")}, config=config)
    heir.wait_drained()
    ledger = heir.check_ledger()["central"]
    missing = lost_ids(sink, gens)
    for signal in SIGNALS:
        assert ledger[signal]["accepted"] == ITEMS
        assert ledger[signal]["evicted"] == lost[signal] == len(missing[signal]), (signal, ledger[signal])
        assert ledger[signal]["delivered"] == ITEMS - lost[signal]
        assert sink.stats(signal)["duplicates"] == 0
    heir.terminate()
    assert verify(new)[1]["verdict"] == "sound"


def test_what_is_refused(box):
    sink = box.sink()
    relay = box.weir(sink.url("grpc"))
    for verb in ("stat", "list", "verify", "salvage"):
        assert f"pid {relay.pid}" in spool(verb, relay.spool, code=4).stderr
    relay.terminate()
    empty = box.directory / "empty"
    empty.mkdir()
    for verb in ("stat", "list", "verify", "salvage"):
        spool(verb, relay.spool)
        assert "empty" in spool(verb, empty, code=2).stderr
        assert "no spool" in spool(verb, box.directory, code=2).stderr
        assert "No such file" in spool(verb, box.directory / "missing", code=2).stderr
        assert weir("spool", verb).returncode == 2
        assert weir("spool", verb, relay.spool, "--no-such-option").returncode == 2
        assert "--json" in weir("spool", verb, "--help").stdout
    assert spool("list", relay.spool, "--blocks=x", code=2).stderr
    assert spool("list", relay.spool, "--since", "yesterday", code=2).stderr
    assert spool("salvage", relay.spool, "--yes", code=2).stderr
    assert "'spool verify'" in weir("spool", "verfy", relay.spool).stderr
    assert not list(empty.iterdir())
    if os.geteuid() == 0:  # somebody who may not look
        try:
            done = weir("spool", "verify", relay.spool, user=65534)
        except PermissionError:
            return  # nor may he run what was built here
        assert done.returncode == 2 and "ermission" in done.stderr, done


def test_a_relay_cannot_start_while_somebody_looks(box):
    """And the tools do not disturb each other."""
    relay, _ = backlog(box, items=100)
    lock = os.open(relay.spool / "LOCK", os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        spool("verify", relay.spool)
        relay.start(wait=False)
        assert relay.process.wait(10) == 4
    finally:
        os.close(lock)
    relay.start()
