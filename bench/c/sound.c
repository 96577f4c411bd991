/*
 * The C side of the benchmark of sound: answers the ring of a card with one stream, and does nothing else. No buffer is
 * mapped, every request is granted, and the guest plays as fast as it can: the period before the last that it has written
 * counts as played.
 *
 * Usage: sound PERIODS, tells each time that a guest has written so many since it opened the stream and started it
 *
 * Serves the first card that waits for a backend, until it is killed.
 *
 * For the benchmark only; never shipped. SPDX-License-Identifier: MIT
 */
#include "backend.h"

#include <signal.h>
#include <sys/time.h>
#include <time.h>
#include <xen/io/sndif.h>

static xen_sndif_back_ring_t ring;
static struct xensnd_event_page *events;
static evtchn_port_t request_port, event_port;

/* What the guest has opened; all in bytes. A position modulo the buffer's size is a place in the buffer. */
static uint64_t written, position;
static uint32_t buffer, period, frame;
static int running, told;
static uint16_t event_id;

/* What is measured: periods, the bytes of them that are still to come, and when the stream was first started. */
static unsigned long wanted;
static int64_t left;
static double begin;

/* Set by the timer; cleared by each period that is written. */
static volatile sig_atomic_t idle;

static void tick(int signal)
{
    (void)signal;
    idle++;
}

static double micros(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

/* Says where the stream is; nothing where the page is full, as the next event says more. */
static void move(uint64_t to)
{
    uint32_t at = events->in_prod;
    position = to;
    if (at - events->in_cons >= XENSND_IN_RING_LEN) return;
    struct xensnd_evt *event = &XENSND_IN_RING_REF(events, at);
    memset(event, 0, sizeof *event);
    event->id = event_id++;
    event->type = XENSND_EVT_CUR_POS;
    event->op.cur_pos.position = to;
    wmb();
    events->in_prod = at + 1;
    told = 1;
}

/* All but the last period, and a frame more: Linux wakes its application when more than a period has passed. */
static void play(uint64_t all)
{
    if (running && all >= period && all - period + frame > position) move(all - period + frame);
}

static void stop(void)
{
    running = 0;
    if (!buffer) return;
    written = (written + buffer - 1) / buffer * buffer;
    move(written);
}

static void serve(const struct xensnd_req *request, struct xensnd_resp *response)
{
    switch (request->operation) {
    case XENSND_OP_OPEN:
        buffer = request->op.open.buffer_sz;
        period = request->op.open.period_sz;
        /* The benchmark plays 16 bits, stereo. */
        frame = 4;
        written = position = 0;
        left = (int64_t)wanted * period;
        begin = 0;
        break;
    case XENSND_OP_HW_PARAM_QUERY:
        response->resp.hw_param = request->op.hw_param;
        break;
    case XENSND_OP_WRITE:
        idle = 0;
        /* What is just written does not count yet, or the guest would think that it had run dry. */
        play(written);
        written += request->op.rw.length;
        if (begin == 0 || left <= 0) break;
        left -= request->op.rw.length;
        if (left <= 0) printf("{\"event\":\"played\",\"micros\":%.0f}\n", micros() - begin);
        break;
    case XENSND_OP_TRIGGER:
        if (request->op.trigger.type == XENSND_OP_TRIGGER_START) {
            running = 1;
            idle = 0;
            if (begin == 0) begin = micros();
            play(written);
        } else if (request->op.trigger.type == XENSND_OP_TRIGGER_STOP) {
            stop();
        }
        break;
    }
}

static void answer(void)
{
    int more, notify;
    do {
        RING_IDX produced = ring.sring->req_prod;
        rmb();
        while (ring.req_cons != produced) {
            struct xensnd_req request;
            RING_COPY_REQUEST(&ring, ring.req_cons, &request);
            ring.req_cons++;
            struct xensnd_resp *response = RING_GET_RESPONSE(&ring, ring.rsp_prod_pvt);
            memset(response, 0, sizeof *response);
            response->id = request.id;
            response->operation = request.operation;
            ring.rsp_prod_pvt++;
            serve(&request, response);
        }
        RING_PUSH_RESPONSES_AND_CHECK_NOTIFY(&ring, notify);
        if (notify && xenevtchn_notify(xce, request_port) < 0) fail("notify");
        if (told && xenevtchn_notify(xce, event_port) < 0) fail("notify");
        told = 0;
        RING_FINAL_CHECK_FOR_REQUESTS(&ring, more);
    } while (more);
}

int main(int argc, char **argv)
{
    wanted = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    find_guest("vsnd");
    struct xen_sndif_sring *shared = map("0/0/ring-ref");
    events = map("0/0/evt-ring-ref");
    request_port = join("0/0/event-channel");
    event_port = join("0/0/evt-event-channel");
    BACK_RING_INIT(&ring, shared, 4096);

    /* It ends a read. Linux takes a card for broken that is a tenth of a second late. */
    struct sigaction action = { .sa_handler = tick };
    struct itimerval often = { { 0, 30000 }, { 0, 30000 } };
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    connected();
    for (;;) {
        int port = xenevtchn_pending(xce);
        if (port >= 0) {
            if (xenevtchn_unmask(xce, port) < 0) fail("wait");
            answer();
            continue;
        }
        if (errno != EINTR) fail("wait");
        /* A guest that writes no more waits for the end of what it has written. */
        if (running && idle > 1 && position < written) {
            move(written);
            if (xenevtchn_notify(xce, event_port) < 0) fail("notify");
            told = 0;
        }
    }
}
