/*
 * The C side of the benchmark of page flips: answers the ring of a display with one connector, and does nothing else. No
 * buffer is mapped, and every request is granted.
 *
 * Serves the first display that waits for a backend, until it is killed.
 *
 * For the benchmark only; never shipped. SPDX-License-Identifier: MIT
 */
#include "backend.h"

#include <xen/io/displif.h>

static xen_displif_back_ring_t ring;
static struct xendispl_event_page *events;
static evtchn_port_t request_port, event_port;

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
    find_guest("vdispl");
    struct xen_displif_sring *shared = map("0/req-ring-ref");
    events = map("0/evt-ring-ref");
    request_port = join("0/req-event-channel");
    event_port = join("0/evt-event-channel");
    BACK_RING_INIT(&ring, shared, 4096);
    connected();
    for (;;) {
        int port = xenevtchn_pending(xce);
        if (port < 0 || xenevtchn_unmask(xce, port) < 0) fail("wait");
        answer();
    }
}
