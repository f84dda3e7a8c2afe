// SPDX-License-Identifier: Apache-2.0
// `weir run`: builds the relay (run_up.c), waits for a signal, takes it down (run_down.c). A second signal ends the process at once,
// whatever it is doing: what was acknowledged is durable anyway.
#include "relay/run_priv.h"

#include "relay/cli.h"
#include "relay/log.h"
#include "relay/lookup.h"
#include "relay/memory.h"
#include "relay/secrets.h"
#include "relay/spool_watch.h"

#include <errno.h>
#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#define SPOOL_WATCH_MS 250 // how soon the log tells that the spool takes no data
// A block or a request that is larger is a map of its own and goes back to the machine with its last user. Left to itself, malloc learns to
// keep what was freed: a relay that has drained a backlog stayed at 20 MiB instead of 3.
#define LARGE_BYTES (128 * 1024)

static void prepare_process(struct run *run)
{
    // Loops and workers must not be interrupted: signals are for this thread's sigtimedwait alone.
    sigemptyset(&run->signals);
    sigaddset(&run->signals, SIGTERM);
    sigaddset(&run->signals, SIGINT);
    sigaddset(&run->signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &run->signals, NULL);
    signal(SIGPIPE, SIG_IGN); // a peer that left is an error of write()
    mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
    signal(SIGXFSZ, SIG_IGN); // a file size limit is an error of write()
    struct rlimit files;
    rlim_t need = run->relay.config->receiver.max_connections + 512;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < need) {
        files.rlim_cur = files.rlim_max < need ? files.rlim_max : need;
        setrlimit(RLIMIT_NOFILE, &files);
        if (files.rlim_cur < need)
            log_event(LOG_WARN, "few_files", "the limit of open files is below receiver.max_connections + 512",
                      LOG_U64("limit", files.rlim_cur), LOG_U64("wanted", need));
    }
}

// Waits at most `timeout_ms` for a signal. 0: none came.
static int wait_signal(const struct run *run, uint64_t timeout_ms)
{
    struct timespec timeout = {.tv_sec = (time_t)(timeout_ms / 1000), .tv_nsec = (long)(timeout_ms % 1000) * 1000000};
    int sig = sigtimedwait(&run->signals, NULL, &timeout);
    return sig > 0 ? sig : 0;
}

static bool is_stop(int sig)
{
    return sig == SIGTERM || sig == SIGINT;
}

// A thread of its own: whoever takes the relay down need not look up.
static void *await_second_signal(void *arg)
{
    const struct run *run = arg;
    int sig = 0;
    while (!is_stop(sig))
        sigwait(&run->signals, &sig);
    log_event(LOG_WARN, "stopped", "stopped at once: what was acknowledged is durable, the rest was not acknowledged");
    _exit(CLI_DONE);
}

static void end_at_once_on_second_signal(struct run *run)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, await_second_signal, run) == 0)
        pthread_detach(thread);
}

int cmd_run(const struct config *config, const struct config_input *input)
{
    static struct run run; // large, and there is one
    struct weir_err err = {0};
    run = (struct run){.relay = {.config = config, .started_unix_ns = weir_now_unix_ns(), .started_ns = weir_now_ns()}};
    sem_init(&run.ended, 0, 0);
    pthread_mutex_init(&run.wake_lock, NULL);
    prepare_process(&run);

    int rc = run_up(&run, &err);
    if (rc != WEIR_OK) {
        log_event(LOG_ERROR, "start_failed", "weir cannot start", LOG_ERR(&err));
        run_take_down(&run);
        return rc == WEIR_E_HELD ? CLI_HELD : rc == WEIR_E_INVALID ? CLI_USAGE : CLI_FAILED;
    }
    lookup_upstreams(config);
    struct spool_watch watch = {0};
    struct memory_watch memory = {0};
    for (int sig = 0; !is_stop(sig); sig = wait_signal(&run, SPOOL_WATCH_MS)) {
        if (sig == SIGHUP)
            secrets_reload_level(config, input);
        secrets_look(&run.relay, sig == SIGHUP);
        orders_look(&run.relay);
        spool_watch_look(&watch, run.relay.spool, weir_now_ns());
        spool_events_tell(run.events, weir_now_ns(), false);
        memory_give_back(&memory, weir_now_ns());
        origins_tick(run.relay.origins);
    }
    log_event(LOG_INFO, "stopping", "stopping: requests under way are answered, undelivered data stays in the spool");
    end_at_once_on_second_signal(&run);
    run_stop_serving(&run);
    run_take_down(&run);
    log_event(LOG_INFO, "stopped", "stopped");
    return CLI_DONE;
}
