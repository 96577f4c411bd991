/**
 * What must hold of xenstore, as any domain sees it.
 *
 * The laws write below `data` of their domains alone, which is a guest's own to write, and remove what they wrote.
 *
 * @since 0.2.0
 */

import type { Permissions } from "@xen-shbuf/core/NodePermissions"
import { NodeAccess } from "@xen-shbuf/core/NodePermissions"
import * as StorePath from "@xen-shbuf/core/StorePath"
import * as XenStore from "@xen-shbuf/core/XenStore"
import * as Arbitrary from "effect/Arbitrary"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Domains from "./Domains.ts"
import * as Generators from "./Generators.ts"
import { between, sameBytes } from "./internal/laws.ts"
import * as Law from "./Law.ts"

const law = Law.inSuite("XenStore")

/**
 * A place of the frontend's, empty, for the laws to write in; removed with all in it. Relative to its domain, and its own
 * for each peer: laws of several may run at the same time.
 */
const scratch = Effect.gen(function*() {
  const { backend, frontend } = yield* Domains.Domains
  const { store } = frontend
  const place = `data/laws-with-${backend.id}`
  yield* Effect.acquireRelease(
    // Nothing can be removed below what is not there, as `data` of dom0 may be.
    Effect.andThen(Effect.andThen(store.makeDirectory(place), store.remove(place)), store.makeDirectory(place)),
    () => Effect.orDie(store.remove(place))
  )
  return { store, place, peer: backend, id: frontend.id, absolute: `${StorePath.ofDomain(frontend.id)}/${place}` }
})

const name = Arbitrary.schema(Schema.Literals(["a", "b", "c", "long-name_of@a-node", "0"]))
const path = Arbitrary.map(Arbitrary.array(name, { minLength: 1, maxLength: 4 }), (names) => names.join("/"))

const whatIsWrittenIsRead = law("what is written is read, byte for byte, and is a copy", function*() {
  const { absolute, place, store } = yield* scratch
  yield* Law.forAll(Arbitrary.all({ length: between(0, 1500), seed: Generators.seed }), Effect.fnUntraced(
    function*({ length, seed }) {
      const value = Generators.bytes(seed, length)
      yield* store.write(`${place}/value`, value)
      const read = yield* store.read(`${absolute}/value`)
      yield* sameBytes("the value", read, value)
      read.fill(0)
      yield* sameBytes("the value, after a change of what was read", yield* store.read(`${absolute}/value`), value)
    }
  ))
})

const textAndNumbers = law("text that is not UTF-8 and numbers that are none are refused, with their path", function*() {
  const { place, store } = yield* scratch
  const node = `${place}/value`
  yield* store.write(node, Uint8Array.of(0xff, 0x41))
  const reason = yield* Law.refused("InvalidValue", store.readText(node))
  yield* Law.equal("the path", reason.path, node)
  for (const text of ["", "01", "-1", "1e3", " 1", "1\n", "0x1", "4294967296", "1.0", "é"]) {
    yield* store.write(node, text)
    yield* Law.equal("the text", yield* store.readText(node), text)
    yield* Law.refused("InvalidValue", store.readSchema(node, XenStore.Decimal))
  }
  for (const number of [0, 1, 10, 4294967295]) {
    yield* store.write(node, String(number))
    yield* Law.equal("the number", yield* store.readSchema(node, XenStore.Decimal), number)
  }
})

const whatIsMissing = law("what is missing is not found; to remove it is no failure unless what is above is missing", function*() {
  const { place, store } = yield* scratch
  const missing = `${place}/none`
  for (const look of [store.read, store.directory, store.permissions]) {
    const reason = yield* Law.refused("NotFound", look(missing))
    yield* Law.equal("the path", reason.path, missing)
  }
  yield* store.remove(missing)
  yield* Law.refused("NotFound", store.remove(`${missing}/below`))
})

/** The nodes that exist when these were written, with those above them. */
const closure = (paths: ReadonlyArray<string>): ReadonlySet<string> =>
  new Set(paths.flatMap((path) => path.split("/").map((_, i, names) => names.slice(0, i + 1).join("/"))))

