/*
 * The C side of the benchmark on Xen: the same work as bench/guest/grants.ts, with libxengnttab.
 *
 * Reads commands from stdin, one a line: OPERATION DOMAIN PAGES COUNT DIRECTORY. Does the operation COUNT times and
 * answers "ok NANOSECONDS VALUE", the time of all of them together, or "error TEXT".
 *
 * As "grants frame DOMAIN PAGES DIRECTORY" it maps one buffer and prints when it started, had opened the device, and
 * had mapped, in nanoseconds of CLOCK_MONOTONIC. As "grants marks" it calls access("/mark") around each batch, for
 * whoever reads its system calls.
 *
 * For the benchmark only; never shipped. SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <xengnttab.h>

#define PAGE 4096
#define REFS 1023 /* on a directory page, after the link to the next one */
#define MAX_PAGES (UINT32_C(1) << 20) /* of a buffer: 4 GiB */

static const uint32_t min_ref = 8, max_ref = 0xfffffffe;

static xengnttab_handle *tab;
static xengntshr_handle *shr;

/* Why the last operation failed. */
static char why[160];

static int fail(const char *what)
{
    snprintf(why, sizeof why, "%s: %s", what, strerror(errno));
    return -1;
}

static int refuse(const char *what, uint32_t place, uint32_t word)
{
    snprintf(why, sizeof why, "%s: %" PRIu32 " at %" PRIu32, what, word, place);
    return -1;
}

/* On Xen a clock's time; the benchmark without Xen takes the CPU time of the process. */
#ifndef CLOCK
#define CLOCK CLOCK_MONOTONIC
#endif

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static uint32_t directory_pages(uint32_t pages) { return (pages + REFS - 1) / REFS; }

static uint32_t refs_on(uint32_t page, uint32_t pages)
{
    uint32_t rest = pages - page * REFS;
    return rest < REFS ? rest : REFS;
}

static bool is_ref(uint32_t word) { return word >= min_ref && word <= max_ref; }

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static int find_repeated_by_sorting(const uint32_t *refs, uint32_t count)
{
    uint32_t *sorted = malloc(count * sizeof *sorted);
    if (!sorted)
        return fail("malloc");
    memcpy(sorted, refs, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare);
    int result = 0;
    for (uint32_t i = 1; i < count && result == 0; i++)
        if (sorted[i] == sorted[i - 1])
            result = refuse("repeated reference", i, sorted[i]);
    free(sorted);
    return result;
}

/* Every reference may be one, and none is there twice: 0, or -1. */
static int check(const uint32_t *refs, uint32_t count)
{
    uint32_t low = max_ref, high = min_ref;
    for (uint32_t i = 0; i < count; i++) {
        if (!is_ref(refs[i]))
            return refuse("not a reference", i, refs[i]);
        if (refs[i] < low)
            low = refs[i];
        if (refs[i] > high)
            high = refs[i];
    }
    /* A bit for each, unless the peer has spread them so far that the bits would be more than the words. */
    if (high - low >= 32 * count)
        return find_repeated_by_sorting(refs, count);
    uint32_t *seen = calloc((high - low) / 32 + 1, sizeof *seen);
    if (!seen)
        return fail("calloc");
    int result = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = refs[i] - low, bit = UINT32_C(1) << at % 32;
        if (seen[at / 32] & bit) {
            result = refuse("repeated reference", i, refs[i]);
            break;
        }
        seen[at / 32] |= bit;
    }
    free(seen);
    return result;
}

/* Checks the reference of the first directory page: what can't be one is not asked of Xen. */
static int begin(uint32_t directory) { return is_ref(directory) ? 0 : refuse("not a link", 0, directory); }

/* Checks the link of a directory page: the chain has exactly `pages` pages, and no page comes twice. */
static int follow(const uint32_t *links, uint32_t page, uint32_t pages, uint32_t next)
{
    if (page + 1 == pages)
        return next == 0 ? 0 : refuse("the directory is too long", page, next);
    if (!is_ref(next))
        return refuse("not a link", page, next);
    for (uint32_t i = 0; i <= page; i++)
        if (links[i] == next)
            return refuse("the directory is cyclic", page, next);
    return 0;
}

