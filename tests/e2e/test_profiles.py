# SPDX-License-Identifier: Apache-2.0
"""Profiles are a signal like the others: every way in, every way out, counted, kept over an outage. Two of them are never joined (C2)."""

import gzip
import json

import pytest

from weirtest import TRANSPORTS, field, probe, read_record

PATHS = {"grpc": "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export", "http": "/v1development/profiles"}


def request_of(name, profiles):
    """An ExportProfilesServiceRequest with a dictionary of its own, whose string 1 is the name."""
    profile = field(1, field(1, 1)) + field(7, name.encode().ljust(16, b"."))  # sample_type{type_strindex 1}, profile_id
    dictionary = field(1, b"") + field(2, b"") + field(3, b"") + field(4, b"") + field(5, b"") + field(5, name.encode()) + field(6, b"") + field(7, b"")
    return field(1, field(2, b"".join(field(2, profile) for _ in range(profiles)))) + field(2, dictionary)


def send(box, relay, transport, body):
    encoded = gzip.compress(body)
    if transport == "grpc":
        answer = probe(relay.grpc, "grpc", PATHS["grpc"], encoded, box, flag=1, header="grpc-encoding: gzip")
        assert answer["trailers"]["grpc-status"] == "0", answer
    else:
        answer = probe(relay.http, "http", PATHS["http"], encoded, box, header="content-encoding: gzip")
        assert (answer["http_status"], answer["body"]) == (200, b""), answer


@pytest.mark.parametrize("out", TRANSPORTS)
def test_every_way_in_and_out_over_an_outage(box, out):
    sink = box.sink(record=box.directory / "bodies")
    sink.listen(False)
    relay = box.weir(sink.url(out))
    sent = []
    for at in range(6):
        sent.append(request_of(f"profile {at}", at + 1))
        send(box, relay, TRANSPORTS[at % 2], sent[-1])
    lane = relay.lane("profiles")
    assert lane["accepted"] == lane["pending"] == 1 + 2 + 3 + 4 + 5 + 6, "profiles are counted (M2)"
    assert relay.terminate() == 0
    relay.start()
    sink.listen(True)
    relay.wait_drained()
    assert sorted(read_record(box.directory / "bodies")) == sorted(("profiles", body) for body in sent), "each as it came, alone"
    assert relay.check_ledger()["up0"]["profiles"]["delivered"] == 21 and sink.stats("profiles")["items"] == 21


def test_json_profiles_keep_their_dictionary(box):
    sink = box.sink(record=box.directory / "bodies")
    relay = box.weir(sink.url("grpc"))
    document = {"resourceProfiles": [{"scopeProfiles": [{"profiles": [{"sampleType": {"typeStrindex": 1}, "profileId": b"profile 0.......".hex()}]}]}],
                "dictionary": {"mappingTable": [{}], "locationTable": [{}], "functionTable": [{}], "linkTable": [{}], "stringTable": ["", "profile 0"],
                               "attributeTable": [{}], "stackTable": [{}]}}
    answer = probe(relay.http, "http", PATHS["http"], json.dumps(document).encode(), box, header="content-type: application/json")
    assert (answer["http_status"], answer["body"]) == (200, b"{}"), answer
    relay.wait_drained()
    assert read_record(box.directory / "bodies") == [("profiles", request_of("profile 0", 1))]


def test_status_and_metrics_have_them(box):
    sink = box.sink()
    relay = box.weir(sink.url("grpc"))
    send(box, relay, "grpc", request_of("a", 3))
    answer = probe(relay.http, "http", PATHS["http"], b"\xff", box)
    assert answer["http_status"] == 400
    relay.wait_drained()
    signal = relay.status()["receiver"]["signals"]["profiles"]
    assert (signal["requests"], signal["items"], signal["refused_requests"]) == (1, 3, 1) and signal["last_received"]
    lines = relay.get("/metrics")[2].decode().splitlines()
    assert 'weir_receiver_items_total{signal="profiles",transport="grpc"} 3' in lines
    assert any(line.startswith("weir_lane_delivered_items_total{") and 'signal="profiles"' in line and line.endswith(" 3") for line in lines), lines
    send(box, relay, "http", b"")  # empty: OK, and nothing to keep (G30)
    assert relay.lane("profiles")["accepted"] == 3


def test_an_upstream_that_takes_no_profiles(box):
    takes, other = box.sink(), box.sink()
    relay = box.weir(takes.url("grpc"), {"name": "up1", "endpoint": other.url("http"), "signals": ["traces"]})
    send(box, relay, "http", request_of("a", 2))
    relay.wait_drained()
    assert takes.stats("profiles")["items"] == 2 and other.stats("profiles")["items"] == 0
