# SPDX-License-Identifier: Apache-2.0
"""What an upstream refused for good: listed, shown, sent again after it was mended, removed, evicted when there are too many; across kills."""

import json
import re
import subprocess

import pytest

from test_replay_past import command
from weirtest import BUILD, TRANSPORTS, request, sanitizer_options, wait_for

REFUSE = {"grpc": 3, "http": 400}


def letters(weir, *args):
    done = command(weir, "deadletter", "list", "--json", *args)
    assert done.returncode == 0, done
    return [json.loads(line) for line in done.stdout.splitlines()]


def agrees(weir):
    """The ledger adds up, and names what lies in the dead letters."""
    there = {}
    for letter in letters(weir):
        key = (letter["upstream"], letter["signal"])
        there[key] = there.get(key, 0) + letter["items"]
    ledger = weir.check_ledger()
    told = {(u, s): items["dead_lettered"] for u, lanes in ledger.items() for s, items in lanes.items() if items["dead_lettered"]}
    assert told == there
    return ledger


def refused(box, items=40, transport="grpc", config=None, signal="traces"):
    """A relay with a dead letter of each item."""
    sink = box.sink()
    sink.mode(signal=signal, status=REFUSE[transport])
    weir = box.weir(sink.url(transport), config=config)
    box.gen(weir, signal=signal, items=items, items_per_request=1)
    wait_for(lambda: weir.lane(signal)["pending"] == 0, 60, "all is settled")
    wait_for(lambda: not any(entry["settling"] for entry in letters(weir)), 30, "and that is durable")
    return sink, weir


def verified(weir):
    """The spool at rest is sound, the ledgers against the dead letters included."""
    found = subprocess.run([str(BUILD / "weir"), "spool", "verify", str(weir.spool)], capture_output=True, text=True, timeout=60, env=sanitizer_options())
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_list_show_redrive(box, transport):
    sink, weir = refused(box, transport=transport)
    listed = letters(weir)
    assert sum(entry["items"] for entry in listed) == 40 and all(entry["upstream"] == "up0" and entry["signal"] == "traces" for entry in listed)
    first = listed[0]
    assert first["code"] in ("INVALID_ARGUMENT", "HTTP 400") and first["attempts"] > 0 and not first["redrive"]
    assert re.fullmatch(r"\d+-\d+\.up0", first["id"]) and first["received"] and first["stored"] and first["first_item_time"] <= first["last_item_time"]
    assert letters(weir, "--signal", "logs") == [] and letters(weir, "--upstream", "nobody") == [] and letters(weir, "--upstream", "up0") == listed
    shown = json.loads(command(weir, "deadletter", "show", first["id"]).stdout)
    ids = [a["value"]["intValue"] for r in shown["request"]["resourceSpans"] for s in r["scopeSpans"] for span in s["spans"]
           for a in span["attributes"] if a["key"] == "weir.test.id"]
    assert len(ids) == first["items"] and {k: shown[k] for k in first} == first
    plain = command(weir, "deadletter", "list").stdout
    assert len(plain.splitlines()) == len(listed) and first["id"] in plain

    # Nothing was mended: they stay, with what was tried.
    assert command(weir, "deadletter", "redrive", first["id"]).returncode == 0
    wait_for(lambda: letters(weir)[0]["redrives"] == 1 and not letters(weir)[0]["redrive"], 30, "it was refused again")
    assert letters(weir)[0]["attempts"] == first["attempts"] + 1
    agrees(weir)

    sink.reset()
    sink.mode(ok=1)
    done = command(weir, "deadletter", "redrive", "--all")
    assert done.returncode == 0 and f"{len(listed)} dead letters (40 items)" in done.stdout, done
    wait_for(lambda: letters(weir) == [], 30, "all were sent again")
    assert sink.ids("traces") == set(range(40)) and sink.stats("traces")["duplicates"] == 0
    items = agrees(weir)["up0"]["traces"]
    assert items["delivered"] == items["accepted"] == 40 and items["dead_lettered"] == 0
    assert weir.status()["dead_letters"]["redriven"] == len(listed)
    assert weir.terminate() == 0
    verified(weir)


