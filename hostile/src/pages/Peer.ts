/**
 * Puts a hostile peer around its victim's grant table: the peer acts before and after every operation, and whenever
 * the victim lets go of a mapping. Keeps a record of what was asked, and of what stood on each page when it was read.
 */
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import type { Access } from "@xen-shbuf/core/Access"
import * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as Effect from "effect/Effect"
import type { Operation } from "./Oracle.ts"
import { wordsPerPage } from "./World.ts"

/** More operations than any case needs, so that an endless walk ends. */
const tooMany = 24

export interface Record {
  readonly operations: Array<Operation>
  /** The words of every single page that was mapped, when its mapping was handed out; 0 where it was not asked for. */
  readonly snapshots: Array<Uint32Array>
  /** Mappings that the victim has not let go of. */
  mapped: number
  /** The memory of every share. */
  readonly shared: Array<SharedMemory.Writable>
  /** How often each byte of watched memory was read. */
  readonly reads: Array<Uint8Array>
}

/** Counts the reads of each byte; whoever reads a byte again sees another one. */
export const watched = (bytes: SharedMemory.Writable, reads: Uint8Array): SharedMemory.Writable =>
  new Proxy(SharedMemory.unsafeBytes(bytes), {
    get: (target, name) => {
      const i = typeof name === "string" ? Number(name) : Number.NaN
      if (i < target.length) return reads[i]!++ === 0 ? target[i] : target[i]! ^ 0xff
      switch (name) {
        case "length":
          return target.length
        // Whether it has ended (bytes of this library have no buffer to the compiler), and ways to write; whoever reads
        // in another way has to be told apart here.
        case "buffer":
          return target.buffer
        case "set":
          return target.set.bind(target)
        case "fill":
          return target.fill.bind(target)
        case "subarray":
          return (start: number, end: number) => watched(target.subarray(start, end), reads.subarray(start, end))
        default:
          throw new Error(`Watched memory can't be read by way of ${String(name)}`)
      }
    }
  })

/** Surrounds a grant table: `act` is what the peer does at the next moment. */
export const around = (
  table: GrantTable["Service"],
  act: (moment: "before" | "after" | "end") => void,
  watching: boolean
): { readonly table: GrantTable["Service"]; readonly record: Record } => {
  const record: Record = { operations: [], snapshots: [], mapped: 0, shared: [], reads: [] }
  const begin = (operation: Operation) =>
    Effect.sync(() => {
      if (record.operations.push(operation) > tooMany) throw new Error(`${tooMany} operations, and no end`)
      act("before")
    })
  const watch = <Bytes extends SharedMemory.Readable>(bytes: Bytes): Bytes => {
    if (!watching) return bytes
    const reads = new Uint8Array(bytes.length)
    record.reads.push(reads)
    return watched(SharedMemory.unsafeBytes(bytes), reads) as SharedMemory.Readable as Bytes
  }
  return {
    record,
    table: GrantTable.of({
      ...table,
      share: Effect.fnUntraced(function*(options) {
        yield* begin({ _tag: "share", pages: options.pages })
        const shared = yield* table.share(options)
        record.shared.push(shared.bytes)
        act("after")
        return { ...shared, bytes: watch(shared.bytes) }
      }),
      map: Effect.fnUntraced(function*<A extends Access = "read-write">(options: {
        readonly peer: number
        readonly refs: ArrayLike<number>
        readonly access?: A | undefined
      }) {
        yield* begin({ _tag: "map", refs: options.refs, access: options.access ?? "read-write" })
        const mapped = yield* table.map(options)
        record.mapped++
        yield* Effect.addFinalizer(() =>
          Effect.sync(() => {
            record.mapped--
            act("end")
          })
        )
        act("after")
        if (options.refs.length > 1) return mapped
        record.snapshots.push(new Uint32Array(mapped.bytes.slice().buffer, 0, wordsPerPage))
        return { ...mapped, bytes: watch(mapped.bytes) }
      }),
      // A mapping that lasts as long as it takes to read each byte once.
      read: Effect.fnUntraced(function*(grant, into) {
        yield* begin({ _tag: "map", refs: [grant.ref], access: "read-only" })
        yield* table.read(grant, into)
        act("after")
        act("end")
        const words = new Uint32Array(wordsPerPage)
        new Uint8Array(words.buffer).set(into)
        record.snapshots.push(words)
        if (watching) record.reads.push(new Uint8Array(into.length).fill(1))
      })
    })
  }
}
