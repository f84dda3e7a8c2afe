// SPDX-License-Identifier: Apache-2.0
#include "tests/powercut/trace.h"

#include <stdio.h>

void trace_add(struct trace *trace, struct event event)
{
    if (trace->n == trace->cap) {
        trace->cap = trace->cap ? trace->cap * 2 : 1024;
        trace->at = realloc(trace->at, trace->cap * sizeof(trace->at[0]));
        assert(trace->at != NULL);
    }
    trace->at[trace->n++] = event;
}

void trace_free(struct trace *trace)
{
    for (size_t i = 0; i < trace->n; i++)
        free(trace->at[i].data);
    free(trace->at);
    *trace = (struct trace){0};
}

// For the program that wrote it: structs as they lie in memory.
bool trace_save(const struct trace *trace, const char *path)
{
    FILE *f = fopen(path, "wb");
    bool ok = f != NULL && fwrite(&trace->n, sizeof(trace->n), 1, f) == 1;
    for (size_t i = 0; i < trace->n && ok; i++) {
        const struct event *e = &trace->at[i];
        ok = fwrite(e, sizeof(*e), 1, f) == 1 && (e->data == NULL || fwrite(e->data, e->len, 1, f) == 1);
    }
    return f != NULL && fclose(f) == 0 && ok;
}

bool trace_load(struct trace *trace, const char *path)
{
    FILE *f = fopen(path, "rb");
    size_t n = 0;
    bool ok = f != NULL && fread(&n, sizeof(n), 1, f) == 1;
    for (size_t i = 0; i < n && ok; i++) {
        struct event e;
        ok = fread(&e, sizeof(e), 1, f) == 1;
        if (ok && e.data != NULL) {
            e.data = malloc(e.len);
            ok = e.data != NULL && fread(e.data, e.len, 1, f) == 1;
        }
        if (ok)
            trace_add(trace, e);
    }
    if (f != NULL)
        fclose(f);
    return ok;
}