def test_purge_and_what_is_not_there(box):
    sink, weir = refused(box)
    listed = letters(weir)
    some = [entry["id"] for entry in listed[:3]]
    items = sum(entry["items"] for entry in listed[:3])
    assert command(weir, "deadletter", "purge", *some).returncode == 0
    again = command(weir, "deadletter", "purge", *some)
    assert again.returncode == 1 and again.stderr.count("there is no dead letter") == 3
    assert agrees(weir)["up0"]["traces"]["discarded"] == items
    for wrong in (["purge"], ["purge", "--all", some[0]], ["redrive", "--upstream", "up0"], ["show"], ["show", "nonsense"], ["purge", "nonsense"]):
        done = command(weir, "deadletter", *wrong)
        assert done.returncode == 2 and done.stderr, done
    assert command(weir, "deadletter", "show", "999-0.up0").returncode == 1
    assert "not configured" in command(weir, "deadletter", "redrive", "--all", "--upstream", "other").stderr
    assert command(weir, "deadletter", "purge", "--all", "--signal", "logs").returncode == 0 and len(letters(weir)) == len(listed) - 3
    assert command(weir, "deadletter", "purge", "--all").returncode == 0
    ledger = agrees(weir)["up0"]["traces"]
    assert letters(weir) == [] and ledger["discarded"] == 40 and ledger["dead_lettered"] == 0
    assert weir.terminate() == 0
    verified(weir)


def test_json_is_what_the_help_says(box):
    """list: an object a line; show: one line; redrive and purge: an answer a line."""
    sink, weir = refused(box, items=5)

    def promised(verb):
        text = " ".join(subprocess.run([BUILD / "weir", "deadletter", verb, "--help"], capture_output=True, text=True).stdout.split())
        return re.search(r"--json (.*?) --", text).group(1)

    assert promised("list") == "print one JSON object a line, of each dead letter"
    listed = command(weir, "deadletter", "list", "--json").stdout.splitlines()
    ids = [json.loads(line)["id"] for line in listed]
    assert len(ids) == 5
    assert promised("show") == "print it as one line"
    one = command(weir, "deadletter", "show", "--json", ids[0]).stdout
    assert one.count("\n") == 1 and json.loads(one)["id"] == ids[0]
    assert promised("purge") == promised("redrive") == "print the answers, one JSON document a line, page by page"
    answers = [json.loads(line) for line in command(weir, "deadletter", "purge", "--json", *ids[:2], *["99-0.up0"] * 120).stdout.splitlines()]
    assert [(a["purged"], len(a["not_found"])) for a in answers] == [(2, 98), (0, 22)], answers
    answers = [json.loads(line) for line in command(weir, "deadletter", "redrive", "--json", "--all").stdout.splitlines()]
    assert sum(a["redrive"] for a in answers) == 3, answers
    command(weir, "deadletter", "purge", "--all")
    wait_for(lambda: not letters(weir), 30, "none is left")
    assert command(weir, "deadletter", "list", "--json").stdout == ""


