/**
 * Runs random commands on a `TestXen` and on the model at once, and compares all that can be seen after each.
 */
import type { DirectoryError } from "@xen-shbuf/core/DirectoryError"
import * as GrantRef from "@xen-shbuf/core/GrantRef"
import * as GrantTable from "@xen-shbuf/core/GrantTable"
import type { GrantTableError } from "@xen-shbuf/core/GrantTableError"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import type * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Arbitrary from "effect/Arbitrary"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Model from "./Model.ts"

const upTo = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum }))

const domain = upTo(2)
/** Who uses something: mostly whom it was granted to. */
const userOf = upTo(9)
/** Counted from the newest, modulo how many there are: every sequence of commands makes sense. */
const holding = upTo(6)
/** Of a share, modulo how many it has; page 22 was never granted, page 23 is out of the table. */
const page = upTo(23)
const pages = Schema.Literals([1, 2, 3])
const accesses = ["read-only", "read-write"] as const
const access = Schema.Literals(accesses)
/** Where in a page, with a liking for the words of a directory. */
const offset = Schema.Literals([0, 4, 5, 8, 12, 4092, 4095])
const byte = upTo(255)
/** Whether the peer does at once what it is for. */
const isUsed = Schema.Boolean

const Command = Schema.TaggedUnion({
  Share: { by: domain, peer: domain, pages, access, isUsed },
  /** Pages of a share, in any order, all of it `times` over. */
  Map: {
    by: userOf,
    share: holding,
    pages: Schema.NonEmptyArray(page).check(Schema.isMaxLength(3)),
    times: Schema.Literals([1, 2, 65]),
    access
  },
  Write: { holding, page: upTo(2), offset, byte },
  CopyIn: { by: userOf, share: holding, page, offset, byte },
  CopyOut: { by: userOf, share: holding, page, offset },
  Notify: { holding, page: upTo(2), offset, port: upTo(2) },
  CancelNotify: { holding },
  End: { holding },
  Limit: { domain, pages: upTo(20) },
  BindPort: { domain },
  Turn: { domain, to: Schema.Literals(["alive", "killed", "dead"]) },
  Alloc: { by: domain, peer: domain, pages, access, isUsed },
  AllocByBackend: { by: domain, peer: domain, pages, isUsed },
  MapBuffer: { by: userOf, buffer: holding, access },
  Provide: { by: userOf, buffer: holding, access },
  MapProvided: { buffer: holding, access }
})
type Command = typeof Command.Type

/** A command, and what its peer does at once. */
const withUse = (command: Command): ReadonlyArray<Command> => {
  if (!("isUsed" in command) || !command.isUsed) return [command]
  const peer = 9
  const newest = 0
  switch (command._tag) {
    case "Share": {
      const pages: readonly [number, ...Array<number>] = [0, ...[1, 2].slice(0, command.pages - 1)]
      return [command, { _tag: "Map", by: peer, share: newest, pages, times: 1, access: command.access }]
    }
    case "Alloc":
      return [command, { _tag: "MapBuffer", by: peer, buffer: newest, access: command.access }]
    case "AllocByBackend":
      return [
        command,
        { _tag: "Provide", by: peer, buffer: newest, access: "read-write" },
        { _tag: "MapProvided", buffer: newest, access: "read-write" }
      ]
  }
}

/** Sequences of up to 30 commands on three domains. */
export const commands = Arbitrary.array(Arbitrary.schema(Command), { minLength: 1, maxLength: 30 })

class Mismatch extends Data.TaggedError("Mismatch")<{ readonly command: number; readonly message: string }> {}

type Reason = (GrantTableError | DirectoryError)["reason"]

/** A reason in the words of the model. */
const inWords = (reason: Reason): Model.Outcome => {
  switch (reason._tag) {
    case "OutOfGrants":
      return `OutOfGrants: ${reason.requested} requested, limit ${reason.limit}, needed ${reason.needed}`
    case "GrantRefused": {
      const { access, grant, index, status } = reason
      return `GrantRefused: ${status}, reference ${grant.ref} of domain ${grant.peer}, number ${index}, ${access}`
    }
    case "OutOfMappings":
      return `OutOfMappings: ${reason.requested} of domain ${reason.peer}`
    case "InvalidRef":
      return `InvalidRef: number ${reason.index} is ${reason.word}`
    case "InvalidInput":
      return `InvalidInput: ${reason.argument}`
    default:
      return reason._tag
  }
}

