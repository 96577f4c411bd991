/**
 * What the devices of the fake kernel have in common.
 */

export const page = 4096

export const EBADF = -9
export const EEXIST = -17
export const EINVAL = -22
export const ENOENT = -2
export const ENOSPC = -28
export const ENOTTY = -25

/** Memory of the process. */
export interface Mapping {
  readonly byteLength: number
  readonly writable: boolean
  /** What of a device is mapped: an allocation, or a note. */
  readonly of?: object
  /** What every byte of it is. */
  readonly byte?: number
  /** Done when it is no longer mapped. */
  readonly ended?: () => void
  /** Memory in the place of pages that have ended: addresses that V8 has not given back yet. */
  readonly isLate?: boolean
}

/** A page or a note that can have a notification. */
export interface Place {
  readonly name: string | number
  /** What has to be there: in an open file, or mapped. */
  readonly of: object
  readonly isClearable: boolean
}

/** An open file of a device. Its calls answer as the kernel does: below 0 is an errno, negated. */
export interface FakeFile {
  readonly path: string
  /** `undefined` for a request of another device. */
  readonly ioctl: (request: number, words: Uint32Array) => number | undefined
  readonly mmap: (offset: number, byteLength: number, writable: boolean) => Mapping | number
  /** The place at an offset in bytes. */
  readonly place: (at: number) => Place | undefined
  /** Whether it has this allocation, or this note. */
  readonly has: (of: object) => boolean
  readonly close: () => void
  /** What is allocated or noted in it. */
  readonly held: () => ReadonlyArray<string>
}

/** What a device asks of the rest of the kernel. */
export interface Kernel {
  /** Notes what the real kernel would have punished, and gives the errno back. */
  readonly wrong: (what: string, errno: number) => number
  /** The mapping of an allocation, or of a note. */
  readonly mappingOf: (of: object) => Mapping | undefined
}

/** The offset or index with which most requests begin, in bytes. */
export const indexIn = (words: Uint32Array): number => words[0]! + words[1]! * 2 ** 32