/* The references of a peer's buffer, copied page by page and checked as a whole; to be freed. NULL if it fails. */
static uint32_t *read_directory(uint32_t domain, uint32_t pages, uint32_t directory)
{
    uint32_t count = directory_pages(pages);
    if (begin(directory) < 0)
        return NULL;
    /* The directory's own pages first: none of them may be a page of the buffer, too. */
    uint32_t *links = malloc((count + pages) * sizeof *links), *refs = links + count;
    if (!links) {
        fail("malloc");
        return NULL;
    }
    uint32_t next = directory;
    for (uint32_t page = 0; page < count; page++) {
        uint32_t copy[PAGE / 4];
        void *mapped = xengnttab_map_grant_ref(tab, domain, next, PROT_READ);
        if (!mapped) {
            fail("map a directory page");
            goto failed;
        }
        memcpy(copy, mapped, PAGE);
        xengnttab_unmap(tab, mapped, 1);
        links[page] = next;
        next = copy[0];
        if (follow(links, page, count, next) < 0)
            goto failed;
        memcpy(refs + page * REFS, copy + 1, refs_on(page, pages) * sizeof *refs);
    }
    if (check(links, count + pages) < 0)
        goto failed;
    memmove(links, refs, pages * sizeof *refs);
    return links;
failed:
    free(links);
    return NULL;
}

/* Lists `refs` in a directory of ours, whose own pages are `links`. */
static void write_directory(uint32_t *words, const uint32_t *links, uint32_t pages, const uint32_t *refs)
{
    uint32_t count = directory_pages(pages);
    for (uint32_t page = 0; page < count; page++, words += PAGE / 4) {
        words[0] = page + 1 < count ? links[page + 1] : 0;
        memcpy(words + 1, refs + page * REFS, refs_on(page, pages) * sizeof *refs);
    }
}

/* What a command holds until another releases it. */
static struct {
    uint32_t *refs; /* a peer's, for `map` */
    uint32_t refs_count;
    uint32_t *directory; /* ours, for a backend to fill in */
    uint32_t directory_pages;
    char *frame; /* a peer's, for copying */
    uint32_t frame_pages;
    char *plain, *other; /* ours, of the same size as the frame */
} held;

struct request {
    uint32_t domain, pages, directory;
};

static int share(struct request r)
{
    uint32_t *refs = malloc(r.pages * sizeof *refs);
    if (!refs)
        return fail("malloc");
    void *pages = xengntshr_share_pages(shr, r.domain, r.pages, refs, 1);
    free(refs);
    if (!pages)
        return fail("share");
    return xengntshr_unshare(shr, pages, r.pages);
}

static int alloc(struct request r)
{
    uint32_t count = directory_pages(r.pages);
    uint32_t *refs = malloc((count + r.pages) * sizeof *refs);
    if (!refs)
        return fail("malloc");
    void *pages = xengntshr_share_pages(shr, r.domain, count + r.pages, refs, 1);
    if (!pages) {
        free(refs);
        return fail("share");
    }
    write_directory(pages, refs, r.pages, refs + count);
    free(refs);
    return xengntshr_unshare(shr, pages, count + r.pages);
}

static int map_refs(struct request r, uint32_t *refs)
{
    void *pages = xengnttab_map_domain_grant_refs(tab, r.pages, r.domain, refs, PROT_READ | PROT_WRITE);
    return pages ? xengnttab_unmap(tab, pages, r.pages) : fail("map");
}

static int map(struct request r)
{
    return held.refs_count == r.pages ? map_refs(r, held.refs) : refuse("no references of such a buffer", 0, r.pages);
}

static int walk(struct request r)
{
    uint32_t *refs = read_directory(r.domain, r.pages, r.directory);
    if (!refs)
        return -1;
    int result = map_refs(r, refs);
    free(refs);
    return result;
}

