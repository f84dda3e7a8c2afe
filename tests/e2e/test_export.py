# SPDX-License-Identifier: Apache-2.0
"""`weir spool export`: what was stored comes out as OTLP/JSON lines, chosen by signal, time, block, upstream; damage is told."""

import json
import time
from collections import Counter
from datetime import datetime, timezone

from test_start import weir
from weirtest import SIGNALS, wait_for

ROOTS = {"traces": "resourceSpans", "metrics": "resourceMetrics", "logs": "resourceLogs"}


def ids_in(value):
    """Every weir.test.id below a JSON value."""
    if isinstance(value, dict):
        if value.get("key") == "weir.test.id":
            yield int(value["value"]["intValue"])
        for inner in value.values():
            yield from ids_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from ids_in(inner)


def read_lines(text):
    """{signal: Counter of ids}, and how many lines; each line is one object with one root."""
    found, lines = {signal: Counter() for signal in SIGNALS}, text.splitlines()
    for line in lines:
        (root,) = json.loads(line).keys()
        found[next(s for s in SIGNALS if ROOTS[s] == root)].update(ids_in(json.loads(line)))
    return found, len(lines)


def export(spool, *args, code=0):
    """Runs the command; returns {signal: Counter}, lines, the account."""
    done = weir("spool", "export", str(spool), "--json", *(str(a) for a in args))
    assert done.returncode == code, (args, done)
    account = json.loads(done.stderr.splitlines()[-1])
    found, lines = read_lines(done.stdout)
    assert account["requests"] == lines and account["bytes"] == len(done.stdout.encode())
    return found, account


def fill(box, items=300):
    """A spool with `items` of each signal: up0 has got them all, up1 none. Returns the relay, stopped."""
    sink, port = box.sink(), box.port()
    relay = box.weir(sink.url("grpc"), f"grpc://{port.address}", config={"spool": {"keep_delivered": "1h"}})
    for signal in SIGNALS:
        box.gen(relay, signal=signal, items=items, items_per_request=10)
    wait_for(lambda: all(relay.lane(s, "up0")["pending"] == 0 for s in SIGNALS), 60, "up0 has it all")
    return relay


def test_all_of_it_and_parts(box):
    relay = fill(box)
    held = weir("spool", "export", str(relay.spool))
    assert held.returncode == 4 and "weir" in held.stderr and not held.stdout, held
    assert relay.terminate() == 0
    everything = Counter(range(300))
    found, account = export(relay.spool)
    assert all(found[s] == everything for s in SIGNALS)
    assert account["items"] == {"traces": 300, "metrics": 300, "logs": 300, "profiles": 0} and account["damaged"]["blocks"] == 0
    assert account["requests"] == 90

    found, account = export(relay.spool, "--signal", "logs")
    assert found["logs"] == everything and not found["traces"] and account["requests"] == 30
    found, _ = export(relay.spool, "--upstream", "up1")
    assert all(found[s] == everything for s in SIGNALS)
    found, account = export(relay.spool, "--upstream", "up0")
    assert account["requests"] == 0 and account["missing_items"] == 0

    out = box.directory / "out.jsonl"
    done = weir("spool", "export", str(relay.spool), "-o", str(out))
    assert done.returncode == 0 and not done.stdout and "exported 90 requests with 900 items" in done.stderr, done
    assert all(read_lines(out.read_text())[0][s] == everything for s in SIGNALS) and out.stat().st_mode & 0o777 == 0o600


def test_by_time_and_by_block(box):
    relay = fill(box, items=100)
    moment = datetime.now(timezone.utc).isoformat()
    box.gen(relay, signal="traces", items=50, first_id=100, items_per_request=10)
    assert relay.terminate() == 0
    before, after = set(range(100)), set(range(100, 150))
    assert set(export(relay.spool, "--until", moment)[0]["traces"]) == before
    assert set(export(relay.spool, "--since", moment)[0]["traces"]) == after
    assert set(export(relay.spool, "--since", "-1h")[0]["traces"]) == before | after
    assert export(relay.spool, "--until", "-1h")[1]["requests"] == 0
    first = export(relay.spool, "--blocks", "0-0")[1]["requests"]
    assert 0 < first < 35 and first + export(relay.spool, "--blocks", "1-")[1]["requests"] == 35


def test_dead_letters(box):
    sink = box.sink()
    sink.mode(signal="traces", status=3)
    relay = box.weir(sink.url("grpc"), config={"spool": {"keep_delivered": "1h"}})
    box.gen(relay, signal="traces", items=40, items_per_request=10)
    box.gen(relay, signal="logs", items=40, items_per_request=10)
    wait_for(lambda: relay.lane("traces")["dead_lettered"] == 40 and relay.lane("logs")["delivered"] == 40, 60, "both are settled")
    assert relay.terminate() == 0
    found, account = export(relay.spool, "--dead-letters")
    assert found["traces"] == Counter(range(40)) and not found["logs"] and 16 < account["requests"] < 40
    assert export(relay.spool, "--dead-letters", "--signal", "logs")[1]["requests"] == 0
    assert export(relay.spool, "--dead-letters", "--upstream", "up0")[1]["requests"] == account["requests"]


def test_damage_is_skipped_and_told(box):
    relay = fill(box, items=1000)
    assert relay.terminate() == 0
    segment = next(relay.spool.glob("seg-*.mdb"))
    content = bytearray(segment.read_bytes())
    headers = [at for at in range(0, len(content) - 224, 2) if content[at : at + 4] == b"WBLK"]
    numbers = [int.from_bytes(content[at + 88 : at + 96], "little") for at in headers]
    hurt = sorted(set(numbers))[len(set(numbers)) // 2]
    for at in (at for at, number in zip(headers, numbers) if number == hurt):
        content[at + 400] ^= 0xFF  # in its frame; older copies of it may lie in free pages
    segment.write_bytes(content)
    found, account = export(relay.spool, code=1)
    assert account["damaged"]["blocks"] == 1 and account["damaged"]["known_items"] > 0 and segment.name in account["damaged"]["first"]
    whole = sum(len(found[s]) for s in SIGNALS)
    assert whole + account["damaged"]["known_items"] == 3000, "what is not there is told, item by item"
    _, account = export(relay.spool, "--upstream", "up1", code=1)
    assert account["missing_items"] == 0 and account["damaged"]["known_items"] > 0
    assert bytes(content) == segment.read_bytes()


def test_wrong_use(box):
    relay = fill(box, items=10)
    assert relay.terminate() == 0
    before = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in relay.spool.iterdir()}
    for args, words in (
        (["--signal", "trace"], "traces, metrics, logs or profiles"),
        (["--since", "yesterday"], "RFC 3339"),
        (["--blocks", "9-1"], "blocks"),
        (["--upstream", "nobody"], "up0"),
        (["-o", str(relay.spool / "out.jsonl")], "lies in the spool"),
    ):
        done = weir("spool", "export", str(relay.spool), *args)
        assert done.returncode == 2 and words in done.stderr and not done.stdout, (args, done)
    assert weir("spool", "export", str(box.directory / "none")).returncode == 2
    assert weir("spool", "export").returncode == 2
    full = weir("spool", "export", str(relay.spool), "-o", "/dev/full")
    assert full.returncode == 1 and "No space left" in full.stderr, full
    assert {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in relay.spool.iterdir()} == before
