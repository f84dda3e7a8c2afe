# SPDX-License-Identifier: Apache-2.0
"""What was delivered is kept, and goes out once more by command: by time, by block numbers, through a kill -9, and for a new upstream."""

import json
import subprocess
import time

import pytest

from weirtest import BUILD, SIGNALS, request, sanitizer_options, scaled, wait_for

ITEMS = scaled(3000)
KEEP = {"spool": {"segment_size": "1MiB", "max_size": "64MiB", "keep_delivered": "1h"}}


def command(weir, *args):
    argv = [BUILD / "weir", *args, "--admin", f"http://{weir.admin}"]
    return subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=60, env=sanitizer_options())


def replay(weir, *args, upstream="up0"):
    """The answer of a replay that must be taken."""
    done = command(weir, "replay", upstream, *args, "--json")
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def counts(answer):
    return {signal: lane["items"] for signal, lane in answer["signals"].items() if lane["items"]}


def send(box, weir, items=ITEMS, first_id=0, signals=SIGNALS, **options):
    gens = [box.gen_start(weir, signal=signal, items=items, first_id=first_id, items_per_request=20, in_flight=4,
                          **{"payload_bytes": 4000, **options}) for signal in signals]
    for gen in gens:
        assert gen.wait()["code"] == 0


def delivered_once(box, weir, sink, **options):
    """Sends, waits until all is delivered, and forgets at the sink: what it gets from now on it gets again."""
    send(box, weir, **options)
    weir.wait_drained()
    sink.reset()


def arrived(sink):
    return {signal: sink.stats(signal)["items"] for signal in SIGNALS if sink.stats(signal)["items"]}


def test_by_time(box):
    sink = box.sink()
    weir = box.weir(sink.url("grpc"), config=KEEP)
    delivered_once(box, weir, sink)
    counted = replay(weir, "--since", "-1h", "--dry-run")
    assert counted["dry_run"] and counts(counted) == {s: ITEMS for s in SIGNALS}, counted
    assert weir.drained() and arrived(sink) == {}, "a dry run only counts"
    assert counts(replay(weir, "--since", "-1h")) == counts(counted)
    weir.wait_drained()
    assert arrived(sink) == counts(counted)
    for signal, items in weir.check_ledger()["up0"].items():
        expected = ITEMS if signal in SIGNALS else 0
        assert items["accepted"] == items["delivered"] == 2 * expected and items["replayed"] == expected, (signal, items)
        if expected:
            stats = sink.stats(signal)
            assert sink.ids(signal) == set(range(ITEMS)) and stats["duplicates"] == 0
    assert sink.stats("metrics")["order_violations"] == 0
    shown = command(weir, "status").stdout
    assert f"traces: {ITEMS:,} items were added again by weir replay" in shown, shown
    assert sum(e["items"] for e in weir.events() if e["event"] == "replay_added") == 3 * ITEMS


def test_a_window_of_time_and_one_signal(box):
    sink = box.sink()
    weir = box.weir(sink.url("http"), config=KEEP)
    moments = []
    for turn in range(3):
        delivered_once(box, weir, sink, items=500, first_id=turn * 500)
        moments.append(time.time_ns())

    def rfc3339(ns):
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ns // 10**9)) + f".{ns % 10**9:09d}Z"

    window = ["--since", rfc3339(moments[0]), "--until", rfc3339(moments[1])]
    assert counts(replay(weir, *window, "--dry-run")) == {s: 500 for s in SIGNALS}
    assert counts(replay(weir, *window, "--signal", "logs")) == {"logs": 500}
    weir.wait_drained()
    assert arrived(sink) == {"logs": 500} and sink.ids("logs") == set(range(500, 1000))


def test_by_blocks_and_what_is_pending_is_not_added_twice(box):
    sink = box.sink()
    weir = box.weir(sink.url("grpc"), config=KEEP)
    delivered_once(box, weir, sink)
    blocks = weir.upstream()["lanes"]["traces"]["intervals"][-1][1]
    half = f"0-{blocks // 2}"
    counted = counts(replay(weir, "--blocks", half, "--dry-run"))
    sink.listen(False)
    assert counts(replay(weir, "--blocks", half)) == counted
    done = command(weir, "replay", "up0", "--blocks", half)
    assert done.returncode == 1 and "still waits to be delivered" in done.stderr, done
    assert "what is added waits" in command(weir, "replay", "up0", "--blocks", f"{blocks // 2 + 1}-").stderr
    sink.listen(True)
    weir.wait_drained()
    assert arrived(sink) == {s: ITEMS for s in SIGNALS}, "both halves once"
    # Which signal's blocks lie in which half is as the senders' requests met; what was asked for is a part, and not all.
    assert 0 < sum(counted.values()) < ITEMS * len(SIGNALS), counted