/* As a backend: checks the chain of a frontend's directory, shares pages, fills the directory in; ends the pages. */
static int provide(struct request r)
{
    uint32_t count = directory_pages(r.pages), mapped = 0, next = r.directory;
    uint32_t *links = malloc(count * sizeof *links), *refs = malloc(r.pages * sizeof *refs);
    uint32_t **targets = malloc(count * sizeof *targets);
    void *pages = NULL;
    int result = -1;
    if (!links || !refs || !targets) {
        fail("malloc");
        goto done;
    }
    if (begin(next) < 0)
        goto done;
    while (mapped < count) {
        uint32_t *target = xengnttab_map_grant_ref(tab, r.domain, next, PROT_READ | PROT_WRITE);
        if (!target) {
            fail("map a directory page");
            goto done;
        }
        links[mapped] = next;
        targets[mapped] = target;
        next = *(volatile uint32_t *)target;
        if (follow(links, mapped++, count, next) < 0)
            goto done;
    }
    pages = xengntshr_share_pages(shr, r.domain, r.pages, refs, 1);
    if (!pages) {
        fail("share");
        goto done;
    }
    for (uint32_t page = 0; page < count; page++) {
        uint32_t some = refs_on(page, r.pages);
        memcpy(targets[page] + 1, refs + page * REFS, some * sizeof *refs);
        memset(targets[page] + 1 + some, 0, (REFS - some) * sizeof *refs);
    }
    result = 0;
done:
    while (mapped > 0)
        xengnttab_unmap(tab, targets[--mapped], 1);
    if (pages)
        result = xengntshr_unshare(shr, pages, r.pages);
    free(targets);
    free(refs);
    free(links);
    return result;
}

/* As a frontend: copies and checks what a backend filled into the directory held, and maps it. */
static int map_provided(struct request r)
{
    if (held.directory_pages != directory_pages(r.pages))
        return refuse("no directory of such a buffer", 0, r.pages);
    uint32_t *refs = malloc(r.pages * sizeof *refs);
    if (!refs)
        return fail("malloc");
    for (uint32_t page = 0; page < held.directory_pages; page++)
        memcpy(refs + page * REFS, held.directory + page * (PAGE / 4) + 1, refs_on(page, r.pages) * sizeof *refs);
    int result = check(refs, r.pages);
    if (result == 0)
        result = map_refs(r, refs);
    free(refs);
    return result;
}

/* Remembers the references of a peer's buffer for `map`. */
static int hold_refs(struct request r)
{
    held.refs = read_directory(r.domain, r.pages, r.directory);
    held.refs_count = held.refs ? r.pages : 0;
    return held.refs ? 0 : -1;
}

static int release_refs(struct request r)
{
    (void)r;
    free(held.refs);
    held.refs = NULL;
    held.refs_count = 0;
    return 0;
}

static int release_directory(struct request r)
{
    if (!held.directory)
        return refuse("no directory is held", 0, r.pages);
    xengntshr_unshare(shr, held.directory, held.directory_pages);
    held.directory = NULL;
    held.directory_pages = 0;
    return 0;
}

/* The reference of the first page of the directory that was shared last. */
static uint32_t directory_ref;

/* Shares an empty directory for a backend to fill in. */
static int hold_directory(struct request r)
{
    uint32_t count = directory_pages(r.pages);
    uint32_t *links = malloc(count * sizeof *links);
    if (!links)
        return fail("malloc");
    held.directory = xengntshr_share_pages(shr, r.domain, count, links, 1);
    if (!held.directory) {
        free(links);
        return fail("share a directory");
    }
    held.directory_pages = count;
    for (uint32_t page = 0; page < count; page++)
        held.directory[page * (PAGE / 4)] = page + 1 < count ? links[page + 1] : 0;
    directory_ref = links[0];
    free(links);
    return 0;
}

static int release_frame(struct request r)
{
    if (!held.frame)
        return refuse("no frame is held", 0, r.pages);
    xengnttab_unmap(tab, held.frame, held.frame_pages);
    held.frame = NULL;
    free(held.plain);
    free(held.other);
    held.plain = held.other = NULL;
    held.frame_pages = 0;
    return 0;
}

