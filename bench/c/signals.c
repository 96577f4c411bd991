/*
 * The C side of the benchmark of event channels and xenstore: the same work as bench/guest/signals.ts, with libxenevtchn
 * and libxenstore.
 *
 * Reads commands from stdin, one a line, and answers each with "ok NUMBER" or "error TEXT": a port, or the nanoseconds
 * that all repetitions took.
 *
 * For the benchmark only; never shipped. SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xenevtchn.h>
#include <xenstore.h>

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static xenevtchn_handle *xce;
static struct xs_handle *xs, *watching;
static evtchn_port_t port, other;

static int fail(const char *what)
{
    printf("error %s: %s\n", what, strerror(errno));
    return -1;
}

static int take(void)
{
    int found = xenevtchn_pending(xce);
    if (found < 0) return fail("pending");
    if (xenevtchn_unmask(xce, found) < 0) return fail("unmask");
    return found;
}

/* Answers every signal by one, until there is something on stdin. */
static int answer(void)
{
    struct pollfd fds[] = { { .fd = xenevtchn_fd(xce), .events = POLLIN }, { .fd = 0, .events = POLLIN } };
    for (;;) {
        if (poll(fds, 2, -1) < 0) return fail("poll");
        if (fds[1].revents) return 0;
        int found = take();
        if (found < 0 || xenevtchn_notify(xce, found) < 0) return -1;
    }
}

static int rounds(unsigned times)
{
    while (times--) {
        if (xenevtchn_notify(xce, port) < 0) return fail("notify");
        if (take() < 0) return -1;
    }
    return 0;
}

/* Signals from one port of ours to the other. */
static int itself(unsigned times)
{
    while (times--) {
        if (xenevtchn_notify(xce, other) < 0) return fail("notify");
        if (take() < 0) return -1;
    }
    return 0;
}

static int notify(unsigned times)
{
    while (times--)
        if (xenevtchn_notify(xce, port) < 0) return fail("notify");
    return 0;
}

static int read_node(const char *path, unsigned times)
{
    while (times--) {
        unsigned length;
        char *value = xs_read(xs, XBT_NULL, path, &length);
        if (!value) return fail("xs_read");
        free(value);
    }
    return 0;
}

static int write_node(const char *path, unsigned times)
{
    while (times--)
        if (!xs_write(xs, XBT_NULL, path, "4711", 4)) return fail("xs_write");
    return 0;
}

static int take_change(void)
{
    unsigned count;
    char **event = xs_read_watch(watching, &count);
    if (!event) return fail("xs_read_watch");
    free(event);
    return 0;
}

static int watch_node(const char *path, unsigned times)
{
    while (times--)
        if (write_node(path, 1) < 0 || take_change() < 0) return -1;
    return 0;
}

/* 1 where something was done, 0 for an unknown command. */
static int obey(const char *name, const char *path, unsigned a, unsigned b)
{
    int64_t begin = now();
    if (!strcmp(name, "listen")) {
        int bound = xenevtchn_bind_unbound_port(xce, a);
        if (bound < 0) return fail("listen");
        port = bound;
        printf("ok %d\n", bound);
        return 1;
    }
    if (!strcmp(name, "join")) {
        int bound = xenevtchn_bind_interdomain(xce, a, b);
        if (bound < 0 || take() < 0) return fail("join");
        port = bound;
        begin = now();
    } else if (!strcmp(name, "own")) {
        int first = xenevtchn_bind_unbound_port(xce, 0);
        int second = first < 0 ? -1 : xenevtchn_bind_interdomain(xce, 0, first);
        /* Who joins is signalled by that. */
        if (second < 0 || take() < 0) return fail("own");
        port = first;
        other = second;
    } else if (!strcmp(name, "watchHere")) {
        watching = xs_open(0);
        if (!watching || !xs_watch(watching, path, "token") || take_change() < 0) return fail("xs_watch");
    } else if (!strcmp(name, "rounds")) {
        if (rounds(a) < 0) return -1;
    } else if (!strcmp(name, "itself") || !strcmp(name, "calls")) {
        if (itself(a) < 0) return -1;
    } else if (!strcmp(name, "notify")) {
        if (notify(a) < 0) return -1;
    } else if (!strcmp(name, "read")) {
        if (read_node(path, a) < 0) return -1;
    } else if (!strcmp(name, "write")) {
        if (write_node(path, a) < 0) return -1;
    } else if (!strcmp(name, "watch")) {
        if (watch_node(path, a) < 0) return -1;
    } else {
        return 0;
    }
    printf("ok %" PRId64 "\n", now() - begin);
    return 1;
}

int main(void)
{
    char line[256], name[32], path[128];
    unsigned a, b;
    xce = xenevtchn_open(NULL, 0);
    xs = xs_open(0);
    if (!xce || !xs) return fail("open"), 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("ready\n");
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "%31s %127s %u %u", name, path, &a, &b) != 4) printf("error not a command\n");
        else if (!strcmp(name, "answer")) {
            printf("ok 0\n");
            if (answer() < 0) return 1;
        } else if (obey(name, path, a, b) == 0) printf("error unknown command\n");
    }
    return 0;
}