const directoriesList = law("writing makes what is above; a directory lists each name once; removal takes all below", function*() {
  const { place, store } = yield* scratch
  yield* Law.forAll(Arbitrary.array(path, { minLength: 1, maxLength: 8 }), Effect.fnUntraced(function*(paths) {
    yield* Effect.forEach(paths, (path) => store.write(`${place}/${path}`, path), { discard: true })
    const nodes = closure(paths)
    for (const node of ["", ...nodes]) {
      const depth = node === "" ? 1 : node.split("/").length + 1
      const start = node === "" ? "" : `${node}/`
      const below = [...nodes].filter((path) => path.startsWith(start) && path.split("/").length === depth)
      const names = yield* store.directory(node === "" ? place : `${place}/${node}`)
      yield* Law.equal(`the names below ${node}`, [...names].toSorted(), below.map((path) => path.slice(start.length)).toSorted())
    }
    for (const first of yield* store.directory(place)) yield* store.remove(`${place}/${first}`)
    for (const node of nodes) yield* Law.refused("NotFound", store.read(`${place}/${node}`))
  }))
})

const bigDirectories = law("a directory of more than 4096 bytes comes as a whole", function*() {
  const { id, place, store } = yield* scratch
  // A guest's quota for a node is less than that.
  if (id !== 0) return
  const names = Array.from({ length: 400 }, (_, i) => `a-name-of-some-length-${i}`)
  yield* store.transaction((nodes) => Effect.forEach(names, (name) => nodes.write(`${place}/${name}`, ""), { discard: true }))
  yield* Law.equal("the names", [...yield* store.directory(place)].toSorted(), names.toSorted())
})

const pathsAreChecked = law("a path that can't be is refused, and so is a value that is too long", function*() {
  const { place, store } = yield* scratch
  const bad = ["", "a//b", "a/", "/a/", "a b", "a\0b", "ü", `/${"x".repeat(3072)}`, "x".repeat(2049), 5 as never]
  for (const path of bad) {
    const reason = yield* Law.refused("InvalidInput", store.read(path))
    yield* Law.equal("the argument", reason.argument, "path")
    yield* Law.refused("InvalidInput", store.write(path, ""))
    yield* Law.refused("InvalidInput", Stream.runDrain(store.watch(path)))
  }
  yield* Law.refused("InvalidInput", store.write(`${place}/value`, 5 as never))
  yield* Law.refused("TooLong", store.write(`${place}/value`, "x".repeat(4097)))
})

const Ending = Schema.Literals(["succeed", "fail", "die", "interrupt"])

const transactionsAreWhole = law("all of a transaction happens, or nothing", function*() {
  const { place, store } = yield* scratch
  const inputs = Arbitrary.all({ paths: Arbitrary.array(path, { minLength: 1, maxLength: 6 }), ending: Arbitrary.schema(Ending) })
  const ends = { succeed: Effect.void, fail: Effect.fail("no"), die: Effect.die("no"), interrupt: Effect.interrupt }
  yield* Law.forAll(inputs, Effect.fnUntraced(function*({ ending, paths }) {
    const exit = yield* Effect.exit(store.transaction((nodes) =>
      Effect.gen(function*() {
        for (const path of paths) {
          yield* nodes.write(`${place}/${path}`, path)
          yield* Law.equal("what it wrote itself", yield* nodes.readText(`${place}/${path}`), path)
          yield* Law.refused("NotFound", store.read(`${place}/${path}`))
        }
        yield* ends[ending]
      })
    ))
    yield* Law.equal("its success", Exit.isSuccess(exit), ending === "succeed")
    yield* Law.equal("whether something was written", (yield* store.directory(place)).length > 0, ending === "succeed")
    for (const first of yield* store.directory(place)) yield* store.remove(`${place}/${first}`)
  }))
})