def test_show_of_any_text(box):
    sink = box.sink()
    sink.mode(signal="logs", status=3)
    weir = box.weir(sink.url("grpc"))
    text = "a\u0000b \u0001 \U0001f980 \\ \" \u2028"
    record = {"timeUnixNano": "1", "body": {"stringValue": text}, "attributes": [{"key": "k\u0000", "value": {"doubleValue": 1e-300}}]}
    body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]})
    assert request(weir.http, "POST", "/v1/logs", body, {"content-type": "application/json"})[0] == 200
    wait_for(lambda: weir.lane("logs")["pending"] == 0, 60, "all is settled")
    done = command(weir, "deadletter", "show", letters(weir)[0]["id"])
    assert done.returncode == 0, done
    shown = json.loads(done.stdout)["request"]["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
    assert shown["body"] == record["body"] and shown["attributes"] == record["attributes"]


def test_an_upstream_that_left(box):
    sink, weir = refused(box)
    assert weir.terminate() == 0
    other = box.sink()
    weir.config["upstreams"] = [{"name": "new", "endpoint": other.url("grpc")}]
    weir.start()
    listed = letters(weir)
    assert sum(entry["items"] for entry in listed) == 40
    done = command(weir, "deadletter", "redrive", listed[0]["id"])
    assert done.returncode == 1 and "not configured" in done.stderr, done
    done = command(weir, "deadletter", "redrive", "--all")
    assert done.returncode == 0 and "'up0' is not configured" in done.stderr, done
    assert json.loads(command(weir, "deadletter", "show", listed[0]["id"]).stdout)["request"]
    assert command(weir, "deadletter", "purge", "--all", "--upstream", "up0").returncode == 0
    assert letters(weir) == []
    assert other.stats("traces")["items"] == 0


def test_content_is_for_those_who_may_change(box):
    token = box.file("token", b"s3cret")
    sink, weir = refused(box, config={"admin": {"token_file": str(token)}})
    entry = json.loads(request(weir.admin, "GET", "/v1/deadletters?limit=1")[2])
    assert len(entry["letters"]) == 1 and entry["after"] == entry["letters"][0]["id"]
    path = "/v1/deadletters/" + entry["after"]
    assert request(weir.admin, "GET", path)[0] == 401
    assert request(weir.admin, "GET", path, headers={"Authorization": "Bearer s3cret"})[0] == 200
    assert request(weir.admin, "POST", "/v1/deadletters/purge", '{"all": true}')[0] == 401
    assert command(weir, "deadletter", "show", entry["after"], "--token-file", token).returncode == 0
    for path, status in {"/v1/deadletters?limit=0": 400, "/v1/deadletters?what=1": 400, "/v1/deadletters?after=x": 400,
                         "/v1/deadletters?signal=x": 400, "/v1/deadletters?upstream=%ff": 200, "/v1/deadletters?upstream=%0": 400}.items():
        assert request(weir.admin, "GET", path)[0] == status, path
    assert request(weir.admin, "POST", "/v1/deadletters")[0] == 405


def test_the_oldest_go(box):
    sink, weir = refused(box, items=120, config={"dead_letters": {"max_size": "256KiB"}})
    listed = letters(weir)
    dead = weir.status()["dead_letters"]
    assert dead["bytes"] <= 256 * 1024 and dead["evicted"] > 0 and len(listed) == dead["requests"] < 120
    blocks = [int(entry["id"].split("-")[0]) for entry in listed]
    assert blocks == sorted(blocks)
    items = agrees(weir)["up0"]["traces"]
    lane = weir.upstream()["lanes"]["traces"]
    assert items["evicted"] == lane["evicted"]["dead_letters_full"] == 120 - items["dead_lettered"] > 0
    wait_for(lambda: sum(e["items"] for e in weir.events() if e.get("event") == "spool_evicted" and e["reason"] == "dead_letters_full")
             == items["evicted"], 30, "it is told")
    assert weir.terminate() == 0
    verified(weir)


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_restarts_in_the_middle_of_a_redrive(box, how):
    sink, weir = refused(box, items=200)
    total = len(letters(weir))
    sink.reset()
    sink.mode(ok=1, delay_ms=5)
    assert command(weir, "deadletter", "redrive", "--all").returncode == 0
    delivered = 0
    for _ in range(6):
        wait_for(lambda: sink.stats("traces")["items"] > delivered + 5 or not letters(weir), 30, "some were sent")
        delivered = sink.stats("traces")["items"]
        if how == "kill":
            weir.kill()
        else:
            assert weir.terminate() == 0
        verified(weir)
        weir.start()
        weir.check_ledger()
    sink.mode(ok=1)
    wait_for(lambda: letters(weir) == [], 60, "all were sent again")
    items = agrees(weir)["up0"]["traces"]
    assert items["delivered"] == items["accepted"] == 200, items
    assert sink.ids("traces") == set(range(200))
    # A kill may repeat the one letter that was under way.
    assert sink.stats("traces")["duplicates"] <= (6 * 20 if how == "kill" else 0)
    assert weir.status()["dead_letters"]["redriven"] == total
    assert weir.terminate() == 0
    verified(weir)


def test_live_data_and_dead_letters_share(box):
    sink, weir = refused(box, items=60)
    sink.reset()
    sink.mode(ok=1)
    gen = box.gen_start(weir, signal="traces", items=20000, first_id=1000, items_per_request=10, in_flight=8, rate=4000)
    assert command(weir, "deadletter", "redrive", "--all").returncode == 0
    wait_for(lambda: letters(weir) == [], 60, "all were sent again")
    assert gen.wait()["code"] == 0
    weir.wait_drained()
    assert sink.ids("traces") == set(range(60)) | set(range(1000, 21000))
    agrees(weir)


def test_a_letter_of_many_items_is_halved_around_what_is_refused(box):
    sink = box.sink()
    sink.listen(False)
    weir = box.weir({"name": "up0", "endpoint": sink.url("grpc"), "max_data_age": "1s"})
    box.gen(weir, signal="logs", items=2000, items_per_request=100)
    wait_for(lambda: weir.lane("logs")["dead_lettered"] == 2000, 60, "all has become too old")
    wait_for(lambda: not any(entry["settling"] for entry in letters(weir)), 30, "and that is durable")
    assert all(entry["code"] == "TOO_OLD" for entry in letters(weir)) and max(entry["items"] for entry in letters(weir)) >= 100
    sink.listen(True)
    sink.mode(signal="logs", status=3, poison_id=777)
    assert command(weir, "deadletter", "redrive", "--all").returncode == 0
    wait_for(lambda: weir.lane("logs")["delivered"] == 1999 and not any(entry["redrive"] for entry in letters(weir)), 60, "all but one item")
    left = letters(weir)
    assert len(left) == 1 and left[0]["items"] == 1 and left[0]["code"] == "INVALID_ARGUMENT"
    assert sink.ids("logs") == set(range(2000)) - {777} and sink.stats("logs")["duplicates"] == 0
    agrees(weir)
    sink.mode(ok=1)
    assert command(weir, "deadletter", "redrive", left[0]["id"]).returncode == 0
    wait_for(lambda: letters(weir) == [], 30, "the last one")
    assert agrees(weir)["up0"]["logs"]["delivered"] == 2000
    assert weir.terminate() == 0
    verified(weir)


def test_an_upstream_that_is_away_or_paused_gets_them_later(box):
    sink, weir = refused(box)
    sink.listen(False)
    assert command(weir, "deadletter", "redrive", "--all").returncode == 0
    wait_for(lambda: weir.upstream()["state"] == "backing_off", 30, "it is away")
    assert command(weir, "pause", "up0").returncode == 0
    sink.mode(ok=1)
    sink.reset()
    sink.listen(True)
    wait_for(lambda: weir.upstream()["state"] == "paused", 30, "it is paused")
    assert len(letters(weir)) == weir.status()["dead_letters"]["to_redrive"] and sink.stats("traces")["items"] == 0
    box.gen(weir, signal="logs", items=10)
    assert command(weir, "resume", "up0").returncode == 0
    wait_for(lambda: letters(weir) == [], 60, "all were sent again")
    weir.wait_drained()
    assert sink.ids("traces") == set(range(40)) and agrees(weir)["up0"]["traces"]["delivered"] == 40
    assert weir.terminate() == 0
    verified(weir)
