/*
 * What the C sides of the benchmarks of whole devices have in common: they serve the first guest with a device of their type
 * that waits for a backend.
 *
 * For the benchmark only; never shipped. SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xenevtchn.h>
#include <xengnttab.h>
#include <xenstore.h>

#define mb() __sync_synchronize()
#define rmb() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define wmb() __atomic_thread_fence(__ATOMIC_RELEASE)

static struct xs_handle *xs;
static xenevtchn_handle *xce;
static xengnttab_handle *xgt;
static char backend[96], frontend[128];
static unsigned guest;

static void fail(const char *what)
{
    printf("{\"event\":\"failed\",\"what\":\"%s\",\"error\":\"%s\"}\n", what, strerror(errno));
    exit(1);
}

/* A node's text; empty where there is none. */
static const char *text_of(const char *folder, const char *name)
{
    static char text[128];
    char path[256];
    unsigned length = 0;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    char *value = xs_read(xs, XBT_NULL, path, &length);
    snprintf(text, sizeof text, "%.*s", (int)length, value ? value : "");
    free(value);
    return text;
}

static unsigned number_of(const char *folder, const char *name)
{
    return strtoul(text_of(folder, name), NULL, 10);
}

static void set_state(int state)
{
    char path[128], text[8];
    snprintf(path, sizeof path, "%s/state", backend);
    snprintf(text, sizeof text, "%d", state);
    if (!xs_write(xs, XBT_NULL, path, text, strlen(text))) fail("the state");
}

/* Waits for the next change of what is watched. */
static void wait_for_change(void)
{
    unsigned count;
    char **change = xs_read_watch(xs, &count);
    if (!change) fail("xs_read_watch");
    free(change);
}

/* The number of a guest with a device of a type in the state Initialising; 0 for none. */
static unsigned find(const char *type)
{
    unsigned count = 0, found = 0;
    char folder[32];
    snprintf(folder, sizeof folder, "backend/%s", type);
    char **guests = xs_directory(xs, XBT_NULL, folder, &count);
    for (unsigned i = 0; i < count && !found; i++) {
        snprintf(backend, sizeof backend, "/local/domain/0/%s/%.16s/0", folder, guests[i]);
        if (number_of(backend, "state") == 1) found = strtoul(guests[i], NULL, 10);
    }
    free(guests);
    return found;
}

static void *map(const char *name)
{
    void *page = xengnttab_map_grant_ref(xgt, guest, number_of(frontend, name), PROT_READ | PROT_WRITE);
    if (!page) fail(name);
    return page;
}

static evtchn_port_t join(const char *name)
{
    int port = xenevtchn_bind_interdomain(xce, guest, number_of(frontend, name));
    if (port < 0) fail(name);
    return port;
}

/* Waits for a guest whose frontend has published what it shares. */
static void find_guest(const char *type)
{
    char path[32];
    setvbuf(stdout, NULL, _IOLBF, 0);
    xs = xs_open(0);
    xce = xenevtchn_open(NULL, 0);
    xgt = xengnttab_open(NULL, 0);
    if (!xs || !xce || !xgt) fail("open");
    snprintf(path, sizeof path, "backend/%s", type);
    if (!xs_watch(xs, path, "")) fail("xs_watch");
    printf("{\"event\":\"ready\",\"pid\":%d}\n", getpid());
    while (!(guest = find(type))) wait_for_change();
    snprintf(frontend, sizeof frontend, "%s", text_of(backend, "frontend"));
    set_state(2);
    if (!xs_watch(xs, frontend, "")) fail("xs_watch");
    while (number_of(frontend, "state") != 3) wait_for_change();
}

/* Tells the guest, and whoever reads the output, that its requests will be answered. */
static void connected(void)
{
    set_state(4);
    printf("{\"event\":\"connected\",\"guest\":%u}\n", guest);
}
