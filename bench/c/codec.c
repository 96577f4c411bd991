/*
 * The C side of the codec benchmark: what core's PageDirectory does, as a C program would do it.
 *
 * Each job runs so many times and returns the µs of one time, -1 if its input is refused. Its results are allocated and
 * freed every time, as ours are.
 *
 * For the benchmark only; never shipped. SPDX-License-Identifier: MIT
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { page_size = 4096, words = page_size / 4, refs_per_page = words - 1 };

static const uint32_t min_ref = 8, max_ref = 0xfffffffe;

/* CPU time of this thread: what the garbage collector of our side does meanwhile is not C's work. */
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

/* Somebody might look at it: without this the compiler leaves out all the work. */
static void used(const void *p)
{
    __asm__ volatile("" : : "r"(p) : "memory");
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Whether all can be references and none stands twice: with one bit for each if they are close together, else sorted. */
static bool are_sound(const uint32_t *refs, size_t count)
{
    uint32_t low = max_ref, high = min_ref;
    for (size_t i = 0; i < count; i++) {
        if (refs[i] < min_ref || refs[i] > max_ref)
            return false;
        if (refs[i] < low)
            low = refs[i];
        if (refs[i] > high)
            high = refs[i];
    }
    bool sound = true;
    if (high - low < 32 * count) {
        uint32_t *seen = calloc((high - low) / 32 + 1, sizeof *seen);
        for (size_t i = 0; sound && i < count; i++) {
            uint32_t at = refs[i] - low, bit = 1u << at % 32;
            sound = !(seen[at / 32] & bit);
            seen[at / 32] |= bit;
        }
        free(seen);
    } else {
        uint32_t *sorted = malloc(count * sizeof *sorted);
        memcpy(sorted, refs, count * sizeof *sorted);
        qsort(sorted, count, sizeof *sorted, compare);
        for (size_t i = 1; sound && i < count; i++)
            sound = sorted[i] != sorted[i - 1];
        free(sorted);
    }
    return sound;
}

/* The bytes of a directory from the references of its own pages and of a buffer; NULL if they are not sound. */
static uint32_t *write_directory(const uint32_t *links, size_t pages, const uint32_t *refs, size_t count)
{
    if (pages != (count + refs_per_page - 1) / refs_per_page || !are_sound(links, pages) || !are_sound(refs, count))
        return NULL;
    uint32_t *directory = calloc(pages, page_size);
    for (size_t page = 0; page < pages; page++) {
        size_t from = page * refs_per_page, rest = count - from;
        uint32_t *at = directory + page * words;
        at[0] = page + 1 < pages ? links[page + 1] : 0;
        memcpy(at + 1, refs + from, (rest < refs_per_page ? rest : refs_per_page) * 4);
    }
    return directory;
}

/* The references in a private copy of a directory: its own pages' first, then the buffer's; NULL if not sound. */
static uint32_t *read_directory(const void *bytes, size_t pages, uint32_t first, size_t count)
{
    if (pages != (count + refs_per_page - 1) / refs_per_page)
        return NULL;
    uint32_t *directory = malloc(pages * page_size);
    memcpy(directory, bytes, pages * page_size);
    uint32_t *refs = malloc((pages + count) * sizeof *refs);
    uint32_t link = first;
    for (size_t page = 0; page < pages; page++) {
        size_t from = page * refs_per_page, rest = count - from;
        const uint32_t *at = directory + page * words;
        refs[page] = link;
        memcpy(refs + pages + from, at + 1, (rest < refs_per_page ? rest : refs_per_page) * 4);
        link = at[0];
    }
    free(directory);
    if (link == 0 && are_sound(refs, pages + count))
        return refs;
    free(refs);
    return NULL;
}

double copy(const void *bytes, size_t pages, size_t times)
{
    double begin = now();
    for (size_t i = 0; i < times; i++) {
        void *result = malloc(pages * page_size);
        memcpy(result, bytes, pages * page_size);
        used(result);
        free(result);
    }
    return (now() - begin) / times;
}

double refs_to_bytes(const uint32_t *links, size_t pages, const uint32_t *refs, size_t count, size_t times)
{
    double begin = now();
    for (size_t i = 0; i < times; i++) {
        uint32_t *result = write_directory(links, pages, refs, count);
        if (!result)
            return -1;
        used(result);
        free(result);
    }
    return (now() - begin) / times;
}

double bytes_to_refs(const void *bytes, size_t pages, uint32_t first, size_t count, size_t times)
{
    double begin = now();
    for (size_t i = 0; i < times; i++) {
        uint32_t *result = read_directory(bytes, pages, first, count);
        if (!result)
            return -1;
        used(result);
        free(result);
    }
    return (now() - begin) / times;
}
