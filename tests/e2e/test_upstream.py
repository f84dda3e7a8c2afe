# SPDX-License-Identifier: Apache-2.0
"""What an upstream's answers mean for the data: verdicts, waits, holds, dead letters, encodings, joined exports."""

import subprocess

import pytest

from weirtest import BUILD, SIGNALS, TRANSPORTS, request, sanitizer_options, scaled, wait_for


def outcomes(sink, **match):
    return [a["outcome"] for a in sink.attempts(**match)]


def times(sink, **match):
    return [a["at_ms"] for a in sink.attempts(**match)]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_delay_of_the_upstream_is_kept(box, transport):
    sink = box.sink()
    sink.mode(status=14, retry_delay_ms=2000, count=1)
    weir = box.weir(sink.url(transport))  # its own first wait would be 50 ms
    box.gen(weir, items=10)
    weir.wait_drained()
    first, second = times(sink, signal="traces")
    assert second - first >= 1900, "RetryInfo, Retry-After"
    assert outcomes(sink) == [14, 0]
    error = weir.last_error()
    assert error["code"] in ("UNAVAILABLE", "HTTP 503")


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("status", [14, 4, 10, 1])
def test_retryable_statuses_are_retried_without_end(box, transport, status):
    if transport == "http":
        status = {14: 503, 4: 504, 10: 502, 1: 429}[status]
    sink = box.sink()
    sink.mode(status=status)
    weir = box.weir({"name": "up0", "endpoint": sink.url(transport), "retry": {"initial": "10ms", "max": "40ms"}})
    box.gen(weir, items=10)
    wait_for(lambda: len(sink.attempts()) >= 25, 60, "25 tries")
    assert weir.lane("traces")["pending"] == 10
    assert weir.upstream()["state"] in ("backing_off", "probing")
    sink.mode(ok=1)
    weir.wait_drained()
    assert sink.ids("traces") == set(range(10)) and weir.lane("traces")["delivered"] == 10


def test_backoff_grows_to_its_limit(box):
    """Refused from the first export on: the waits of the policy, 20 ms doubled up to 400, each times 0.5 to 1. The exact sequence is in the
    governor's unit tests; here a slow machine may have each wait longer, and what it saw late shortens the next."""
    initial, most, late, slow = 20, 400, 50, 1000
    sink = box.sink()
    sink.mode(status=14)
    weir = box.weir({"name": "up0", "endpoint": sink.url("grpc"), "retry": {"initial": f"{initial}ms", "max": f"{most}ms"}})
    box.gen(weir, items=10)
    at = wait_for(lambda: (lambda t: t if len(t) >= 13 else None)(times(sink)), 60, "13 tries")
    waits = [b - a for a, b in zip(at, at[1:])]
    for i, wait in enumerate(waits):
        nominal = min(initial * 2**i, most)
        assert nominal / 2 - late <= wait <= nominal + slow, (i, waits)
    assert waits[0] + waits[1] < min(waits[5:7]) + min(waits[7:]), ("the first two are short", waits)
    assert min(waits[4:]) >= initial * 2**4 / 2 - late > most / 4, ("and none that follows is short again", waits)


@pytest.mark.parametrize("transport,status,code", [("grpc", 12, "UNIMPLEMENTED"), ("grpc", 16, "UNAUTHENTICATED"), ("grpc", 7, "PERMISSION_DENIED"),
                                                   ("http", 404, "HTTP 404"), ("http", 401, "HTTP 401"), ("http", 403, "HTTP 403"), ("http", 405, "HTTP 405")])