def test_it_survives_kills(box):
    sink = box.sink()
    weir = box.weir(sink.url("grpc"), config=KEEP)
    delivered_once(box, weir, sink)
    sink.listen(False)
    assert counts(replay(weir, "--since", "-1h")) == {s: ITEMS for s in SIGNALS}
    weir.restart()  # kill -9: nothing of it had gone out
    send(box, weir, items=100, first_id=ITEMS)
    assert all(weir.lane(s)["pending"] == ITEMS + 100 and weir.lane(s)["replayed"] == ITEMS for s in SIGNALS)
    sink.listen(True)
    wait_for(lambda: sink.stats("logs")["items"] > 0, 30, "it goes out")
    weir.restart()  # kill -9 in the middle
    weir.wait_drained()
    for signal in SIGNALS:
        assert sink.ids(signal) == set(range(ITEMS + 100))
        lane = weir.check_ledger()["up0"][signal]
        assert lane["delivered"] == lane["accepted"] == 2 * ITEMS + 100, (signal, lane)


def test_beside_live_data(box):
    sink = box.sink()
    weir = box.weir(sink.url("grpc"), config=KEEP)
    delivered_once(box, weir, sink)
    gen = box.gen_start(weir, signal="traces", items=ITEMS, first_id=ITEMS, items_per_request=20, in_flight=4, rate=ITEMS)
    wait_for(lambda: sink.stats("traces")["items"] > 0, 30, "live data goes out")
    asked = counts(replay(weir, "--blocks", f"0-{weir.upstream()['lanes']['logs']['intervals'][-1][1] // 4}"))
    assert gen.wait()["code"] == 0
    weir.wait_drained()
    assert sink.ids("traces") >= set(range(ITEMS, 2 * ITEMS))
    assert sink.stats("traces")["items"] == ITEMS + asked.get("traces", 0) and sink.stats("traces")["duplicates"] == 0


def test_nothing_is_there_any_more(box):
    sink = box.sink()
    weir = box.weir({"name": "up0", "endpoint": sink.url("grpc"), "signals": ["traces", "logs"]},
                    config={"spool": {"segment_size": "1MiB", "max_size": "64MiB"}})
    send(box, weir, signals=["logs"], items=100)
    weir.wait_drained()
    for args, words in (
        (["replay", "up1", "--since", "-1h"], ["unknown upstream 'up1'", "there are up0"]),
        (["replay", "up0", "--since", "-1h", "--signal", "metrics"], ["does not take metrics"]),
        (["replay", "up0", "--since", "-2h", "--until", "-1h"], ["nothing there to replay", "spool.keep_delivered is 0s"]),
        (["replay", "up0", "--blocks", "1000000-"], ["nothing there to replay"]),
    ):
        done = command(weir, *args)
        assert done.returncode == 1 and all(word in done.stderr for word in words), done


def test_a_token_lets_in_and_its_file_is_followed(box):
    sink = box.sink()
    token = box.file("token", b"s3cret\n")
    weir = box.weir(sink.url("grpc"), config={**KEEP, "admin": {"token_file": str(token)}})
    delivered_once(box, weir, sink, items=100)
    done = command(weir, "replay", "up0", "--since", "-1h")
    assert done.returncode == 1 and "admin.token_file" in done.stderr and "--token-file" in done.stderr, done
    assert counts(replay(weir, "--since", "-1h", "--dry-run", "--token-file", token)) == {s: 100 for s in SIGNALS}
    box.file("token", b"another\n")
    done = command(weir, "replay", "up0", "--since", "-1h", "--token-file", box.file("old", b"s3cret"))
    assert done.returncode == 1 and "not the token" in done.stderr, done
    assert counts(replay(weir, "--since", "-1h", "--token-file", token)) == {s: 100 for s in SIGNALS}
    weir.wait_drained()
    body = json.dumps({"upstream": "up0", "since": "-1h"})
    status, _, _ = request(weir.admin, "POST", "/v1/replay", body, {"Authorization": "Bearer another", "Origin": "http://evil.example"})
    assert status == 403
    assert "s3cret" not in weir.process.log() and "another" not in weir.process.log()


@pytest.mark.parametrize("start,expected", [("oldest", 2 * ITEMS), ("now", ITEMS)])
def test_a_new_upstream_starts(box, start, expected):
    """`start` decides once, when the upstream is first seen: a kill -9 in the middle of its backlog, and the next start, change nothing."""
    sink, second = box.sink(), box.sink()
    weir = box.weir(sink.url("grpc"), config=KEEP)
    delivered_once(box, weir, sink, signals=["traces"])
    second.listen(False)
    weir.config["upstreams"].append({"name": "late", "endpoint": second.url("grpc"), "start": start,
                                     "retry": {"initial": "50ms", "max": "500ms"}})
    weir.restart()
    send(box, weir, signals=["traces"], first_id=ITEMS)
    assert weir.lane("traces", "late")["pending"] == expected
    second.listen(True)
    wait_for(lambda: second.stats("traces")["items"] > 0, 30, "its backlog goes out")
    weir.restart()
    weir.wait_drained()
    lane = weir.check_ledger()["late"]["traces"]
    assert lane["accepted"] == lane["delivered"] == expected
    assert second.ids("traces") == set(range(2 * ITEMS - expected, 2 * ITEMS))
    weir.restart()
    assert weir.lane("traces", "late")["accepted"] == expected, "it is no new upstream any more"
