/**
 * A peer that breaks the rules, in the way that each line of input asks for: its directories are damaged, or change all
 * the time. Usage: node hostile.mjs PEER
 */
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as Generators from "@xen-shbuf/testkit/Generators"
import * as GntDev from "@xen-shbuf/xen-gntdev/GntDev"
import * as Effect from "effect/Effect"
import { nextLine, say } from "./Program.ts"

/** What the host can ask for; each ends with the event `end`. */
export type Request =
  /** Shares one damaged directory after the other; each ends at a line of input. */
  | { readonly do: "damaged" }
  /** Fills in the directory of an 8-page buffer, wrongly, in the same way. */
  | { readonly do: "filling"; readonly directory: number }
  /** Shares one, and rewrites it without a pause until the next line of input. */
  | { readonly do: "changing"; readonly pages: number }

const page = 4096
const refsPerPage = 1023
const peer = Number(process.argv[2])

/** Far from what a domain's grant table has: refused by Xen if anything asks for it. */
const never = 900_000

const damages: ReadonlyArray<readonly [pages: number, damage: Generators.Damage]> = [
  [1, { _tag: "GoesOn", word: never }],
  [refsPerPage, { _tag: "GoesOn", word: 0xffff_ffff }],
  [refsPerPage + 1, { _tag: "EndsEarly", page: 0 }],
  [2 * refsPerPage + 1, { _tag: "EndsEarly", page: 1 }],
  [1, { _tag: "Cycle", page: 0, to: 0 }],
  [2 * refsPerPage + 1, { _tag: "Cycle", page: 1, to: 0 }],
  [2 * refsPerPage + 1, { _tag: "Cycle", page: 2, to: 1 }],
  [refsPerPage + 1, { _tag: "BadLink", page: 0, word: 7 }],
  [refsPerPage + 1, { _tag: "BadLink", page: 0, word: 0xffff_ffff }],
  [1, { _tag: "BadRef", index: 0, word: 0 }],
  [8, { _tag: "BadRef", index: 7, word: 1 }],
  [refsPerPage + 1, { _tag: "BadRef", index: refsPerPage, word: 0xffff_ffff }],
  [2, { _tag: "Repeated", index: 1, first: 0 }],
  [refsPerPage + 1, { _tag: "Repeated", index: refsPerPage, first: 0 }],
  [1, { _tag: "OwnPage", index: 0, page: 0 }],
  [refsPerPage + 1, { _tag: "OwnPage", index: 5, page: 1 }]
]

/** Shares a directory, says where it is and why it must be refused, and waits. */
const offer = (name: string, byteLength: number, directory: number, reason: string) =>
  Effect.andThen(say("directory", { name, byteLength, directory, reason }), nextLine)

const fake = (count: number) => Uint32Array.from({ length: count }, (_, i) => never + i)

const offerAll = Effect.gen(function*() {
  const table = yield* GrantTable
  for (const [pages, damage] of damages) {
    yield* Effect.scoped(Effect.gen(function*() {
      const own = yield* table.share({ peer, pages: Math.ceil(pages / refsPerPage) })
      const { bytes, reason } = Generators.damaged({ links: own.refs, refs: fake(pages) }, damage)
      own.bytes.set(bytes)
      yield* offer(JSON.stringify(damage), pages * page, own.refs[0]!, reason._tag)
    }))
  }
  yield* Effect.scoped(Effect.gen(function*() {
    const own = yield* table.share({ peer, pages: 9 })
    const links = own.refs.slice(0, 1)
    const refs = own.refs.slice(1)
    refs[5] = never
    own.bytes.set(Generators.layOut({ links, refs }))
    yield* offer("a page that was never granted", 8 * page, links[0]!, "GrantRefused")
    const { refs: [readOnly] } = yield* table.share({ peer, pages: 1, access: "read-only" })
    refs[5] = readOnly!
    own.bytes.set(Generators.layOut({ links, refs }))
    yield* offer("a page that can only be read", 8 * page, links[0]!, "GrantRefused")
  }))
  yield* Effect.scoped(Effect.gen(function*() {
    const { refs } = yield* table.share({ peer: 0x7fe0, pages: 1 })
    yield* offer("a directory granted to somebody else", page, refs[0]!, "GrantRefused")
  }))
  yield* offer("a directory that was never granted", page, never, "GrantRefused")
  yield* say("end")
})

/** Is the backend of a frontend that lets it allocate. */
const fillIn = Effect.fnUntraced(function*(directory: number) {
  const table = yield* GrantTable
  const { bytes } = yield* table.map({ peer, refs: [directory] })
  const { refs } = yield* table.share({ peer, pages: 8 })
  const fillings: ReadonlyArray<readonly [name: string, reason: string, refs: Uint32Array]> = [
    ["nothing filled in", "InvalidRef", new Uint32Array(8)],
    ["the first half filled in", "InvalidRef", refs.map((ref, i) => i < 4 ? ref : 0)],
    ["a reserved reference", "InvalidRef", refs.with(5, 7)],
    ["a reference twice", "RepeatedRef", refs.with(7, refs[0]!)],
    ["a page that was never granted", "GrantRefused", refs.with(3, never)]
  ]
  for (const [name, reason, refs] of fillings) {
    SharedMemory.viewAs(bytes, Uint32Array).set(refs, 1)
    yield* offer(name, refs.length * page, directory, reason)
  }
  yield* say("end")
}, Effect.scoped)

/** Rewrites the directory of a buffer whose pages carry their numbers, from 1. */
const change = Effect.fnUntraced(function*(pages: number) {
  const table = yield* GrantTable
  const count = Math.ceil(pages / refsPerPage)
  const own = yield* table.share({ peer, pages: count + pages })
  const links = own.refs.slice(0, count)
  const refs = own.refs.slice(count)
  const numbers = SharedMemory.viewAs(own.bytes, Uint32Array)
  for (let i = 0; i < pages; i++) numbers[(count + i) * page / 4] = i + 1

  const directory = own.bytes.subarray(0, count * page)
  const words = SharedMemory.viewAs(directory, Uint32Array)
  const sound = Generators.layOut({ links, refs })
  const reversed = Generators.layOut({ links, refs: refs.slice().reverse() })
  directory.set(sound)
  yield* say("directory", { byteLength: pages * page, directory: links[0]! })

  const bad = [0, 1, 7, 0xffff_ffff, never, links[0]!, refs[0]!]
  const any = (below: number) => Math.floor(Math.random() * below)
  let rewrites = 0
  const rewrite = () => {
    for (const until = performance.now() + 20; performance.now() < until; rewrites++) {
      directory.set(any(2) === 0 ? sound : reversed)
      if (any(2) === 0) continue
      // A bad link or reference, until the next time.
      const at = any(count) * 1024 + (any(4) === 0 ? 0 : 1 + any(Math.min(pages, refsPerPage)))
      words[at] = bad[any(bad.length)]!
    }
  }
  yield* Effect.sync(rewrite).pipe(Effect.andThen(Effect.sleep(0)), Effect.forever, Effect.forkScoped)
  yield* nextLine
  yield* say("end", { rewrites })
}, Effect.scoped)

const obey = (request: Request) => {
  switch (request.do) {
    case "damaged":
      return offerAll
    case "filling":
      return fillIn(request.directory)
    case "changing":
      return change(request.pages)
  }
}

const main = Effect.gen(function*() {
  yield* say("ready")
  for (let line = yield* nextLine; line !== undefined; line = yield* nextLine) yield* obey(JSON.parse(line) as Request)
})

await Effect.runPromise(main.pipe(Effect.provide(GntDev.layer())))
process.exit(0)