def test_a_wrong_setting_holds_the_data(box, transport, status, code):
    sink = box.sink()
    sink.mode(status=status)
    weir = box.weir({"name": "up0", "endpoint": sink.url(transport), "compression": "none", "retry": {"initial": "20ms", "max": "100ms"}})
    box.gen(weir, items=10)
    wait_for(lambda: weir.upstream()["state"] == "held", 30, lambda: weir.upstream())
    assert weir.last_error()["code"] == code
    assert weir.lane("traces")["pending"] == 10 and weir.lane("traces")["dead_lettered"] == 0
    assert weir.upstream()["lanes"]["traces"]["state"] == "held"
    told = weir.event("export_failed")
    assert (told["upstream"], told["signal"], told["code"]) == ("up0", "traces", code) and "person" in told["message"]
    assert "held" in [e["to"] for e in weir.events() if e.get("event") == "upstream_state"]
    assert len([e for e in weir.events() if e.get("event") == "export_failed"]) == 1, "told once, however long it lasts"
    assert weir.terminate() == 0  # held data survives
    sink.mode(ok=1)
    weir.start()
    weir.wait_drained()
    assert sink.ids("traces") == set(range(10))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_next_endpoint_takes_over(box, transport):
    first, second = box.sink(), box.sink()
    urls = [first.url(transport), second.url(transport)]
    weir = box.weir({"name": "up0", "endpoint": urls})
    box.gen(weir, items=50)
    weir.wait_drained()
    assert weir.upstream()["endpoint"] == urls[0] and weir.upstream()["endpoints"] == urls
    first.listen(False)
    box.gen(weir, items=50, first_id=50)
    weir.wait_drained()
    assert weir.upstream()["endpoint"] == urls[1]
    assert first.ids("traces") == set(range(50)) and second.ids("traces") == set(range(50, 100))
    changed = weir.event("endpoint_changed")
    assert (changed["upstream"], changed["from"], changed["to"]) == ("up0", *urls)
    assert weir.check_ledger()["up0"]["traces"]["delivered"] == 100
    second.listen(False)
    first.listen(True)
    box.gen(weir, items=50, first_id=100)
    weir.wait_drained()
    assert weir.upstream()["endpoint"] == urls[0] and first.ids("traces") == set(range(50)) | set(range(100, 150))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_all_endpoints_away_are_asked_once_each(box, transport):
    """However much waits; then all of it waits, and the first that is back gets it."""
    sinks = [box.sink() for _ in range(3)]
    weir = box.weir({"name": "up0", "endpoint": [sink.url(transport) for sink in sinks], "retry": {"initial": "5s"}})
    signals = ("traces", "logs", "metrics")
    request(weir.admin, "POST", "/v1/upstreams/up0/pause")
    for signal in signals:
        box.gen(weir, signal=signal, items=300, items_per_request=10, in_flight=4)
    for sink in sinks:
        sink.mode(status=14 if transport == "grpc" else 503)
    request(weir.admin, "POST", "/v1/upstreams/up0/resume")
    wait_for(lambda: weir.upstream()["state"] == "backing_off", 60, "it backs off")
    weir.terminate()  # so that the next round does not come while we count
    assert [len(sink.attempts()) for sink in sinks[1:]] == [1, 1], sinks[0].attempts()
    weir.start()
    wait_for(lambda: len(sinks[2].attempts()) == 2 and weir.upstream()["state"] == "backing_off", 60, "it backs off again")
    sinks[0].mode(ok=1)
    weir.wait_drained()
    assert all(sinks[0].ids(signal) == set(range(300)) for signal in signals)
    assert not any(sink.ids(signal) for sink in sinks[1:] for signal in signals)
    weir.check_ledger()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_rejected_item_condemns_itself_alone(box, transport):
    """The poison item is dead-lettered; the others of its request, its block and the lane are delivered."""
    sink = box.sink()
    sink.listen(False)  # so that many requests lie in few blocks
    weir = box.weir(sink.url(transport))
    box.gen(weir, items=400, items_per_request=10, in_flight=20)
    sink.listen(True)
    sink.mode(poison_id=123, status=3)
    weir.wait_drained()
    lane = weir.check_ledger()["up0"]["traces"]
    assert (lane["delivered"], lane["dead_lettered"]) == (399, 1), lane
    assert sink.ids("traces") == set(range(400)) - {123}
    letters = weir.status()["dead_letters"]
    assert letters["requests"] == 1 and letters["items"] == 1 and letters["bytes"] > 0
    # Killed before the verdict was durable, it is condemned again: the same dead letter, not a second one.
    weir.restart()
    weir.wait_drained()
    assert weir.status()["dead_letters"]["items"] == 1
    assert weir.check_ledger()["up0"]["traces"]["dead_lettered"] == 1


