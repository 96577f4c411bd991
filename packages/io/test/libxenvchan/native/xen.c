/* What C's libxenvchan asks of Xen, between two processes on one Linux: pages of a file, pipes with names for event
 * channels, and files for the two nodes of xenstore. All of them are in the folder that XEN_FOLDER names. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xenstore.h>
#include <libxenvchan.h>

enum { PAGE = 4096, FIRST_REF = 100 };

/* Pages of the file that were shared. */
static int shared;

struct xenevtchn_handle {
    int in, out;
} channel;

static int open_in_folder(const char *name, int flags)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", getenv("XEN_FOLDER"), name);
    return open(path, flags, 0600);
}

static void *map(int page, int count)
{
    int fd = open_in_folder("pages", O_RDWR);
    void *memory = mmap(NULL, (size_t)count * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)page * PAGE);
    close(fd);
    return memory == MAP_FAILED ? NULL : memory;
}

static void connect_channel(const char *in, const char *out)
{
    channel.in = open_in_folder(in, O_RDWR);
    channel.out = open_in_folder(out, O_RDWR | O_NONBLOCK);
}

xenevtchn_handle *xenevtchn_open(struct xentoollog_logger *logger, unsigned int flags)
{
    (void)logger, (void)flags;
    return &channel;
}

int xenevtchn_close(xenevtchn_handle *handle) { return (void)handle, 0; }
int xenevtchn_fd(xenevtchn_handle *handle) { return handle->in; }
int xenevtchn_unmask(xenevtchn_handle *handle, evtchn_port_t port) { return (void)handle, (void)port, 0; }
int xenevtchn_unbind(xenevtchn_handle *handle, evtchn_port_t port) { return (void)handle, (void)port, 0; }

int xenevtchn_notify(xenevtchn_handle *handle, evtchn_port_t port)
{
    (void)port;
    /* A pipe that is full has been signalled. */
    if (write(handle->out, "", 1) < 0)
        return 0;
    return 0;
}

xenevtchn_port_or_error_t xenevtchn_bind_unbound_port(xenevtchn_handle *handle, uint32_t domain)
{
    (void)handle, (void)domain;
    connect_channel("to-server", "to-client");
    return 1;
}

xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle *handle, uint32_t domain, evtchn_port_t port)
{
    (void)domain, (void)port;
    connect_channel("to-client", "to-server");
    xenevtchn_notify(handle, 1);
    return 1;
}

/* Signals that came before this one are one with it. */
xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle *handle)
{
    char taken[4096];
    return read(handle->in, taken, sizeof taken) < 0 ? -1 : 1;
}

xengntshr_handle *xengntshr_open(struct xentoollog_logger *logger, unsigned flags) { return (void)logger, (void)flags, (void *)1; }
int xengntshr_close(xengntshr_handle *handle) { return (void)handle, 0; }
int xengntshr_unshare(xengntshr_handle *handle, void *memory, uint32_t count) { return (void)handle, (void)memory, (void)count, 0; }

void *xengntshr_share_pages(xengntshr_handle *handle, uint32_t domain, int count, uint32_t *refs, int writable)
{
    (void)handle, (void)domain, (void)writable;
    void *memory = map(shared, count);
    for (int i = 0; i < count; i++)
        refs[i] = FIRST_REF + shared++;
    return memory;
}

void *xengntshr_share_page_notify(xengntshr_handle *handle, uint32_t domain, uint32_t *ref, int writable, uint32_t offset,
                                  evtchn_port_t port)
{
    (void)offset, (void)port;
    return xengntshr_share_pages(handle, domain, 1, ref, writable);
}

xengnttab_handle *xengnttab_open(struct xentoollog_logger *logger, unsigned flags) { return (void)logger, (void)flags, (void *)1; }
int xengnttab_close(xengnttab_handle *handle) { return (void)handle, 0; }
int xengnttab_unmap(xengnttab_handle *handle, void *memory, uint32_t count) { return (void)handle, (void)memory, (void)count, 0; }

void *xengnttab_map_domain_grant_refs(xengnttab_handle *handle, uint32_t count, uint32_t domain, uint32_t *refs, int access)
{
    (void)handle, (void)domain, (void)access;
    return map(refs[0] - FIRST_REF, count);
}

void *xengnttab_map_grant_ref_notify(xengnttab_handle *handle, uint32_t domain, uint32_t ref, int access, uint32_t offset,
                                     evtchn_port_t port)
{
    (void)offset, (void)port;
    return xengnttab_map_domain_grant_refs(handle, 1, domain, &ref, access);
}

struct xs_handle *xs_open(unsigned long flags) { return (void)flags, (void *)1; }
void xs_close(struct xs_handle *handle) { (void)handle; }
xs_transaction_t xs_transaction_start(struct xs_handle *handle) { return (void)handle, 1; }
bool xs_transaction_end(struct xs_handle *handle, xs_transaction_t t, bool abort) { return (void)handle, (void)t, (void)abort, true; }
bool xs_set_permissions(struct xs_handle *handle, xs_transaction_t t, const char *path, struct xs_permissions *all, unsigned count)
{
    return (void)handle, (void)t, (void)path, (void)all, (void)count, true;
}

bool xs_rm(struct xs_handle *handle, xs_transaction_t t, const char *path) { return (void)handle, (void)t, (void)path, true; }

bool xs_write(struct xs_handle *handle, xs_transaction_t t, const char *path, const void *value, unsigned length)
{
    (void)handle, (void)t;
    int fd = open_in_folder(strrchr(path, '/') + 1, O_CREAT | O_WRONLY | O_TRUNC);
    bool done = write(fd, value, length) == (ssize_t)length;
    close(fd);
    return done;
}

void *xs_read(struct xs_handle *handle, xs_transaction_t t, const char *path, unsigned *length)
{
    (void)handle, (void)t, (void)length;
    if (!strcmp(path, "domid"))
        return strdup("0");
    int fd = open_in_folder(strrchr(path, '/') + 1, O_RDONLY);
    char *value = calloc(1, 64);
    ssize_t count = fd < 0 ? -1 : read(fd, value, 63);
    close(fd);
    if (count > 0)
        return value;
    free(value);
    return NULL;
}
