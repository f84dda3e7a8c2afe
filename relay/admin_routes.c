// SPDX-License-Identifier: Apache-2.0
#include "relay/admin_routes.h"

#include <h2o.h>
#include <stdio.h>

#include "relay/admin_answer.h"
#include "relay/admin_deadletters.h"
#include "relay/admin_orders.h"
#include "relay/admin_replay.h"
#include "relay/log.h"
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

static const char *reason_of(int status)
{
    static const struct {
        int status;
        const char *reason;
    } rows[] = {{200, "OK"},        {400, "Bad Request"},        {401, "Unauthorized"}, {403, "Forbidden"},
                {404, "Not Found"}, {405, "Method Not Allowed"}, {409, "Conflict"},     {503, "Service Unavailable"}};
    for (size_t i = 0; i < WEIR_COUNT(rows); i++)
        if (rows[i].status == status)
            return rows[i].reason;
    return "Internal Server Error";
}

static void answer(h2o_req_t *req, int status, const char *type, struct weir_slice body)
{
    req->res.status = status;
    req->res.reason = reason_of(status);
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

// Takes the document over; NULL: memory was out.
static void answer_json(h2o_req_t *req, int status, json_t *json)
{
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (text == NULL)
        answer_text(req, 500, TYPE_JSON, "{\"error\":\"out of memory\"}\n");
    else
        answer_text(req, status, TYPE_JSON, text);
    free(text);
}

static void answer_error(h2o_req_t *req, int status, const char *error)
{
    answer_json(req, status, admin_error_json(error));
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

// --- changes ------------------------------------------------------------------------------------------------------------

static struct weir_slice slice_of(h2o_iovec_t text)
{
    return (struct weir_slice){(const uint8_t *)text.base, text.len};
}

static struct weir_slice header_of(h2o_req_t *req, const char *name)
{
    ssize_t found = h2o_find_header_by_str(&req->headers, name, strlen(name), -1);
    return found >= 0 ? slice_of(req->headers.entries[found].value) : (struct weir_slice){NULL, 0};
}

static bool may_change(struct admin_view *view, h2o_req_t *req)
{
    struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
    req->conn->callbacks->get_peername(req->conn, (struct sockaddr *)&peer);
    const struct admin_claim claim = {.peer = (const struct sockaddr *)&peer,
                                      .authorization = header_of(req, "authorization"),
                                      .origin = header_of(req, "origin"),
                                      .host = slice_of(req->input.authority)};
    const char *why = NULL;
    enum admin_grant grant = admin_auth_check(&view->auth, &claim, &why);
    if (grant == ADMIN_GRANTED)
        return true;
    static struct log_limit limit = LOG_LIMIT(10000);
    log_event_limited(&limit, LOG_WARN, "change_refused", "a change by the admin port was refused",
                      LOG_STR("reason", why));
    if (grant == ADMIN_WHO)
        add_header(req, "www-authenticate", "Bearer");
    answer_error(req, grant == ADMIN_WHO ? 401 : 403, why);
    return false;
}

static void post_replay(struct admin_view *view, h2o_req_t *req)
{
    json_t *json = NULL;
    int status = admin_replay(view->relay, slice_of(req->entity), &json);
    answer_json(req, status, json);
}

static void post_drain(struct admin_view *view, h2o_req_t *req)
{
    json_t *json = NULL;
    int status = admin_drain(view->relay, slice_of(req->entity), &json);
    answer_json(req, status, json);
}

#define UPSTREAMS "/v1/upstreams/"
typedef int (*upstream_fn)(struct relay *relay, const char *upstream, struct weir_slice body, json_t **out);

// Between UPSTREAMS and the last slash, decoded by h2o.
static void post_to_upstream(struct admin_view *view, h2o_req_t *req, upstream_fn order)
{
    char name[256];
    h2o_iovec_t path = req->path_normalized;
    size_t len = path.len;
    while (path.base[len - 1] != '/')
        len--;
    len -= sizeof(UPSTREAMS); // with the slash instead of the 0
    if (len >= sizeof(name) || memchr(path.base, '\0', path.len) != NULL) {
        answer_error(req, 404, "no upstream has such a name");
        return;
    }
    memcpy(name, path.base + sizeof(UPSTREAMS) - 1, len);
    name[len] = '\0';
    json_t *json = NULL;
    int status = order(view->relay, name, slice_of(req->entity), &json);
    answer_json(req, status, json);
}

static int pause_upstream(struct relay *relay, const char *upstream, struct weir_slice body, json_t **out)
{
    return admin_pause(relay, upstream, true, body, out);
}

static int resume_upstream(struct relay *relay, const char *upstream, struct weir_slice body, json_t **out)
{
    return admin_pause(relay, upstream, false, body, out);
}

static void post_pause(struct admin_view *view, h2o_req_t *req)
{
    post_to_upstream(view, req, pause_upstream);
}

static void post_resume(struct admin_view *view, h2o_req_t *req)
{
    post_to_upstream(view, req, resume_upstream);
}

static void post_discard(struct admin_view *view, h2o_req_t *req)
{
    post_to_upstream(view, req, admin_discard);
}

// --- dead letters -------------------------------------------------------------------------------------------------------

#define DEAD_LETTERS "/v1/deadletters"

static void get_dead_letters(struct admin_view *view, h2o_req_t *req)
{
    json_t *json = NULL;
    struct weir_slice query = {NULL, 0};
    if (req->query_at != SIZE_MAX)
        query = slice_of((h2o_iovec_t){req->path.base + req->query_at + 1, req->path.len - req->query_at - 1});
    int status = admin_deadletters_list(view->relay, query, &json);
    answer_json(req, status, json);
}

// Its content is what users sent: for those who may change something.
static void get_dead_letter(struct admin_view *view, h2o_req_t *req)
{
    char id[512] = "";
    h2o_iovec_t path = req->path_normalized;
    size_t len = path.len - sizeof(DEAD_LETTERS); // with the slash instead of the 0
    if (!may_change(view, req))
        return;
    if (len < sizeof(id) && memchr(path.base, '\0', path.len) == NULL)
        memcpy(id, path.base + sizeof(DEAD_LETTERS), len);
    json_t *json = NULL;
    struct weir_buf body = {0};
    int status = admin_deadletters_show(view->relay, id, &body, &json);
    if (status == 200)
        answer_built(req, TYPE_JSON, true, &body);
    else
        answer_json(req, status, json);
    if (status != 200)
        weir_buf_free(&body);
}

static void post_redrive(struct admin_view *view, h2o_req_t *req)
{
    json_t *json = NULL;
    int status = admin_deadletters_redrive(view->relay, slice_of(req->entity), &json);
    answer_json(req, status, json);
}

static void post_purge(struct admin_view *view, h2o_req_t *req)
{
    json_t *json = NULL;
    int status = admin_deadletters_purge(view->relay, slice_of(req->entity), &json);
    answer_json(req, status, json);
}

// --- the table ----------------------------------------------------------------------------------------------------------

typedef void (*route_fn)(struct admin_view *view, h2o_req_t *req);
static const struct route {
    const char *path; // with a * in it: whatever is not empty may stand there
    route_fn get;
    route_fn post; // a change: for those alone who may
} routes[] = {
    {"/", get_page, NULL},
    {"/v1/status", get_status, NULL},
    {"/metrics", get_metrics, NULL},
    {"/healthz", get_healthz, NULL},
    {"/readyz", get_readyz, NULL},
    {"/v1/replay", NULL, post_replay},
    {"/v1/drain", NULL, post_drain},
    {UPSTREAMS "*/pause", NULL, post_pause},
    {UPSTREAMS "*/resume", NULL, post_resume},
    {UPSTREAMS "*/discard", NULL, post_discard},
    {DEAD_LETTERS, get_dead_letters, NULL},
    {DEAD_LETTERS "/*", get_dead_letter, NULL}, // the last that matches counts
    {DEAD_LETTERS "/redrive", NULL, post_redrive},
    {DEAD_LETTERS "/purge", NULL, post_purge},
};

static bool matches(h2o_iovec_t path, const char *pattern)
{
    size_t before = strcspn(pattern, "*");
    if (pattern[before] == '\0')
        return path.len == before && memcmp(path.base, pattern, before) == 0;
    size_t after = strlen(pattern) - before - 1;
    return path.len > before + after && memcmp(path.base, pattern, before) == 0 &&
           memcmp(path.base + path.len - after, pattern + before + 1, after) == 0;
}

static bool is(h2o_iovec_t text, const char *name)
{
    return text.len == strlen(name) && memcmp(text.base, name, text.len) == 0;
}

static void answer_unknown(h2o_req_t *req)
{
    char text[512] = "unknown path; there are";
    for (size_t i = 0; i < WEIR_COUNT(routes); i++) {
        size_t len = strlen(text);
        snprintf(text + len, sizeof(text) - len, "%s %s", i > 0 ? "," : "", routes[i].path);
    }
    answer_error(req, 404, text);
}

void admin_route(struct admin_view *view, h2o_req_t *req)
{
    // h2o matches prefixes: only the whole normalized path says which route it is.
    const struct route *route = NULL;
    for (size_t i = 0; i < WEIR_COUNT(routes); i++)
        if (matches(req->path_normalized, routes[i].path))
            route = &routes[i];
    if (route == NULL) {
        answer_unknown(req);
    } else if (route->get != NULL && (is(req->method, "GET") || is(req->method, "HEAD"))) {
        route->get(view, req);
    } else if (route->post != NULL && is(req->method, "POST")) {
        if (may_change(view, req))
            route->post(view, req);
    } else {
        add_header(req, "allow", route->get == NULL ? "POST" : "GET, HEAD");
        answer_error(req, 405, route->get == NULL ? "method not allowed: use POST" : "method not allowed: use GET");
    }
}