def test_every_request_rejected(box):
    sink = box.sink()
    sink.mode(status=3, signal="logs")
    weir = box.weir(sink.url("grpc"))
    box.gen(weir, signal="logs", items=100, in_flight=4)
    box.gen(weir, signal="traces", items=100, in_flight=4)
    weir.wait_drained()
    ledger = weir.check_ledger()["up0"]
    assert ledger["logs"]["dead_lettered"] == 100 and ledger["traces"]["delivered"] == 100, ledger


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_refused_zstd_falls_back_to_gzip(box, transport):
    sink = box.sink()
    sink.mode(refuse="zstd")
    weir = box.weir(sink.url(transport))
    box.gen(weir, items=200, in_flight=4)
    weir.wait_drained()
    stats = sink.stats("traces")
    assert stats["encodings"]["gzip"] == stats["requests"] and stats["distinct"] == 200
    tries = sink.attempts()
    assert [a["encoding"] for a in tries if a["outcome"] == 0] == ["gzip"] * stats["requests"]
    assert len([a for a in tries if a["encoding"] == "zstd"]) <= 8, "found out once, not with each request"
    assert weir.check_ledger()["up0"]["traces"]["dead_lettered"] == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_refused_zstd_and_gzip_falls_back_to_none(box, transport):
    sink = box.sink()
    sink.mode(refuse="zstd,gzip")
    weir = box.weir(sink.url(transport))
    box.gen(weir, items=50)
    weir.wait_drained()
    assert sink.stats("traces")["encodings"]["identity"] == sink.stats("traces")["requests"] > 0


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_upstream_that_hangs(box, transport):
    sink = box.sink()
    sink.mode(hang=1, count=1)
    weir = box.weir({"name": "up0", "endpoint": sink.url(transport), "timeout": "500ms"})
    box.gen(weir, items=10)
    weir.wait_drained()
    assert outcomes(sink) == ["hang", 0]
    assert weir.last_error()["code"] == "timeout"
    assert sink.stats("traces")["duplicates"] == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_answer_that_is_cut_off(box, transport):
    """The outcome is unknown, so the data goes again: a duplicate, never a loss; and it says the same batch id."""
    sink = box.sink()
    sink.mode(cut=1, count=2)
    weir = box.weir(sink.url(transport))
    box.gen(weir, items=10, items_per_request=10)
    weir.wait_drained()
    assert outcomes(sink) == ["cut", "cut", 0]
    assert sink.stats("traces")["distinct"] == 10 and sink.stats("traces")["duplicates"] == 20
    assert len({a["headers"]["weir-batch"] for a in sink.attempts()}) == 1