static int hold_frame(struct request r)
{
    if (held.frame)
        return refuse("a frame is held already", 0, r.pages);
    uint32_t *refs = read_directory(r.domain, r.pages, r.directory);
    if (!refs)
        return -1;
    held.frame = xengnttab_map_domain_grant_refs(tab, r.pages, r.domain, refs, PROT_READ | PROT_WRITE);
    free(refs);
    if (!held.frame)
        return fail("map");
    held.frame_pages = r.pages;
    held.plain = malloc((size_t)r.pages * PAGE);
    held.other = malloc((size_t)r.pages * PAGE);
    if (!held.plain || !held.other)
        return fail("malloc");
    memset(held.plain, 1, (size_t)r.pages * PAGE);
    memset(held.other, 2, (size_t)r.pages * PAGE);
    return 0;
}

static int copy(char *to, const char *from)
{
    if (!to || !from)
        return refuse("no frame is held", 0, 0);
    memcpy(to, from, (size_t)held.frame_pages * PAGE);
    /* The compiler must not leave out a copy that nobody reads. */
    __asm__ volatile("" ::: "memory");
    return 0;
}

static int copy_in(struct request r) { return (void)r, copy(held.frame, held.plain); }
static int copy_out(struct request r) { return (void)r, copy(held.plain, held.frame); }
static int copy_plain(struct request r) { return (void)r, copy(held.plain, held.other); }

static const struct {
    const char *name;
    int (*run)(struct request);
} operations[] = {
    { "share", share },
    { "alloc", alloc },
    { "map", map },
    { "walk", walk },
    { "provide", provide },
    { "mapProvided", map_provided },
    { "copyIn", copy_in },
    { "copyOut", copy_out },
    { "copyPlain", copy_plain },
    { "holdRefs", hold_refs },
    { "releaseRefs", release_refs },
    { "holdDirectory", hold_directory },
    { "releaseDirectory", release_directory },
    { "holdFrame", hold_frame },
    { "releaseFrame", release_frame },
};

static void obey(const char *name, struct request request, uint32_t count, bool marks)
{
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        if (strcmp(operations[i].name, name) != 0)
            continue;
        int result = request.pages > 0 && request.pages <= MAX_PAGES ? 0 : refuse("not a size", 0, request.pages);
        int64_t start = now();
        if (marks)
            access("/mark", F_OK);
        for (uint32_t n = 0; n < count && result == 0; n++)
            result = operations[i].run(request);
        if (marks)
            access("/mark", F_OK);
        int64_t end = now();
        if (result == 0)
            printf("ok %" PRId64 " %" PRIu32 "\n", end - start, directory_ref);
        else
            printf("error %s\n", why);
        return;
    }
    printf("error no operation %s\n", name);
}

/* Maps one buffer, as soon as possible after the start. */
static int first_frame(struct request r)
{
    int64_t started = now();
    tab = xengnttab_open(NULL, 0);
    if (!tab)
        return fail("open gntdev");
    int64_t opened = now();
    uint32_t *refs = read_directory(r.domain, r.pages, r.directory);
    if (!refs)
        return -1;
    if (!xengnttab_map_domain_grant_refs(tab, r.pages, r.domain, refs, PROT_READ | PROT_WRITE))
        return fail("map");
    printf("{\"started\":%" PRId64 ",\"opened\":%" PRId64 ",\"mapped\":%" PRId64 "}\n", started, opened, now());
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "frame") == 0) {
        struct request r = { strtoul(argv[2], NULL, 10), strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10) };
        if (r.pages > 0 && r.pages <= MAX_PAGES && first_frame(r) == 0)
            return 0;
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    bool marks = argc == 2 && strcmp(argv[1], "marks") == 0;
    tab = xengnttab_open(NULL, 0);
    shr = xengntshr_open(NULL, 0);
    if (!tab || !shr) {
        fprintf(stderr, "can't open gntdev and gntalloc: %s\n", strerror(errno));
        return 1;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    char line[128], name[32];
    while (fgets(line, sizeof line, stdin)) {
        struct request r;
        uint32_t count;
        if (sscanf(line, "%31s %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32, name, &r.domain, &r.pages, &count,
                   &r.directory) == 5)
            obey(name, r, count, marks);
        else
            printf("error not a command: %s", line);
    }
    return 0;
}