const transactionsAreRetried = law("a transaction runs again when others change what it used, so often and no more", function*() {
  const { place, store } = yield* scratch
  const node = `${place}/number`
  yield* Law.forAll(between(0, 6), Effect.fnUntraced(function*(others) {
    yield* store.write(node, "0")
    let tries = 0
    const result = yield* store.transaction((nodes) =>
      Effect.gen(function*() {
        const before = yield* nodes.readSchema(node, XenStore.Decimal)
        if (tries++ < others) yield* store.write(node, String(before + 1))
        yield* nodes.write(node, String(before + 100))
        return before
      }), { attempts: 7 })
    yield* Law.equal("what it read, and how often it ran", [result, tries], [others, others + 1])
    yield* Law.equal("the number", yield* store.readText(node), String(others + 100))
  }))
  const stubborn = store.transaction((nodes) =>
    Effect.andThen(nodes.read(node), Effect.andThen(store.write(node, "again"), nodes.write(node, "never"))), { attempts: 3 })
  const { attempts } = yield* Law.refused("Conflict", stubborn)
  yield* Law.equal("the attempts", attempts, 3)
  yield* Law.equal("the value", yield* store.readText(node), "again")
})

const othersAreNoConflict = law("what others change elsewhere is no conflict", function*() {
  const { place, store } = yield* scratch
  yield* store.write(`${place}/a`, "1")
  yield* store.write(`${place}/b`, "1")
  yield* store.transaction((nodes) =>
    Effect.gen(function*() {
      yield* nodes.read(`${place}/a`)
      yield* store.write(`${place}/b`, "2")
      yield* nodes.write(`${place}/a`, "2")
    }), { attempts: 1 })
})

/** Watches, and gives all that is told until the path `last` is among it. */
const until = Effect.fnUntraced(function*(store: Domains.Party["store"], watched: string, last: string, paths?: number) {
  const ready = yield* Deferred.make<void>()
  const told: Array<string> = []
  const fiber = yield* Effect.forkScoped(
    Stream.runDrain(Stream.takeUntil(
      Stream.tap(store.watch(watched, { paths }), (path) => {
        told.push(path)
        return Deferred.succeed(ready, undefined)
      }),
      (path) => path === last
    )),
    { startImmediately: true }
  )
  // It tells of the path itself at once.
  yield* Effect.raceFirst(Deferred.await(ready), Fiber.join(fiber))
  const all = Fiber.join(fiber).pipe(
    Effect.as(told),
    Effect.timeoutOrElse({
      duration: "20 seconds",
      orElse: () => Effect.fail(new Law.LawViolation({ detail: `${last} is not told in 20 seconds, only ${told}` }))
    })
  )
  return { told, all }
})

const watchesTell = law("a watch tells at once, and of each change at its path or below, whoever makes it", function*() {
  const { absolute, id, peer, place, store } = yield* scratch
  yield* store.write(`${place}/w/x`, "")
  // Both may read and write there, and what they make has the same permissions.
  yield* store.setPermissions(`${place}/w`, { owner: id, others: "both" })
  const parties = [{ store, watched: `${place}/w` }, { store: peer.store, watched: `${absolute}/w` }]
  const party = between(0, 1)
  const inputs = Arbitrary.all({ watcher: party, changes: Arbitrary.array(Arbitrary.all({ path, writer: party }), { maxLength: 6 }) })
  yield* Law.forAll(inputs, Effect.fnUntraced(function*({ changes, watcher }) {
    const { store: watching, watched } = parties[watcher]!
    const { all } = yield* until(watching, watched, `${watched}/last`)
    for (const { path, writer } of changes) yield* parties[writer]!.store.write(`${absolute}/w/${path}`, "x")
    yield* store.write(`${place}/beside`, "x")
    yield* store.write(`${place}/w/last`, "x")
    const told = yield* all
    yield* Law.equal("what is told first", told[0], watched)
    const expected = new Set([watched, `${watched}/last`, ...changes.map(({ path }) => `${watched}/${path}`)])
    yield* Law.equal("what is told", [...new Set(told)].toSorted(), [...expected].toSorted())
  }))
})