def test_goaway_says_that_nothing_was_processed(box):
    """What lies above GOAWAY's last stream goes again at once, on a new connection (U11): no wait, no duplicate."""
    sink = box.sink()
    sink.mode(goaway=1, count=1)
    weir = box.weir({"name": "up0", "endpoint": sink.url("grpc"), "retry": {"initial": "1h", "max": "1h"}})
    box.gen(weir, items=10)
    weir.wait_drained()
    assert outcomes(sink) == ["goaway", 0]
    assert len({a["peer"] for a in sink.attempts()}) == 2
    assert sink.ids("traces") == set(range(10)) and sink.stats("traces")["duplicates"] == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_upstream_that_ends_old_connections(box, transport):
    """max_connection_age of the peer: exports under way are finished, nothing fails, nothing is said, nothing comes twice (U14)."""
    sink = box.sink()
    receiver = {"grpc": {"max_connection_age": "100ms"}, "http": {"max_connection_age": "100ms"}}
    peer = box.weir(sink.url("grpc"), config={"receiver": receiver})
    weir = box.weir(f"{'grpc' if transport == 'grpc' else 'http'}://{peer.address(transport)}")
    items = scaled(20000)
    box.gen(weir, items=items, rate=items // 2, in_flight=4)
    for each in (weir, peer):
        each.wait_drained()
    assert sink.ids("traces") == set(range(items)) and sink.stats("traces")["duplicates"] == 0
    assert weir.last_error() is None
    assert not [e for e in weir.events() if e.get("level") in ("warn", "error")]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_redirects_hold_the_data(box, transport):
    """A redirect is a wrong address: followed, it would lose the body or send secrets elsewhere (U26)."""
    sink = box.sink()
    sink.mode(status=307, transport="http")
    weir = box.weir({"name": "up0", "endpoint": sink.url("http"), "retry": {"initial": "20ms", "max": "50ms"}})
    box.gen(weir, transport, items=10)
    wait_for(lambda: weir.upstream()["state"] == "held", 30, weir.upstream)
    assert weir.last_error()["code"] == "HTTP 307" and weir.lane("traces")["pending"] == 10
    sink.mode(ok=1)
    weir.wait_drained()
    assert sink.ids("traces") == set(range(10))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_partial_success_is_delivered_and_counted(box, transport):
    sink = box.sink()
    sink.mode(partial=3, count=1)
    weir = box.weir(sink.url(transport))
    box.gen(weir, items=10, items_per_request=10)
    weir.wait_drained()
    lane = weir.check_ledger()["up0"]["traces"]
    assert (lane["delivered"], lane["rejected_by_upstream"]) == (10, 3)
    assert outcomes(sink) == [0], "never sent again (U6)"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_backlog_is_joined_up_to_the_limit_and_passed_through(box, transport):
    limit = 256 * 1024
    sink = box.sink()
    sink.listen(False)
    weir = box.weir({"name": "up0", "endpoint": sink.url(transport), "max_request_size": "256KiB"})
    items = scaled(20_000)
    box.gen(weir, signal="logs", items=items, items_per_request=10, in_flight=2)
    sink.listen(True)
    weir.wait_drained()
    stats = sink.stats("logs")
    assert stats["distinct"] == items and stats["duplicates"] == 0
    assert limit // 2 < stats["max_raw_bytes"] <= limit
    assert stats["max_frames"] > 1, "stored frames back to back, as they lie on disk"
    assert stats["requests"] < items / 10 / 2


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_upstream_with_a_smaller_limit(box, transport):
    """413, or RESOURCE_EXHAUSTED on more than 1 MiB: halved until it fits; nothing is lost, nothing condemned."""
    sink = box.sink()
    sink.listen(False)
    weir = box.weir(sink.url(transport))
    box.gen(weir, signal="logs", items=4000, items_per_request=10, payload_bytes=20_000, in_flight=8)
    sink.listen(True)
    sink.mode(limit_bytes=600_000)
    weir.wait_drained()
    lane = weir.check_ledger()["up0"]["logs"]
    assert lane["delivered"] == 4000 and lane["dead_lettered"] == 0, lane
    assert sink.ids("logs") == set(range(4000)) and sink.stats("logs")["max_raw_bytes"] <= 600_000
    # What was too large once is not sent so large again.
    learnt = weir.upstream()["lanes"]["logs"]["export_max_bytes"]
    assert 150_000 < learnt <= 600_000
    shown = subprocess.run([BUILD / "weir", "status", "--admin", f"http://{weir.admin}"], capture_output=True, text=True, timeout=60,
                           env=sanitizer_options()).stdout
    assert "logs: requests of at most" in shown and "traces: requests" not in shown, shown
    tries = sink.attempts(signal="logs")
    refused = [a for a in tries if a["outcome"] not in (0, 200)]
    assert len(refused) <= 12 + len(tries) // 32, (len(refused), len(tries))
    # A single item that does not fit, among others that do: it alone is a dead letter, and says why.
    box.gen(weir, signal="logs", items=100, first_id=4000, items_per_request=10)
    box.gen(weir, signal="logs", items=1, first_id=4100, items_per_request=1, payload_bytes=1_300_000)
    weir.wait_drained()
    lane = weir.check_ledger()["up0"]["logs"]
    assert (lane["delivered"], lane["dead_lettered"]) == (4100, 1), lane
    assert weir.event("dead_letter")["code"] == {"grpc": "RESOURCE_EXHAUSTED", "http": "HTTP 413"}[transport]
    assert weir.upstream()["lanes"]["logs"]["export_max_bytes"] >= learnt


def test_headers_and_paths_of_exports(box):
    # U20, U22
    sink = box.sink()
    weir = box.weir({"name": "up0", "endpoint": sink.url("grpc"), "headers": {"x-tenant": "shop"}},
                    {"name": "up1", "endpoint": sink.url("http"), "headers": {"x-tenant": "mill"}})
    for signal in SIGNALS:
        box.gen(weir, signal=signal, items=10)
    weir.wait_drained()
    for transport, tenant, kind in (("grpc", "shop", "application/grpc"), ("http", "mill", "application/x-protobuf")):
        tries = sink.attempts(transport=transport)
        assert {a["signal"] for a in tries} == set(SIGNALS)
        for one in tries:
            assert one["headers"]["x-tenant"] == tenant and one["headers"]["content-type"] == kind
            assert one["headers"]["user-agent"].startswith("weir/") and one["headers"]["weir-batch"]
            if transport == "grpc":
                assert one["headers"]["te"] == "trailers" and one["headers"]["grpc-timeout"]
            else:
                assert one["headers"]["content-length"] == str(one["wire_bytes"])


def test_connections_are_reused(box):
    sink = box.sink()
    weir = box.weir(sink.url("grpc"), sink.url("http"))
    box.gen(weir, items=500, items_per_request=1)
    weir.wait_drained()
    peers = {t: {a["peer"] for a in sink.attempts(transport=t)} for t in TRANSPORTS}
    assert len(peers["grpc"]) == 1 and len(peers["http"]) <= 12, peers
