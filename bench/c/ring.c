/*
 * The C side of the ring benchmark: both halves of a ring as a C program has them, on Xen's own macros.
 *
 * For the benchmark only; never shipped. SPDX-License-Identifier: MIT
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define mb() __sync_synchronize()
#define rmb() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define wmb() __atomic_thread_fence(__ATOMIC_RELEASE)
#include <xen/io/ring.h>

struct slot { uint8_t bytes[64]; };

DEFINE_RING_TYPES(bench, struct slot, struct slot);

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

/* Somebody might look at it: without this the compiler leaves out copies. */
static void used(const void *p)
{
    __asm__ volatile("" : : "r"(p) : "memory");
}

/* So many requests at a time, there and back in this page, so many times: the µs of one time, and the signals in it. */
double rounds(void *page, unsigned at_a_time, size_t times)
{
    bench_sring_t *sring = page;
    bench_front_ring_t front;
    bench_back_ring_t back;
    struct slot request, response, taken;
    size_t signals = 0;
    SHARED_RING_INIT(sring);
    FRONT_RING_INIT(&front, sring, 4096);
    BACK_RING_INIT(&back, sring, 4096);
    memset(&request, 7, sizeof request);
    memset(&response, 9, sizeof response);
    double begin = now();
    for (size_t i = 0; i < times; i++) {
        int notify, more;
        for (unsigned n = 0; n < at_a_time; n++) {
            memcpy(RING_GET_REQUEST(&front, front.req_prod_pvt), &request, sizeof request);
            front.req_prod_pvt++;
        }
        RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&front, notify);
        signals += notify;
        do {
            RING_IDX prod = back.sring->req_prod;
            rmb();
            if (RING_REQUEST_PROD_OVERFLOW(&back, prod))
                return -1;
            while (back.req_cons != prod) {
                RING_COPY_REQUEST(&back, back.req_cons, &taken);
                used(&taken);
                back.req_cons++;
                memcpy(RING_GET_RESPONSE(&back, back.rsp_prod_pvt), &response, sizeof response);
                back.rsp_prod_pvt++;
            }
            RING_PUSH_RESPONSES_AND_CHECK_NOTIFY(&back, notify);
            signals += notify;
            RING_FINAL_CHECK_FOR_REQUESTS(&back, more);
        } while (more);
        do {
            RING_IDX prod = front.sring->rsp_prod;
            rmb();
            if (prod - front.rsp_cons > RING_SIZE(&front))
                return -1;
            while (front.rsp_cons != prod) {
                memcpy(&taken, RING_GET_RESPONSE(&front, front.rsp_cons), sizeof taken);
                used(&taken);
                front.rsp_cons++;
            }
            RING_FINAL_CHECK_FOR_RESPONSES(&front, more);
        } while (more);
    }
    double micros = (now() - begin) / times;
    return signals >= 2 * times ? micros : -2;
}