/** Something held, as it is and as it should be. `frames` are those that `bytes` shows. */
interface Live {
  readonly model: Model.Share | Model.Mapping
  readonly frames: ReadonlyArray<Model.Frame>
  readonly bytes: SharedMemory.Writable
  readonly unmapNotify: GrantTable.UnmapNotify
  readonly scope: Scope.Closeable
}

/** What an operation gave, in a scope of its own. */
interface Acquired {
  readonly value: { readonly bytes: SharedMemory.Readable; readonly unmapNotify: GrantTable.UnmapNotify }
  readonly scope: Scope.Closeable
}

/** A buffer and its directory. */
interface Shared {
  readonly share: Model.Share
  readonly pages: number
  readonly map: SharedBuffer.SharedDirectory["map"] | undefined
}

/** The commands that can be refused. */
export const operations = [
  "Share",
  "Map",
  "CopyIn",
  "CopyOut",
  "Notify",
  "Alloc",
  "AllocByBackend",
  "MapBuffer",
  "Provide",
  "MapProvided"
]

/** What came of all commands together: to see that nothing was left out. */
export const tally = new Map<string, number>()

const count = (what: string) => tally.set(what, (tally.get(what) ?? 0) + 1)

/** The model gives a reason, or what the operation finds. */
const isRefusal = (expected: unknown): expected is Model.Outcome => typeof expected === "string"

const outcomeOf = (expected: unknown) => isRefusal(expected) ? expected : Model.ok

const ids = [1, 2, 3]

const grantOf = Schema.decodeSync(GrantRef.Grant)

