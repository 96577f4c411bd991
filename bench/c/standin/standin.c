/*
 * Devices that are none: gntalloc and gntdev in front of one file in memory, of which each page has its reference.
 *
 * A request is an ioctl that Linux refuses at once, and then what the device would have answered. So the library, which
 * calls standin_ioctl from JavaScript, and C, which calls it through what looks like libxengnttab, make the same system
 * calls, and what differs is the language. Nothing is mapped by Xen.
 *
 * For the benchmark only; never shipped. SPDX-License-Identifier: MIT
 */
#include "xengnttab.h"
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

/* The file that a process is started with. */
#ifndef MEMORY
#define MEMORY 3
#endif

/* The first page that this process shares; below it are those of who started it. */
#ifndef FIRST
#define FIRST 0
#endif

enum { page_size = 4096, min_ref = 8, pages_in_memory = 1 << 18, header_words = 4 };

enum {
    alloc_gref = 0x184705,
    dealloc_gref = 0x104706,
    map_grant_ref = 0x184700,
    unmap_grant_ref = 0x104701,
    get_offset_for_vaddr = 0x184702
};

/* Pages are given out one after the other; the last ones come back first. */
static uint32_t next_page = FIRST;

static void set_offset(uint32_t *words, uint32_t page)
{
    uint64_t offset = (uint64_t)page * page_size;
    memcpy(words + 2, &offset, sizeof offset);
}

static int refuse(void)
{
    errno = EINVAL;
    return -1;
}

/* What a device does with a request, whose layout is that of linux/include/uapi/xen/gntalloc.h and gntdev.h. */
int standin_ioctl(int fd, unsigned long request, uint32_t *words)
{
    ioctl(fd, request, words);
    switch (request) {
    case alloc_gref: {
        uint32_t count = words[1];
        if (count > pages_in_memory - (next_page - FIRST))
            return refuse();
        set_offset(words, next_page);
        for (uint32_t i = 0; i < count; i++)
            words[header_words + i] = min_ref + next_page++;
        return 0;
    }
    case dealloc_gref: {
        uint64_t offset;
        memcpy(&offset, words, sizeof offset);
        if (offset / page_size + words[2] == next_page)
            next_page -= words[2];
        return 0;
    }
    case map_grant_ref: {
        /* One piece of the file: references that follow each other, from the first. */
        uint32_t ref = words[header_words + 1];
        if (ref < min_ref || ref - min_ref >= 2 * pages_in_memory)
            return refuse();
        set_offset(words, ref - min_ref);
        return 0;
    }
    default:
        return 0;
    }
}

/* Any address but NULL. */
xengnttab_handle *xengnttab_open(void *logger, unsigned flags)
{
    (void)logger, (void)flags;
    return (xengnttab_handle *)&next_page;
}

xengntshr_handle *xengntshr_open(void *logger, unsigned flags)
{
    (void)logger, (void)flags;
    return (xengntshr_handle *)&next_page;
}

/* A request of so many words: small ones, as of a page, in `few`. */
static uint32_t *request_of(uint32_t *few, size_t size, size_t words) { return words <= size ? few : malloc(words * 4); }

static void *map_at(const uint32_t *words, uint32_t count, int protection)
{
    uint64_t offset;
    memcpy(&offset, words + 2, sizeof offset);
    void *mapped = mmap(NULL, (size_t)count * page_size, protection, MAP_SHARED, MEMORY, offset);
    return mapped == MAP_FAILED ? NULL : mapped;
}

void *xengnttab_map_domain_grant_refs(xengnttab_handle *tab, uint32_t count, uint32_t domain, uint32_t *refs,
                                      int protection)
{
    (void)tab;
    uint32_t few[64], *words = request_of(few, 64, header_words + 2 * (size_t)count);
    if (!words)
        return NULL;
    words[0] = count;
    for (uint32_t i = 0; i < count; i++) {
        words[header_words + 2 * i] = domain;
        words[header_words + 2 * i + 1] = refs[i];
    }
    void *mapped = standin_ioctl(MEMORY, map_grant_ref, words) < 0 ? NULL : map_at(words, count, protection);
    if (words != few)
        free(words);
    return mapped;
}

void *xengnttab_map_grant_ref(xengnttab_handle *tab, uint32_t domain, uint32_t ref, int protection)
{
    return xengnttab_map_domain_grant_refs(tab, 1, domain, &ref, protection);
}

int xengnttab_unmap(xengnttab_handle *tab, void *address, uint32_t count)
{
    (void)tab;
    uint32_t words[6] = { 0 };
    /* The library asks the device what it is that is mapped there. */
    standin_ioctl(MEMORY, get_offset_for_vaddr, words);
    if (munmap(address, (size_t)count * page_size) < 0)
        return -1;
    return standin_ioctl(MEMORY, unmap_grant_ref, words);
}

/* What unsharing must know. One buffer at a time is enough here, and the last one is given back first. */
static struct {
    void *address;
    uint32_t words[4];
} shared[16];
static int depth;

void *xengntshr_share_pages(xengntshr_handle *shr, uint32_t domain, int count, uint32_t *refs, int writable)
{
    (void)shr;
    uint32_t few[64], *words = request_of(few, 64, header_words + (size_t)count);
    if (!words || depth == 16)
        return NULL;
    words[0] = domain | (uint32_t)writable << 16;
    words[1] = count;
    void *mapped = standin_ioctl(MEMORY, alloc_gref, words) < 0 ? NULL : map_at(words, count, PROT_READ | PROT_WRITE);
    if (mapped) {
        memcpy(refs, words + header_words, (size_t)count * 4);
        shared[depth].address = mapped;
        memcpy(shared[depth].words, words + 2, 8);
        shared[depth++].words[2] = count;
    }
    if (words != few)
        free(words);
    return mapped;
}

/* In the order of libxengnttab: the grants end while they are mapped. */
int xengntshr_unshare(xengntshr_handle *shr, void *address, uint32_t count)
{
    (void)shr;
    if (depth == 0 || shared[depth - 1].address != address)
        return refuse();
    standin_ioctl(MEMORY, dealloc_gref, shared[--depth].words);
    return munmap(address, (size_t)count * page_size);
}
