/*
 * The C side of the benchmark of page flips: answers the ring of a display with one connector, and does nothing else. No
 * buffer is mapped, and every request is granted.
 *
 * Serves the first display that waits for a backend, until it is killed.
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
#include <xen/io/displif.h>

static struct xs_handle *xs;
static xenevtchn_handle *xce;
static char backend[64], frontend[128];
static xen_displif_back_ring_t ring;
static struct xendispl_event_page *events;
static evtchn_port_t request_port, event_port;

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
    char path[80], text[8];
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

/* The number of a guest with a display in the state Initialising; 0 for none. */
static unsigned find(void)
{
    unsigned count = 0, found = 0;
    char **guests = xs_directory(xs, XBT_NULL, "backend/vdispl", &count);
    for (unsigned i = 0; i < count && !found; i++) {
        snprintf(backend, sizeof backend, "/local/domain/0/backend/vdispl/%.16s/0", guests[i]);
        if (number_of(backend, "state") == 1) found = strtoul(guests[i], NULL, 10);
    }
    free(guests);
    return found;
}

static void *map(xengnttab_handle *xgt, unsigned guest, const char *name)
{
    void *page = xengnttab_map_grant_ref(xgt, guest, number_of(frontend, name), PROT_READ | PROT_WRITE);
    if (!page) fail(name);
    return page;
}

static evtchn_port_t join(unsigned guest, const char *name)
{
    int port = xenevtchn_bind_interdomain(xce, guest, number_of(frontend, name));
    if (port < 0) fail(name);
    return port;
}

/* Answers all requests that are there. A flip is acknowledged when it is answered. */
static void answer(void)
{
    int more, notify, flips = 0;
    do {
        RING_IDX produced = ring.sring->req_prod;
        rmb();
        while (ring.req_cons != produced) {
            struct xendispl_req request;
            RING_COPY_REQUEST(&ring, ring.req_cons, &request);
            ring.req_cons++;
            struct xendispl_resp *response = RING_GET_RESPONSE(&ring, ring.rsp_prod_pvt);
            memset(response, 0, sizeof *response);
            response->id = request.id;
            response->operation = request.operation;
            ring.rsp_prod_pvt++;
            if (request.operation != XENDISPL_OP_PG_FLIP) continue;
            uint32_t at = events->in_prod;
            struct xendispl_evt *event = &XENDISPL_IN_RING_REF(events, at);
            memset(event, 0, sizeof *event);
            event->id = at;
            event->type = XENDISPL_EVT_PG_FLIP;
            event->op.pg_flip.fb_cookie = request.op.pg_flip.fb_cookie;
            wmb();
            events->in_prod = at + 1;
            flips++;
        }
        RING_PUSH_RESPONSES_AND_CHECK_NOTIFY(&ring, notify);
        if (notify && xenevtchn_notify(xce, request_port) < 0) fail("notify");
        if (flips && xenevtchn_notify(xce, event_port) < 0) fail("notify");
        flips = 0;
        RING_FINAL_CHECK_FOR_REQUESTS(&ring, more);
    } while (more);
}

int main(void)
{
    unsigned guest;
    setvbuf(stdout, NULL, _IOLBF, 0);
    xs = xs_open(0);
    xce = xenevtchn_open(NULL, 0);
    xengnttab_handle *xgt = xengnttab_open(NULL, 0);
    if (!xs || !xce || !xgt) fail("open");
    if (!xs_watch(xs, "backend/vdispl", "")) fail("xs_watch");
    printf("{\"event\":\"ready\",\"pid\":%d}\n", getpid());
    while (!(guest = find())) wait_for_change();
    snprintf(frontend, sizeof frontend, "%s", text_of(backend, "frontend"));
    set_state(2);
    if (!xs_watch(xs, frontend, "")) fail("xs_watch");
    while (number_of(frontend, "state") != 3) wait_for_change();

    struct xen_displif_sring *shared = map(xgt, guest, "0/req-ring-ref");
    events = map(xgt, guest, "0/evt-ring-ref");
    request_port = join(guest, "0/req-event-channel");
    event_port = join(guest, "0/evt-event-channel");
    BACK_RING_INIT(&ring, shared, 4096);
    set_state(4);
    printf("{\"event\":\"connected\",\"guest\":%u}\n", guest);
    for (;;) {
        int port = xenevtchn_pending(xce);
        if (port < 0 || xenevtchn_unmask(xce, port) < 0) fail("wait");
        answer();
    }
}