/** Runs the commands on a new Xen and on a new model, and compares the two after each. */
export const compare = Effect.fnUntraced(function*(sequence: ReadonlyArray<Command>) {
  const xen = yield* TestXen.make(Model.limits)
  const model = Model.make()
  const lives: Array<Live> = []
  const buffers: Array<Shared> = []
  const tables: Array<GrantTable.GrantTable["Service"]> = []
  const domains: Array<Model.Domain> = []
  let number = 0

  const same = <A>(what: string, actual: A, expected: A) =>
    String(actual) === String(expected)
      ? Effect.void
      : Effect.fail(new Mismatch({ command: number, message: `${what}: it is ${actual}, but must be ${expected}` }))

  /** In any order. */
  const sameLines = (what: string, actual: ReadonlyArray<string>, expected: ReadonlyArray<string>) =>
    same(what, actual.toSorted().join("; "), expected.toSorted().join("; "))

  const start = Effect.fnUntraced(function*(index: number) {
    tables[index] = yield* xen.domain(ids[index]!)
    domains[index] = Model.create(model, ids[index]!)
  })
  const table = (index: number) => Effect.provideService(GrantTable.GrantTable, tables[index]!)

  /** Does what must end like this; what is acquired lives in a scope of its own. */
  const does = Effect.fnUntraced(function*<A>(
    command: string,
    expected: Model.Outcome,
    operation: Effect.Effect<A, GrantTableError | DirectoryError, Scope.Scope>
  ) {
    const scope = yield* Scope.make()
    const exit = yield* Effect.exit(Scope.provide(operation, scope))
    const outcome = Exit.match(exit, {
      onSuccess: () => Model.ok,
      onFailure: ({ reasons }) =>
        reasons.map((reason) => Cause.isFailReason(reason) ? inWords(reason.error.reason) : String(reason)).join()
    })
    count(`${command} ${outcome.split(":", 1)[0]}`)
    yield* same(`the outcome of ${command}`, outcome, expected)
    if (Exit.isSuccess(exit)) return { value: exit.value, scope }
    yield* Scope.close(scope, exit)
  })

  /** The references of what was shared last. */
  const newest = Effect.map(xen.holdings, (holdings) =>
    holdings.filter((held) => "refs" in held).findLast(({ _tag }) => _tag === "Share")!.refs)

  /** Notes a share that was made: with a directory, or without. */
  const noteShare = Effect.fnUntraced(function*(
    { scope, value: { bytes, unmapNotify } }: Acquired,
    by: number,
    peer: number,
    access: Model.Access,
    directoryPages: number
  ) {
    const refs = yield* newest
    const share = Model.addShare(model, domains[by]!, ids[peer]!, refs, access)
    if (typeof share === "string") return yield* same("a new share", share, "in order")
    const frames = share.frames.slice(0, share.frames.length - directoryPages)
    lives.push({ model: share, frames, bytes: bytes as SharedMemory.Writable, unmapNotify, scope })
    return share
  })

  const noteMapping = (
    { scope, value: { bytes, unmapNotify } }: Acquired,
    by: number,
    frames: ReadonlyArray<Model.Frame>,
    access: Model.Access
  ) => {
    const mapping = Model.addMapping(model, domains[by]!, frames, access)
    // Commands write into writable ones only.
    lives.push({ model: mapping, frames, bytes: bytes as SharedMemory.Writable, unmapNotify, scope })
  }

  /** Pages that a command means: of a share, or such as nobody has granted. */
  const meant = (share: Model.Share, page: number) =>
    page < 22 ? share.frames[page % share.frames.length]!.ref : Model.limits.grantRefs + page - 23

  const user = (by: number, share: Model.Share) => by < 3 ? by : ids.indexOf(share.peer)

  const pick = <A>(items: ReadonlyArray<A>, index: number): A | undefined =>
    items[items.length - 1 - index % items.length]

  /** What can be seen: all that is held but the directories that wait for a backend. */
  const shown = () => lives.filter(({ frames, model }) => model.held && frames.length > 0)

  const run = Effect.fnUntraced(function*(command: Command) {
    switch (command._tag) {
      case "Share": {
        const { access, by, pages, peer } = command
        const expected = Model.share(model, domains[by]!, pages)
        const made = yield* does("Share", expected, tables[by]!.share({ peer: ids[peer]!, pages, access }))
        if (made === undefined) return
        const share = yield* noteShare(made, by, peer, access, 0)
        return yield* same("its references", [...made.value.refs], share!.frames.map(({ ref }) => ref))
      }
      case "Map": {
        const share = pick(model.shares, command.share)
        if (share === undefined) return
        const { access, times } = command
        const by = user(command.by, share)
        const once = command.pages.map((page) => meant(share, page))
        const refs = Array.from({ length: times }, () => once).flat()
        const expected = Model.map(model, domains[by]!, share.domain.id, refs, access)
        const operation = tables[by]!.map({ peer: share.domain.id, refs, access })
        const made = yield* does("Map", outcomeOf(expected), operation)
        if (made !== undefined) noteMapping(made, by, expected as ReadonlyArray<Model.Frame>, access)
        return
      }
      case "Write": {
        const isWritable = ({ model }: Live) => model._tag === "Share" || model.access === "read-write"
        const live = pick(shown().filter(isWritable), command.holding)
        if (live === undefined) return
        const page = command.page % live.frames.length
        count("Write ok")
        live.bytes[page * 4096 + command.offset] = command.byte
        live.frames[page]!.bytes[command.offset] = command.byte
        return
      }
      case "CopyIn":
      case "CopyOut": {
        const share = pick(model.shares, command.share)
        if (share === undefined) return
        const { _tag, offset, page } = command
        const by = user(command.by, share)
        const isIn = _tag === "CopyIn"
        const peer = share.domain.id
        const ref = meant(share, page)
        const data = Uint8Array.of(isIn ? command.byte : 0)
        const frame = Model.copy(model, domains[by]!, peer, ref, isIn ? "read-write" : "read-only")
        const grant = grantOf({ peer, ref })
        const segment: GrantTable.CopySegment = isIn
          ? { _tag: "Write", grant, offset, from: data }
          : { _tag: "Read", grant, offset, into: data }
        yield* does(_tag, outcomeOf(frame), tables[by]!.copy([segment]))
        if (isRefusal(frame)) return
        if (isIn) frame.bytes[offset] = data[0]!
        return yield* same("what was copied", data[0], frame.bytes[offset])
      }
      case "Notify": {
        const live = pick(shown(), command.holding)
        if (live === undefined) return
        const { domain } = live.model
        const { offset, port } = command
        const page = command.page % live.frames.length
        const frame = live.frames[page]!
        const isReadOnly = live.model._tag === "Mapping" && live.model.access === "read-only"
        const isClosed = port > domain.ports
        const expected = isReadOnly ? "InvalidInput: clearByte" : isClosed ? "InvalidInput: signalPort" : Model.ok
        const signalPort = port === 0 ? {} : { signalPort: port }
        yield* does("Notify", expected, live.unmapNotify({ clearByte: page * 4096 + offset, ...signalPort }))
        if (expected !== Model.ok) return
        live.model.notification = { clearByte: { frame, offset }, ...signalPort }
        // Else nobody would see it cleared.
        live.bytes[page * 4096 + offset] = 1
        frame.bytes[offset] = 1
        return
      }
      case "CancelNotify": {
        const live = pick(shown(), command.holding)
        if (live === undefined) return
        yield* does("CancelNotify", Model.ok, live.unmapNotify(undefined))
        live.model.notification = undefined
        return
      }
      case "End": {
        const live = pick(lives, command.holding)
        if (live === undefined) return
        yield* Scope.close(live.scope, Exit.void)
        return Model.end(live.model)
      }
      case "Limit": {
        if (!domains[command.domain]!.alive) return
        yield* xen.setSharedPages(ids[command.domain]!, command.pages)
        domains[command.domain]!.sharedPages = command.pages
        return
      }
      case "BindPort": {
        if (!domains[command.domain]!.alive) return
        return yield* same("a port", yield* xen.bindPort(ids[command.domain]!), ++domains[command.domain]!.ports)
      }
      case "Turn": {
        const { domain, to } = command
        const { alive } = domains[domain]!
        if (to === "alive" && !alive) yield* start(domain)
        if (to === "killed" && alive) {
          yield* xen.killProcess(ids[domain]!)
          Model.killProcess(model, domains[domain]!)
        }
        if (to === "dead") {
          yield* xen.destroy(ids[domain]!)
          Model.destroy(model, domains[domain]!)
        }
        return count(`Turn ${to}`)
      }
      case "Alloc": {
        const { access, by, pages, peer } = command
        const expected = Model.share(model, domains[by]!, pages + 1)
        const options = { peer: ids[peer]!, byteLength: pages * 4096, access }
        const made = yield* does("Alloc", expected, table(by)(SharedBuffer.alloc(options)))
        if (made === undefined) return
        const share = (yield* noteShare(made, by, peer, access, 1))!
        const directory = directoryOf(share)
        Model.wordsOf(directory).set(share.frames.slice(0, -1).map(({ ref }) => ref), 1)
        buffers.push({ share, pages, map: undefined })
        return yield* same("its directory", made.value.directory, directory.ref)
      }
      case "AllocByBackend": {
        const { by, pages, peer } = command
        const options = { peer: ids[peer]!, byteLength: pages * 4096 }
        const operation = table(by)(SharedBuffer.allocByBackend(options))
        const made = yield* does("AllocByBackend", Model.share(model, domains[by]!, 1), operation)
        if (made === undefined) return
        const [ref] = yield* newest
        yield* same("its directory", made.value.directory, ref)
        const share = Model.addShare(model, domains[by]!, ids[peer]!, [ref!], "read-write")
        if (typeof share === "string") return yield* same("a new share", share, "in order")
        buffers.push({ share, pages, map: made.value.map })
        // The directory itself is not shown to its owner.
        const nothing = { bytes: new Uint8Array(0), frames: [], unmapNotify: () => Effect.void }
        lives.push({ model: share, scope: made.scope, ...nothing })
        return
      }
      case "MapBuffer": {
        const peers = peersBuffer(command)
        if (peers === undefined) return
        const { by, options, pages, share } = peers
        const page = openDirectory(by, share, "read-only")
        const refs = isRefusal(page) ? page : Model.references(page, pages, [page.ref])
        const expected = isRefusal(refs)
          ? refs
          : Model.map(model, domains[by]!, share.domain.id, refs, options.access)
        const made = yield* does("MapBuffer", outcomeOf(expected), table(by)(PeerBuffer.map(options)))
        if (made !== undefined) noteMapping(made, by, expected as ReadonlyArray<Model.Frame>, options.access)
        return
      }
      case "Provide": {
        const peers = peersBuffer(command)
        if (peers === undefined) return
        const { by, options, pages, share } = peers
        const page = openDirectory(by, share, "read-write")
        const expected = isRefusal(page) ? page : Model.share(model, domains[by]!, pages)
        const made = yield* does("Provide", expected, table(by)(PeerBuffer.allocForFrontend(options)))
        if (made === undefined) return
        const provided = (yield* noteShare(made, by, ids.indexOf(share.domain.id), options.access, 0))!
        Model.wordsOf(page as Model.Frame).fill(0, 1).set(provided.frames.map(({ ref }) => ref), 1)
        return
      }
      case "MapProvided": {
        const buffer = pick(buffers.filter(({ map, share }) => map !== undefined && share.held), command.buffer)
        if (buffer === undefined) return
        const { domain, peer } = buffer.share
        const by = ids.indexOf(domain.id)
        const refs = Model.references(directoryOf(buffer.share), buffer.pages, [])
        const expected = isRefusal(refs) ? refs : Model.map(model, domain, peer, refs, command.access)
        const operation = buffer.map!({ access: command.access })
        const made = yield* does("MapProvided", outcomeOf(expected), operation)
        if (made !== undefined) noteMapping(made, by, expected as ReadonlyArray<Model.Frame>, command.access)
      }
    }
  })

  /** The page of a buffer's directory: the last one. */
  const directoryOf = ({ frames }: Model.Share): Model.Frame => frames.at(-1)!

  /** A buffer that a peer maps or provides: which, who does it, and with what. */
  const peersBuffer = ({ access, buffer: index, by }: Command & { readonly _tag: "MapBuffer" | "Provide" }) => {
    const buffer = pick(buffers, index)
    if (buffer === undefined) return
    const { pages, share } = buffer
    const options = { peer: share.domain.id, directory: directoryOf(share).ref, byteLength: pages * 4096, access }
    return { by: user(by, share), options, pages, share }
  }

  /** The page of a directory that is opened with this access, or what is wrong with it. */
  const openDirectory = (by: number, share: Model.Share, access: Model.Access) => {
    const opened = Model.map(model, domains[by]!, share.domain.id, [directoryOf(share).ref], access)
    if (isRefusal(opened)) return opened
    const chained = Model.chain(opened[0]!)
    return chained === Model.ok ? opened[0]! : chained
  }

  /** What is wrong with the live views. */
  const wrongViews = () =>
    lives.flatMap(({ bytes, frames, model: { held } }, i) => {
      const length = held ? frames.length * 4096 : 0
      if (bytes.length !== length) return [`view ${i} has ${bytes.length} bytes, but must have ${length}`]
      if (!held) return []
      return frames.flatMap((frame, page) => {
        const seen = Buffer.from(bytes.slice(page * 4096, (page + 1) * 4096).buffer)
        if (seen.equals(frame.bytes)) return []
        const at = frame.bytes.findIndex((byte, at) => seen[at] !== byte)
        return [`byte ${at} of page ${page} of view ${i} is ${seen[at]}, but must be ${frame.bytes[at]}`]
      })
    })

  /** All that can be seen of Xen must be as in the model. */
  const check = Effect.fnUntraced(function*() {
    yield* same("what is wrong with views", wrongViews().join("; "), "")
    const frames = new Set(model.domains.flatMap((domain) => Model.granted(model, domain)))
    yield* same("the frames in use", yield* xen.framesInUse, frames.size)
    const pinned = Array.from(frames, (frame) => {
      const { domain: { id }, access, peer } = frame.share
      return [id, frame.ref, peer, access, ...accesses.map((access) => Model.pins(model, frame, access))] as const
    }).filter(([, , , , readers, writers]) => readers! + writers! > 0)
    yield* sameLines(
      "the active grants",
      (yield* xen.activeGrants).map((grant) => Object.values(grant).join(" ")),
      pinned.map((grant) => grant.join(" "))
    )
    const held = [...model.shares, ...model.mappings].flatMap((held) => {
      const refs = held.frames.filter((frame) => held.held || held._tag === "Share" && frames.has(frame))
      if (refs.length === 0) return []
      const [tag, peer] = held._tag === "Share"
        ? [held.held ? "Share" : "Deferred", held.peer]
        : ["Mapping", held.granter.id]
      return [`${tag} ${held.domain.id} ${peer} ${refs.map(({ ref }) => ref)}`]
    })
    yield* sameLines(
      "what is held",
      (yield* xen.holdings).filter((held) => "refs" in held).map(({ _tag, domain, peer, refs }) =>
        `${_tag} ${domain} ${peer} ${refs}`
      ),
      held
    )
    for (const domain of domains.filter(({ alive }) => alive)) {
      yield* same(`the signals of domain ${domain.id}`, yield* xen.signals(domain.id), domain.signals)
    }
  })

  for (const index of ids.keys()) yield* start(index)
  for (const command of sequence.flatMap(withUse)) {
    number++
    yield* run(command)
    yield* check()
  }
  for (const { model, scope } of lives) {
    yield* Scope.close(scope, Exit.void)
    Model.end(model)
  }
  yield* check()
  yield* same("what is left in the end", yield* xen.framesInUse, 0)
}, Effect.scoped)
