/**
 * Tells beforehand whether this machine can share and map pages, and connect devices, and what to do where it can't.
 *
 * Reads files only: no device is opened, nothing is shared or mapped.
 *
 * @since 0.1.0
 */

import * as Page from "@xen-shbuf/core/Page"
import * as Reason from "@xen-shbuf/core/Reason"
import * as Device from "@xen-shbuf/linux/Device"
import * as SystemCalls from "@xen-shbuf/linux/SystemCalls"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { accessSync, constants, existsSync, readFileSync } from "node:fs"
import * as Files from "./internal/Files.ts"
import * as GntAlloc from "./internal/GntAlloc.ts"
import * as Options from "./internal/Options.ts"

/**
 * One thing that was looked at.
 *
 * @category models
 * @since 0.1.0
 */
export interface Point {
  /** What was looked at. */
  readonly name: string
  /** Whether it is as it must be. */
  readonly ok: boolean
  /** What was found, in one line. */
  readonly detail: string
  /** What to do, where it is not ok. */
  readonly remedy?: string
  /** Who needs it, where not all do: a frontend shares, a backend maps, and a driver connects besides. */
  readonly only?: Role
}

/**
 * What a program does: shares buffers, maps a peer's, or connects a device, by event channels and xenstore.
 *
 * @category models
 * @since 0.2.0
 */
export type Role = "share" | "map" | "connect"

/**
 * How much is needed, and where to look.
 *
 * @category models
 * @since 0.1.0
 */
export interface CheckOptions extends Omit<Options.Options, "grantCopy"> {
  /** Pages to be shared at one time, those of the directories included; 1 unless set. */
  readonly pages?: number | undefined
  /** The operating system, as in `process.platform`. */
  readonly platform?: string | undefined
  /** The kernel's notes for this process, which tell the page size: `/proc/self/auxv`. */
  readonly auxv?: string | undefined
  /** The device of event channels, `/dev/xen/evtchn`. */
  readonly evtchn?: string | undefined
  /** The kernel's way to xenstore, `/dev/xen/xenbus`. */
  readonly xenbus?: string | undefined
  /** The way in the domain where xenstored runs, `/run/xenstored/socket`. */
  readonly xenstored?: string | undefined
  /** The file that names the hypervisor, `/sys/hypervisor/type`. */
  readonly hypervisor?: string | undefined
  /** The directory that older kernels have under Xen, `/proc/xen`. */
  readonly procXen?: string | undefined
}

/**
 * Looks at everything, in the order in which to mend it. `InvalidInput` for numbers that can't be.
 *
 * @category checks
 * @since 0.1.0
 */
export const check = (options: CheckOptions = {}): Effect.Effect<ReadonlyArray<Point>, Reason.InvalidInput> =>
  Effect.andThen(Effect.fromResult(checked(options)), look(options))

const isPageCount = Schema.is(Page.ShareCount)

const checked = (options: CheckOptions): Result.Result<unknown, Reason.InvalidInput> => {
  const { pages } = options
  return pages === undefined || isPageCount(pages)
    ? Options.check(options)
    : Result.fail(Reason.invalidInput("pages", pages, Page.shareExpected))
}

const look = (options: CheckOptions) =>
  Effect.sync((): ReadonlyArray<Point> => {
    const {
      auxv = "/proc/self/auxv",
      evtchn = "/dev/xen/evtchn",
      gntalloc = Files.paths.gntalloc,
      gntallocLimit = Files.paths.gntallocLimit,
      gntdev = Files.paths.gntdev,
      gntdevLimit = Files.paths.gntdevLimit,
      grantTableSize = GntAlloc.defaultTableSize,
      hypervisor = "/sys/hypervisor/type",
      pages = 1,
      platform = process.platform,
      procXen = "/proc/xen",
      xenbus = "/dev/xen/xenbus",
      xenstored = "/run/xenstored/socket"
    } = options
    return [
      linux(platform),
      library(),
      pageSize(auxv),
      xen(hypervisor, procXen),
      { ...device(gntalloc, "xen-gntalloc"), only: "share" },
      { ...device(gntdev, "xen-gntdev"), only: "map" },
      { ...device(evtchn, "xen-evtchn"), only: "connect" },
      { ...device(existsSync(xenstored) ? xenstored : xenbus), only: "connect" },
      { ...shareLimit(gntallocLimit, pages), only: "share" },
      { ...mapLimit(gntdevLimit), only: "map" },
      { ...grantTable(pages, grantTableSize), only: "share" }
    ]
  })