const watchesTellOfRemoval = law("a watch tells when its node goes, or goes with one above it", function*() {
  const { absolute, place, store } = yield* scratch
  for (const gone of ["w/x/y", "w/x", "w"]) {
    yield* store.write(`${place}/w/x/y`, "")
    const watched = `${absolute}/w/x/y`
    const { told } = yield* until(store, watched, "")
    yield* store.remove(`${place}/${gone}`)
    // Another watch tells of something later: by then the first has told.
    const later = yield* until(store, `${place}/later`, `${place}/later/last`)
    yield* store.write(`${place}/later/last`, "")
    yield* later.all
    yield* Law.equal(`what is told when ${gone} goes`, told, [watched, watched])
  }
})

const watchesAreBounded = law("a watch that nobody reads keeps so many paths, then only that all is to be looked at", function*() {
  const { place, store } = yield* scratch
  const go = yield* Deferred.make<void>()
  const begun = yield* Deferred.make<void>()
  const told: Array<string> = []
  yield* store.makeDirectory(`${place}/w`)
  const slow = yield* Effect.forkChild(
    Stream.runForEach(Stream.takeUntil(store.watch(`${place}/w`, { paths: 3 }), (path) => path.endsWith("/end")), (path) => {
      told.push(path)
      return Effect.andThen(Deferred.succeed(begun, undefined), Deferred.await(go))
    }),
    { startImmediately: true }
  )
  yield* Deferred.await(begun)
  const quick = yield* until(store, `${place}/w`, `${place}/w/49`)
  for (let i = 0; i < 50; i++) yield* store.write(`${place}/w/${i}`, "")
  yield* quick.all
  yield* Deferred.succeed(go, undefined)
  yield* store.write(`${place}/w/end`, "")
  yield* Fiber.join(slow)
  yield* Law.holds(told.slice(1).includes(`${place}/w`), `it does not say that all is to be looked at, but ${told}`)
  yield* Law.holds(told.length <= 1 + 3 + 3, `it kept ${told.length} paths`)
})

const watchesEnd = law("a watch ends with its stream, and so does a transaction that is interrupted", function*() {
  const { place, store } = yield* scratch
  // More than a guest's quotas, one after the other.
  yield* Effect.forEach(Array.from({ length: 150 }), () => Stream.runDrain(Stream.take(store.watch(place), 1)), { discard: true })
  yield* Law.interrupted(Stream.runDrain(Stream.take(store.watch(place), 1)))
  yield* Law.interrupted(store.transaction((nodes) => nodes.write(`${place}/value`, "")))
  yield* Effect.forEach(Array.from({ length: 12 }), () => store.transaction((nodes) => nodes.directory(place)), { discard: true })
})

const permissionsAreKept = law("permissions are what they were set to", function*() {
  const { id, place, store } = yield* scratch
  const access = Arbitrary.schema(NodeAccess)
  const inputs = Arbitrary.all({
    others: access,
    domains: Arbitrary.array(Arbitrary.all({ domain: between(1, 0x7fef), access }), { maxLength: 3 })
  })
  yield* store.write(`${place}/value`, "")
  yield* Law.forAll(inputs, Effect.fnUntraced(function*({ domains, others }) {
    yield* store.setPermissions(`${place}/value`, { owner: id, others, domains })
    const expected: Permissions = { owner: id, others, domains: domains as never }
    yield* Law.equal("the permissions", yield* store.permissions(`${place}/value`), expected)
  }))
  for (const owner of [-1, 1.5, 0x7ff0]) {
    yield* Law.refused("InvalidInput", store.setPermissions(`${place}/value`, { owner, others: "none" }))
  }
  yield* Law.refused("InvalidInput", store.setPermissions(`${place}/value`, { owner: id, others: "all" as never }))
})

