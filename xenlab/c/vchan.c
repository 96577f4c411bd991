/* One end of a vchan on Debian's libxenvchan, which sends and takes so many bytes and tells their hashes.
 *
 * vchan server|client PEER PATH LEFT RIGHT SEND TAKE CHUNK [WARM]
 *
 * LEFT and RIGHT are a server's sizes. SEND and TAKE are numbers of bytes, multiples of 4, both ways at once; CHUNK is the
 * most that one call gets. With WARM, zeros are sent, nothing is hashed, and the clock begins anew when so many bytes are
 * sent. Events are JSON lines: "listening", "connected", "done", and "closed" where the peer has ended before. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <libxenvchan.h>

#define MOST (1 << 20)

/* Numbers that look random, and a hash of them: the same as in vchan.ts. */
struct stream { uint32_t state, a, b; uint64_t count; };

static struct stream begin(uint32_t seed) { return (struct stream){ .state = seed, .a = 1, .b = 1 }; }

static uint32_t next(struct stream *s)
{
    s->state ^= s->state << 13;
    s->state ^= s->state >> 17;
    s->state ^= s->state << 5;
    return s->state;
}

static void hash(struct stream *s, uint32_t word)
{
    s->a = (s->a ^ word) * 16777619u;
    s->b = (s->b << 5 | s->b >> 27) + word * 2654435761u;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static double began;
static int plain;
static uint64_t warm;

static void say(const char *event, const struct stream *out, const struct stream *in)
{
    printf("{\"event\":\"%s\",\"sent\":%llu,\"out\":\"%08x%08x\",\"taken\":%llu,\"in\":\"%08x%08x\",\"millis\":%.1f}\n", event,
           (unsigned long long)out->count, out->a, out->b, (unsigned long long)in->count, in->a, in->b, now() - began);
    fflush(stdout);
}

static struct libxenvchan *connect_to(int peer, const char *path)
{
    for (int tries = 0; tries < 1200; tries++) {
        struct libxenvchan *v = libxenvchan_client_init(NULL, peer, path);
        /* It also joins what is left of a server that was killed. */
        if (v && libxenvchan_is_open(v))
            return v;
        libxenvchan_close(v);
        usleep(50000);
    }
    return NULL;
}

/* What has been made and not sent, and what has been taken and not hashed, since hashes are of whole words. */
static uint32_t outgoing[MOST / 4], incoming[MOST / 4 + 1];

static int pass(struct libxenvchan *v, struct stream *out, uint64_t send, struct stream *in, uint64_t take, size_t chunk)
{
    size_t made = 0, gone = 0, rest = 0;
    while (out->count < send || in->count < take) {
        int moved = 0;
        if (out->count < send) {
            if (gone == made) {
                made = send - out->count < chunk ? send - out->count : chunk;
                gone = 0;
                for (size_t i = 0; !plain && i < made / 4; i++)
                    hash(out, outgoing[i] = next(out));
            }
            int n = libxenvchan_write(v, (char *)outgoing + gone, made - gone);
            if (n < 0)
                return -1;
            gone += n;
            out->count += n;
            if (warm > 0 && out->count >= warm) {
                began = now();
                warm = 0;
            }
            moved |= n > 0;
        }
        if (in->count < take) {
            /* With `rest` bytes of a word before them. */
            size_t most = take - in->count < MOST ? take - in->count : MOST;
            int n = libxenvchan_read(v, (char *)incoming + rest, most);
            if (n < 0)
                return -1;
            in->count += n;
            moved |= n > 0;
            if (!plain) {
                size_t words = (rest + n) / 4;
                for (size_t i = 0; i < words; i++)
                    hash(in, incoming[i]);
                rest = (rest + n) % 4;
                incoming[0] = rest ? incoming[words] : 0;
            }
        }
        if (!moved && libxenvchan_wait(v))
            return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 9) {
        fprintf(stderr, "vchan server|client PEER PATH LEFT RIGHT SEND TAKE CHUNK [WARM]\n");
        return 2;
    }
    int is_server = !strcmp(argv[1], "server");
    int peer = atoi(argv[2]);
    uint64_t send = strtoull(argv[6], NULL, 0), take = strtoull(argv[7], NULL, 0);
    size_t chunk = strtoull(argv[8], NULL, 0);
    plain = argc > 9;
    warm = plain ? strtoull(argv[9], NULL, 0) : 0;
    /* Each side has a seed of its own. */
    struct stream out = begin(is_server ? 1 : 2), in = begin(0);
    began = now();
    struct libxenvchan *v = is_server
        ? libxenvchan_server_init(NULL, peer, argv[3], strtoul(argv[4], NULL, 0), strtoul(argv[5], NULL, 0))
        : connect_to(peer, argv[3]);
    if (!v) {
        perror("vchan");
        return 1;
    }
    /* Neither of C's inits says so. */
    v->blocking = 0;
    if (is_server) {
        say("listening", &out, &in);
        while (libxenvchan_is_open(v) == 2)
            libxenvchan_wait(v);
    }
    began = now();
    say("connected", &out, &in);
    int failed = pass(v, &out, send, &in, take, chunk);
    /* What is sent is to be read before we close. */
    while (!failed && libxenvchan_is_open(v) == 1 && libxenvchan_buffer_space(v) < (1 << v->write.order))
        libxenvchan_wait(v);
    say(failed ? "closed" : "done", &out, &in);
    libxenvchan_close(v);
    return failed ? 1 : 0;
}