const linux = (platform: string): Point =>
  platform === "linux"
    ? { name: "Linux", ok: true, detail: "this is Linux" }
    : {
      name: "Linux",
      ok: false,
      detail: `this is ${platform}`,
      remedy: "Run it in a Linux domain: only Linux has the devices gntalloc and gntdev."
    }

const library = (): Point => {
  const name = "C library"
  try {
    SystemCalls.native()
    return { name, ok: true, detail: "koffi can call it" }
  } catch (cause) {
    const detail = `koffi can't call it: ${cause instanceof Error ? cause.message : String(cause)}`
    return { name, ok: false, detail, remedy: "Install koffi for this machine (see its list of platforms)." }
  }
}

const AT_PAGESZ = 6

const pageSize = (auxv: string): Point => {
  const name = "page size"
  return Result.match(read(auxv), {
    onFailure: (errno) => ({ name, ok: false, detail: `${auxv} can't be read (${errno})`, remedy: "Mount /proc." }),
    onSuccess: (bytes) => {
      // Pairs of 64-bit words: what, value.
      const words = new BigUint64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + (bytes.length & ~15)))
      const size = words.find((_, i) => i % 2 === 1 && words[i - 1] === BigInt(AT_PAGESZ))
      const detail = size === undefined ? `${auxv} does not tell it` : `${size} bytes`
      return size === BigInt(Page.size)
        ? { name, ok: true, detail }
        : { name, ok: false, detail, remedy: `Boot a kernel with pages of ${Page.size} bytes, which Xen's are.` }
    }
  })
}

const xen = (hypervisor: string, procXen: string): Point => {
  const name = "Xen"
  const type = Result.getOrUndefined(Result.map(read(hypervisor), (bytes) => bytes.toString().trim()))
  if (type === "xen" || (type === undefined && existsSync(procXen))) {
    return { name, ok: true, detail: "this is a Xen domain" }
  }
  const detail = type === undefined ? `neither ${hypervisor} nor ${procXen} is there` : `the hypervisor is ${type}`
  return { name, ok: false, detail, remedy: "Run it in a Xen domain, dom0 or a guest." }
}

const device = (path: string, module?: string): Point => {
  try {
    accessSync(path, constants.R_OK | constants.W_OK)
    return { name: path, ok: true, detail: "can be read and written" }
  } catch (cause) {
    const errno = Device.errnoOf(cause)
    const remedy = Device.remedy(module === undefined ? { path } : { path, module }, errno)
    return { name: path, ok: false, detail: `can't be used (${errno})`, remedy }
  }
}

const shareLimit = (path: string, pages: number): Point => {
  const name = "gntalloc limit"
  return Result.match(Files.readLimit(path, "xen-gntalloc"), {
    onFailure: unreadable(name),
    onSuccess: (limit) => {
      const detail = `${limit} pages shared at one time by all programs, ${pages} needed`
      return pages <= limit
        ? { name, ok: true, detail }
        : { name, ok: false, detail, remedy: `As root: echo ${pages} > ${path}` }
    }
  })
}

const mapLimit = (path: string): Point => {
  const name = "gntdev limit"
  return Result.match(Files.readLimit(path, "xen-gntdev"), {
    onFailure: unreadable(name),
    onSuccess: (limit) => {
      const detail = `${limit} pages in one request; bigger mappings are split`
      return limit > 0
        ? { name, ok: true, detail }
        : { name, ok: false, detail, remedy: `As root: echo 65536 > ${path}` }
    }
  })
}

const unreadable = (name: string) => ({ device, errno, remedy }: Reason.DeviceUnavailable): Point => ({
  name,
  ok: false,
  detail: `${device} can't be read (${errno})`,
  remedy
})

/** No file tells how big the domain's table is, or how much of it is used. */
const grantTable = (pages: number, size: number): Point => {
  const name = "grant table"
  const room = GntAlloc.usable(size)
  const detail = `${pages} pages needed; of ${size} references, 512 for each of max_grant_frames, ${room} are for them`
  return pages <= room
    ? { name, ok: true, detail: `${detail}; not seen from here` }
    : {
      name,
      ok: false,
      detail,
      remedy: "Raise max_grant_frames in the domain's configuration, and then the option grantTableSize; " +
        "this can't be seen from here."
    }
}

const read = (path: string): Result.Result<Buffer, string> =>
  Result.try({ try: () => readFileSync(path), catch: Device.errnoOf })
