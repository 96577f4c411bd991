/**
 * The requests to `/dev/xen/evtchn`: `linux/include/uapi/xen/evtchn.h`. The same on x86_64 and arm64.
 *
 * @internal
 */

/** Words: domain, port. Answers with a port, joined with that of the domain. */
export const BIND_INTERDOMAIN = 0x0008_4501

/** Words: domain. Answers with a port that it may join. */
export const BIND_UNBOUND_PORT = 0x0004_4502

/** Words: port. */
export const UNBIND = 0x0004_4503

/** Words: port. */
export const NOTIFY = 0x0004_4504

/** No words. Empties what has not been read yet; ports in it stay masked. */
export const RESET = 0x4505