const permissionsHold = law("a peer may do what it was permitted, and no more", function*() {
  const { absolute, id, peer, place, store } = yield* scratch
  // Dom0 may do all.
  if (peer.id === 0 || peer.id === id) return
  const node = `${absolute}/value`
  yield* store.write(`${place}/value`, "ours")
  for (const access of ["none", "read", "write", "both"] as const) {
    for (const named of [true, false]) {
      yield* store.setPermissions(`${place}/value`, {
        owner: id,
        others: named ? "none" : access,
        ...(named ? { domains: [{ domain: peer.id, access }] } : {})
      })
      const mayRead = access === "read" || access === "both"
      const mayWrite = access === "write" || access === "both"
      yield* mayRead ? peer.store.read(node) : Law.refused("AccessDenied", peer.store.read(node))
      yield* mayWrite ? peer.store.write(node, "theirs") : Law.refused("AccessDenied", peer.store.write(node, "theirs"))
      yield* Law.refused("AccessDenied", peer.store.setPermissions(node, { owner: peer.id, others: "both" }))
    }
  }
})

const weAreWho = law("a domain knows its own id", function*() {
  const { backend, frontend } = yield* Domains.Domains
  yield* Law.equal("the frontend's", yield* frontend.store.ownId, frontend.id)
  yield* Law.equal("the backend's", yield* backend.store.ownId, backend.id)
})

const fibersTakeTurns = law("fibers can use it at the same time, and each gets its own answer", function*() {
  const { place, store } = yield* scratch
  // Xen lets a guest have ten transactions at one time.
  yield* Law.forAll(between(2, 9), Effect.fnUntraced(function*(count) {
    const all = yield* Effect.forEach(Array.from({ length: count }, (_, i) => i), (i) =>
      Effect.gen(function*() {
        yield* store.write(`${place}/${i}`, `value ${i}`)
        const added = yield* store.transaction((nodes) =>
          Effect.map(nodes.readText(`${place}/${i}`), (text) => text), { attempts: 100 })
        return added
      }), { concurrency: "unbounded" })
    yield* Law.equal("the answers", all, Array.from({ length: count }, (_, i) => `value ${i}`))
  }))
})

const manyAtOnce = law("more fibers than a guest may have transactions can each do one at once", function*() {
  const { place, store } = yield* scratch
  const numbers = Array.from({ length: 40 }, (_, i) => i)
  yield* Effect.forEach(numbers, (i) => store.write(`${place}/${i}`, "before"), { discard: true })
  yield* Effect.forEach(numbers, (i) =>
    store.transaction((nodes) =>
      Effect.flatMap(nodes.readText(`${place}/${i}`), (text) => nodes.write(`${place}/${i}`, `${text} ${i}`))), {
    concurrency: "unbounded",
    discard: true
  })
  const texts = yield* Effect.forEach(numbers, (i) => store.readText(`${place}/${i}`))
  yield* Law.equal("what they wrote", texts, numbers.map((i) => `before ${i}`))
})

const finalizersWork = law("a transaction and a watch work in a finalizer of a fiber that is interrupted", function*() {
  const { place, store } = yield* scratch
  const node = `${place}/value`
  yield* store.write(node, "before")
  const ready = yield* Deferred.make<void>()
  const told: Array<string> = []
  const atTheEnd = Effect.andThen(
    store.transaction((nodes) => nodes.write(node, "after")),
    Stream.runForEach(Stream.take(store.watch(node), 1), (path) => Effect.sync(() => void told.push(path)))
  )
  const fiber = yield* Effect.forkChild(
    Effect.onInterrupt(Effect.andThen(Deferred.succeed(ready, undefined), Effect.never), () => Effect.ignoreCause(atTheEnd)),
    { startImmediately: true }
  )
  yield* Deferred.await(ready)
  yield* Fiber.interrupt(fiber)
  yield* Law.equal("the value", yield* store.readText(node), "after")
  yield* Law.equal("what is told", told, [node])
})

/**
 * The laws.
 *
 * @category laws
 * @since 0.2.0
 */
export const laws: ReadonlyArray<Law.Law> = [
  whatIsWrittenIsRead,
  textAndNumbers,
  whatIsMissing,
  directoriesList,
  bigDirectories,
  pathsAreChecked,
  transactionsAreWhole,
  transactionsAreRetried,
  othersAreNoConflict,
  watchesTell,
  watchesTellOfRemoval,
  watchesAreBounded,
  watchesEnd,
  permissionsAreKept,
  permissionsHold,
  weAreWho,
  fibersTakeTurns,
  manyAtOnce,
  finalizersWork
]
