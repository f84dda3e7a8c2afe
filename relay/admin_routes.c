// SPDX-License-Identifier: Apache-2.0
#include "relay/admin_routes.h"

#include <h2o.h>
#include <stdio.h>

#include "relay/metrics.h"
#include "relay/status.h"
#include "relay/status_page.h"

#define LOOP_STALL_NS 5000000000u
#define TYPE_JSON     "application/json"
#define TYPE_TEXT     "text/plain; charset=utf-8"
#define TYPE_HTML     "text/html; charset=utf-8"
// The page is one file and talks to its own origin alone.
#define PAGE_POLICY                                                                                                    \
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; "   \
    "frame-ancestors 'none'"

static void add_header(h2o_req_t *req, const char *name, const char *value)
{
    h2o_add_header_by_str(&req->pool, &req->res.headers, name, strlen(name), 0, NULL, value, strlen(value));
}

static void answer(h2o_req_t *req, int status, const char *type, struct weir_slice body)
{
    req->res.status = status;
    req->res.reason = status == 200   ? "OK"
                      : status == 404 ? "Not Found"
                      : status == 405 ? "Method Not Allowed"
                      : status == 503 ? "Service Unavailable"
                                      : "Internal Server Error";
    add_header(req, "content-type", type);
    add_header(req, "cache-control", "no-store");
    add_header(req, "x-content-type-options", "nosniff");
    req->res.content_length = body.len;
    h2o_send_inline(req, (const char *)body.data, body.len);
}

static void answer_text(h2o_req_t *req, int status, const char *type, const char *text)
{
    answer(req, status, type, (struct weir_slice){(const uint8_t *)text, strlen(text)});
}

// What a builder made, or 500 when memory was out.
static void answer_built(h2o_req_t *req, const char *type, bool built, struct weir_buf *body)
{
    if (built)
        answer(req, 200, type, (struct weir_slice){body->data, body->len});
    else
        answer_text(req, 500, TYPE_JSON, "{\"error\":\"out of memory\"}\n");
    weir_buf_free(body);
}

static const struct snapshot *look(struct admin_view *view)
{
    snapshot_take(view->relay, &view->sampler, &view->snapshot);
    return &view->snapshot;
}

// --- routes -----------------------------------------------------------------------------------------------------------

static void get_page(struct admin_view *view, h2o_req_t *req)
{
    add_header(req, "content-security-policy", PAGE_POLICY);
    answer(req, 200, TYPE_HTML, status_page());
}

static void get_status(struct admin_view *view, h2o_req_t *req)
{
    struct weir_buf body = {0};
    bool built = status_text(look(view), &body);
    answer_built(req, TYPE_JSON, built, &body);
}

static void get_metrics(struct admin_view *view, h2o_req_t *req)
{
    ssize_t found = h2o_find_header(&req->headers, H2O_TOKEN_ACCEPT, -1);
    h2o_iovec_t accept = found >= 0 ? req->headers.entries[found].value : (h2o_iovec_t){NULL, 0};
    enum metrics_format format = metrics_negotiate(accept.base, accept.len);
    struct weir_buf body = {0};
    bool built = metrics_text(look(view), format, &body);
    answer_built(req, metrics_content_type(format), built, &body);
}

static void get_healthz(struct admin_view *view, h2o_req_t *req)
{
    for (size_t i = 0; i < view->relay->workers; i++)
        if (!loop_alive(view->relay->loops[i], LOOP_STALL_NS)) {
            char text[96];
            snprintf(text, sizeof(text), "ingest loop %zu has not turned for 5 seconds\n", i);
            answer_text(req, 503, TYPE_TEXT, text);
            return;
        }
    answer_text(req, 200, TYPE_TEXT, "ok\n");
}

static void get_readyz(struct admin_view *view, h2o_req_t *req)
{
    const struct snapshot *snapshot = look(view);
    char text[sizeof(snapshot->reason) + 1];
    snprintf(text, sizeof(text), "%s\n", snapshot->ready ? "ok" : snapshot->reason);
    answer_text(req, snapshot->ready ? 200 : 503, TYPE_TEXT, text);
}

static const struct route {
    const char *path;
    void (*get)(struct admin_view *view, h2o_req_t *req);
} routes[] = {
    {"/", get_page},           {"/v1/status", get_status}, {"/metrics", get_metrics},
    {"/healthz", get_healthz}, {"/readyz", get_readyz},
};

static bool is(h2o_iovec_t text, const char *name)
{
    return text.len == strlen(name) && memcmp(text.base, name, text.len) == 0;
}

void admin_route(struct admin_view *view, h2o_req_t *req)
{
    // h2o matches prefixes: only the whole normalized path says which route it is.
    const struct route *route = NULL;
    for (size_t i = 0; i < WEIR_COUNT(routes); i++)
        if (is(req->path_normalized, routes[i].path))
            route = &routes[i];
    if (route == NULL) {
        answer_text(req, 404, TYPE_JSON,
                    "{\"error\":\"unknown path; there are /, /v1/status, /metrics, /healthz and /readyz\"}\n");
    } else if (!is(req->method, "GET") && !is(req->method, "HEAD")) {
        add_header(req, "allow", "GET, HEAD");
        answer_text(req, 405, TYPE_JSON, "{\"error\":\"method not allowed: use GET\"}\n");
    } else {
        route->get(view, req);
    }
}
