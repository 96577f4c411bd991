/*
 * The part of libxengnttab that grants.c calls, for a machine without Xen: the same system calls on memory in the place of
 * the devices (standin.c).
 *
 * For the benchmark only; never shipped. SPDX-License-Identifier: MIT
 */
#pragma once
#include <stdint.h>

typedef struct xengnttab_handle xengnttab_handle;
typedef struct xengntshr_handle xengntshr_handle;

xengnttab_handle *xengnttab_open(void *logger, unsigned flags);
void *xengnttab_map_grant_ref(xengnttab_handle *tab, uint32_t domain, uint32_t ref, int protection);
void *xengnttab_map_domain_grant_refs(xengnttab_handle *tab, uint32_t count, uint32_t domain, uint32_t *refs,
                                      int protection);
int xengnttab_unmap(xengnttab_handle *tab, void *address, uint32_t count);

xengntshr_handle *xengntshr_open(void *logger, unsigned flags);
void *xengntshr_share_pages(xengntshr_handle *shr, uint32_t domain, int count, uint32_t *refs, int writable);
int xengntshr_unshare(xengntshr_handle *shr, void *address, uint32_t count);
