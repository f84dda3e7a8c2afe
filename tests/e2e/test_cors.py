# SPDX-License-Identifier: Apache-2.0
"""Web pages that send OTLP/HTTP: preflight and answers as browsers want them, and nothing of it without configuration (P25)."""

import pytest

from weirtest import request

ALLOWED = ["https://app.example.com", "https://*.shop.example", "http://*.lab.example:8080", "null"]
ASK = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-encoding,content-type,x-tenant"}
JSON = {"Content-Type": "application/json"}


def cors_of(headers):
    return {name: value for name, value in headers.items() if name.startswith("access-control-")}


def preflight(relay, origin, path="/v1/traces"):
    return request(relay.http, "OPTIONS", path, None, {"Origin": origin, **ASK})


def post(relay, origin, body=b"{}", path="/v1/traces", **headers):
    return request(relay.http, "POST", path, body, {**JSON, **({"Origin": origin} if origin else {}), **headers})


def relay_with(box, **cors):
    return box.weir("grpc://127.0.0.1:1", config={"receiver": {"http": {"cors": cors}}} if cors else {})


@pytest.mark.parametrize("origin", ["https://app.example.com", "https://a.shop.example", "https://b.a.shop.example", "http://x.lab.example:8080", "null"])
def test_an_allowed_origin(box, origin):
    # P25
    relay = relay_with(box, allowed_origins=ALLOWED, max_age="10m")
    status, headers, body = preflight(relay, origin)
    assert (status, body) == (204, b"") and "content-length" not in headers
    assert cors_of(headers) == {"access-control-allow-origin": origin, "access-control-allow-credentials": "true",
                                "access-control-allow-methods": "POST", "access-control-allow-headers": ASK["Access-Control-Request-Headers"],
                                "access-control-max-age": "600"}
    assert "origin" in headers["vary"]
    seen = {"access-control-allow-origin": origin, "access-control-allow-credentials": "true", "access-control-expose-headers": "retry-after"}
    status, headers, _ = post(relay, origin)
    assert status == 200 and cors_of(headers) == seen and headers["vary"] == "origin"
    for bad in ({"body": b"nonsense"}, {"path": "/nowhere"}, {"Content-Encoding": "br"}):  # a page may read why
        status, headers, _ = post(relay, origin, **bad)
        assert status >= 400 and cors_of(headers) == seen


@pytest.mark.parametrize("origin", [
    "https://evil.example", "http://app.example.com", "https://app.example.com:444", "https://app.example.com.evil.example", "https://shop.example",
    "https://.shop.example", "https://evil.example/.shop.example", "https://evilshop.example", "https://u@a.shop.example", "http://x.lab.example", "",
    "https://a.shop.example.", "https://a.shop.example:443"])
def test_another_origin(box, origin):
    relay = relay_with(box, allowed_origins=ALLOWED)
    status, headers, _ = preflight(relay, origin)
    assert status == 405 and not cors_of(headers) and headers["vary"] == "origin"
    status, headers, _ = post(relay, origin)
    assert status == 200 and not cors_of(headers), "no browser shows it to the page"


def test_any_origin_without_credentials(box):
    relay = relay_with(box, allowed_origins=["*"], max_age="0s")
    status, headers, _ = preflight(relay, "https://whoever.example")
    assert status == 204 and cors_of(headers)["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in headers and "access-control-max-age" not in headers
    status, headers, _ = post(relay, "https://whoever.example")
    assert status == 200 and headers["access-control-allow-origin"] == "*" and "access-control-allow-credentials" not in headers


def test_nothing_without_configuration(box):
    relay = relay_with(box)
    status, headers, _ = preflight(relay, "https://app.example.com")
    assert status == 405 and not cors_of(headers) and "vary" not in headers
    status, headers, _ = post(relay, "https://app.example.com")
    assert status == 200 and not cors_of(headers) and "vary" not in headers


def test_what_comes_from_no_page_and_the_next_request(box):
    """No Origin: no word of it. What one request was answered does not stick to the connection's next."""
    import http.client

    relay = relay_with(box, allowed_origins=ALLOWED)
    connection = http.client.HTTPConnection(*relay.http.rsplit(":", 1), timeout=30)
    for origin, expected in (("https://app.example.com", True), (None, False), ("https://evil.example", False)):
        connection.request("POST", "/v1/logs", b"{}", {**JSON, **({"Origin": origin} if origin else {})})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200 and (answer.getheader("access-control-allow-origin") == origin) == (expected or origin is None)
        assert answer.getheader("vary") == "origin"
        assert (answer.getheader("access-control-expose-headers") is not None) == expected
    status, headers, _ = request(relay.http, "OPTIONS", "/v1/traces", None, {"Origin": "https://app.example.com"})
    assert status == 405, "OPTIONS alone is no preflight"
    connection.close()
