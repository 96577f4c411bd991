/**
 * Encodes the requests of gntalloc and gntdev: `linux/include/uapi/xen/gntalloc.h` and `gntdev.h`, the same numbers
 * on x86_64 and arm64, both little-endian.
 *
 * @internal
 */

export const ALLOC_GREF = 0x00184705
export const DEALLOC_GREF = 0x00104706
export const MAP_GRANT_REF = 0x00184700
export const UNMAP_GRANT_REF = 0x00104701
export const GRANT_COPY = 0x00104708
/** The same number on both devices. */
export const SET_UNMAP_NOTIFY = 0x00104707

/** Bytes in one segment of GRANT_COPY. */
export const segmentSize = 24

const allocWritable = 1
const notifyClearByte = 1
const notifySendEvent = 2
const copySourceIsGrant = 1
const copyDestIsGrant = 2

const headerWords = 4
// The kernel always copies the fixed part, 24 bytes, in and out.
const minimumWords = 6

// Small requests use the same memory again and again: new memory to point the kernel to costs more than a call. So a
// request is valid until the next is made.
const six = new Uint32Array(minimumWords)
const four = new Uint32Array(4)

const request = (count: number): Uint32Array<ArrayBuffer> =>
  count > minimumWords ? new Uint32Array(count) : six.fill(0)

const fill = (w0: number, w1: number, w2: number, w3: number): Uint32Array<ArrayBuffer> => {
  four[0] = w0
  four[1] = w1
  four[2] = w2
  four[3] = w3
  return four
}

/** A request for new pages, granted to `peer`; the answer is read by {@link index} and {@link refs}. */
export const allocGref = (peer: number, count: number, writable: boolean): Uint32Array<ArrayBuffer> => {
  const words = request(headerWords + count)
  words[0] = peer | (writable ? allocWritable << 16 : 0)
  words[1] = count
  return words
}

/** The references in the answer to ALLOC_GREF. */
export const refs = (words: Uint32Array<ArrayBuffer>, count: number): Uint32Array<ArrayBuffer> =>
  words.subarray(headerWords, headerWords + count)

/** A request to note the references from `start` up to `end` for a mapping; {@link index} reads the answer. */
export const mapGrantRef = (
  peer: number,
  refs: Uint32Array<ArrayBuffer>,
  start: number,
  end: number
): Uint32Array<ArrayBuffer> => {
  const words = request(headerWords + 2 * (end - start))
  words[0] = end - start
  for (let i = start, at = headerWords; i < end; i++, at += 2) {
    words[at] = peer
    words[at + 1] = refs[i]!
  }
  return words
}

/** Where the device put the pages, in bytes: the offset for mmap. Both answers have it in the same place. */
export const index = (words: Uint32Array<ArrayBuffer>): number => words[2]! + words[3]! * 2 ** 32

/** What DEALLOC_GREF and UNMAP_GRANT_REF release: `count` pages from `index` on, in bytes. */
export const range = (index: number, count: number): Uint32Array<ArrayBuffer> =>
  fill(index, index / 2 ** 32, count, 0)

/**
 * What to do when the page at `index`, in bytes, ends: clear the byte so far behind `index`, signal the port, both, or
 * nothing.
 */
export const unmapNotify = (
  index: number,
  clearByte: number | undefined,
  signalPort: number | undefined
): Uint32Array<ArrayBuffer> => {
  const at = index + (clearByte ?? 0)
  const action = (clearByte === undefined ? 0 : notifyClearByte) | (signalPort === undefined ? 0 : notifySendEvent)
  return fill(at, at / 2 ** 32, action, signalPort ?? 0)
}

/** A request to run `count` segments at an address. */
export const grantCopy = (address: bigint, count: number): Uint32Array<ArrayBuffer> =>
  fill(count, 0, Number(BigInt.asUintN(32, address)), Number(address >> 32n))

/** One side of a copy that is a piece of a granted page; `offset` in bytes from its beginning. */
export interface Foreign {
  readonly peer: number
  readonly ref: number
  readonly offset: number
}

/** Writes segment number `i`: `length` bytes from the grant into memory at `local`, or from there into the grant. */
export const setSegment = (
  view: DataView,
  i: number,
  direction: "Read" | "Write",
  foreign: Foreign,
  local: bigint,
  length: number
): void => {
  const source = i * segmentSize
  const dest = source + 8
  const [foreignAt, localAt] = direction === "Read" ? [source, dest] : [dest, source]
  view.setUint32(foreignAt, foreign.ref, true)
  view.setUint16(foreignAt + 4, foreign.offset, true)
  view.setUint16(foreignAt + 6, foreign.peer, true)
  view.setBigUint64(localAt, local, true)
  view.setUint16(source + 16, length, true)
  view.setUint16(source + 18, direction === "Read" ? copySourceIsGrant : copyDestIsGrant, true)
}

/** Xen's status of segment number `i`: 0, or one of `GNTST_*`. */
export const segmentStatus = (view: DataView, i: number): number => view.getInt16(i * segmentSize + 20, true)

/** Xen's name for a status (`xen/include/public/grant_table.h`). */
export const statusName = (status: number): string => statusNames[-status] ?? `GNTST ${status}`

const statusNames = [
  "GNTST_okay",
  "GNTST_general_error",
  "GNTST_bad_domain",
  "GNTST_bad_gntref",
  "GNTST_bad_handle",
  "GNTST_bad_virt_addr",
  "GNTST_bad_dev_addr",
  "GNTST_no_device_space",
  "GNTST_permission_denied",
  "GNTST_bad_page",
  "GNTST_bad_copy_arg",
  "GNTST_address_too_big",
  "GNTST_eagain",
  "GNTST_no_space"
]
