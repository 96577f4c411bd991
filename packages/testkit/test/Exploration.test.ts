import { afterAll, assert, describe, it } from "@effect/vitest"
import type { DirectoryError } from "@xen-shbuf/core/DirectoryError"
import type { GrantTable } from "@xen-shbuf/core/GrantTable"
import type { GrantTableError } from "@xen-shbuf/core/GrantTableError"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as Exploration from "@xen-shbuf/testkit/Exploration"
import * as Faults from "@xen-shbuf/testkit/Faults"
import * as Generators from "@xen-shbuf/testkit/Generators"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"

const frontend = 1
const backend = 2

type Failure = GrantTableError | DirectoryError

type Program = (stage: Exploration.Stage) => Effect.Effect<unknown, Failure, Scope.Scope>

/** On both sides of one page, and of one and two pages of directory. */
const sizes = Generators.byteLengths().filter((byteLength) => byteLength !== 2045 * 4096 - 1)

/** An acquisition in a domain, which must leave nothing behind when it fails, though its scope goes on. */
const acquire = (stage: Exploration.Stage, domain: number) =>
<A, R>(buffer: Effect.Effect<A, Failure, R | GrantTable>) =>
  Effect.suspend(() => {
    const before = stage.live().length
    const undone = () => stage.live().length === before ? Effect.void : Effect.die(new Error("half of it is still held"))
    return Effect.tapError(stage.runIn(domain)(buffer), undone)
  })

const alloc = (stage: Exploration.Stage, byteLength: number) =>
  SharedBuffer.alloc({ peer: backend, byteLength }).pipe(acquire(stage, frontend))

/** What an interruption leaves to the scope that goes on is nothing, or a buffer that is complete. */
const interruptedAlone: Program = (stage) =>
  alloc(stage, 1).pipe(Effect.onInterrupt(() => {
    const halves = stage.live().filter((bytes) => {
      const { buffer } = SharedMemory.unsafeBytes(bytes)
      // The directory's first reference, behind the buffer's page.
      return new Uint32Array(buffer)[1025] === 0
    })
    return halves.length === 0 ? Effect.void : Effect.die(new Error("a directory is held without its buffer"))
  }))

const mapped = (stage: Exploration.Stage, byteLength: number) =>
  Effect.flatMap(alloc(stage, byteLength), ({ directory }) =>
    PeerBuffer.map({ peer: frontend, directory, byteLength }).pipe(acquire(stage, backend)))

const provided = Effect.fnUntraced(function*(stage: Exploration.Stage, byteLength: number) {
  const buffer = yield* SharedBuffer.allocByBackend({ peer: backend, byteLength }).pipe(acquire(stage, frontend))
  const at = { peer: frontend, directory: buffer.directory, byteLength }
  yield* PeerBuffer.allocForFrontend(at).pipe(acquire(stage, backend))
  yield* buffer.map().pipe(acquire(stage, frontend))
})

const walked = Effect.fnUntraced(function*(stage: Exploration.Stage, byteLength: number) {
  const { directory } = yield* alloc(stage, byteLength)
  const { problem } = yield* PeerBuffer.walk({ peer: frontend, directory, byteLength }).pipe(acquire(stage, backend))
  // A refused grant is what a walk is for: it tells instead of failing.
  if (problem !== undefined) return yield* problem
})

const programs: { readonly [name: string]: (stage: Exploration.Stage, byteLength: number) => ReturnType<Program> } = {
  "a buffer is allocated": alloc,
  "a buffer is allocated and mapped": mapped,
  "a buffer is provided by the backend": provided,
  "a directory is walked": walked
}

/** All three at once, in scopes of their own below `parent`, which end in this order. */
const endInOrder = (order: ReadonlyArray<number>): Program => (stage) =>
  Effect.gen(function*() {
    const parent = yield* Effect.scope
    const scopes: Array<Scope.Closeable> = []
    for (const program of [mapped, provided, alloc]) {
      const scope = yield* Scope.fork(parent)
      scopes.push(scope)
      yield* Scope.provide(program(stage, 4097), scope)
    }
    for (const i of order) yield* Scope.close(scopes[i]!, Exit.void)
  })

/** Each in a scope within that of the one before; the middle one ends first, then the innermost (again). */
const endNested: Program = (stage) =>
  Effect.gen(function*() {
    const outer = yield* Effect.scope
    yield* mapped(stage, 1)
    const middle = yield* Scope.fork(outer)
    yield* Scope.provide(provided(stage, 4096), middle)
    const inner = yield* Scope.fork(middle)
    yield* Scope.provide(mapped(stage, 4097), inner)
    yield* Scope.close(middle, Exit.void)
    yield* Scope.close(inner, Exit.void)
  })

/** Ends a buffer, and the directory of another, before their scopes do: with the peer's consent, or without it. */
const endEarly = (consent: Effect.Effect<void>, otherwise: "keep" | "abandon", left: number): Program => (stage) =>
  Effect.gen(function*() {
    const at = { peer: backend, byteLength: 4097 }
    const first = yield* SharedBuffer.alloc(at).pipe(acquire(stage, frontend))
    const second = yield* SharedBuffer.allocByBackend(at).pipe(acquire(stage, frontend))
    for (const { end } of [first, second]) yield* end({ consent, within: "1 millis", otherwise })
    const { length } = stage.live()
    if (length !== left) return yield* Effect.die(new Error(`${length} are left instead of ${left}`))
  })

/** Three buffers, one of them mapped twice, each made by a fiber of its own. */
const concurrently: Program = (stage) =>
  Effect.all([
    SharedBuffer.alloc({ peer: backend, byteLength: 1 }).pipe(stage.runIn(frontend)),
    SharedBuffer.alloc({ peer: backend, byteLength: 4097 }).pipe(
      stage.runIn(frontend),
      Effect.flatMap(({ directory }) =>
        Effect.all([0, 1].map(() =>
          PeerBuffer.map({ peer: frontend, directory, byteLength: 4097 }).pipe(stage.runIn(backend))
        ), { concurrency: "unbounded" })
      )
    ),
    SharedBuffer.allocByBackend({ peer: backend, byteLength: 4096 }).pipe(
      stage.runIn(frontend),
      Effect.tap(({ directory }) =>
        PeerBuffer.allocForFrontend({ peer: frontend, directory, byteLength: 4096 }).pipe(stage.runIn(backend))
      ),
      Effect.flatMap((buffer) => Effect.scoped(buffer.map()))
    )
  ], { concurrency: "unbounded" })

/** None is the order of a scope, which ends what is newest first. */
const orders = [[0, 1, 2], [0, 2, 1], [1, 2, 0], [2, 0, 1]]

let total = 0
const counts: Array<string> = []

const test = (name: string, program: Program, options?: Exploration.Options) =>
  it.live(name, () =>
    Effect.gen(function*() {
      const { failures, interruptions, runs } = yield* Exploration.explore([frontend, backend], program, options)
      total += runs
      counts.push(`${runs} runs (${failures} failures, ${interruptions} interruptions): ${name}`)
    }).pipe(Effect.provide(TestXen.layer({ sharedPages: 16_384 }))), 60_000)

describe("Every step fails, every step is interrupted", () => {
  for (const [name, program] of Object.entries(programs)) {
    for (const byteLength of sizes) test(`${name}, ${byteLength} bytes`, (stage) => program(stage, byteLength))
  }
  test("a buffer is allocated in a scope that goes on", interruptedAlone)
  for (const order of orders) test(`three buffers end in the order ${order}`, endInOrder(order))
  test("buffers end in nested scopes", endNested)
  test("buffers end early, with the peer's consent", endEarly(Effect.void, "keep", 0))
  test("buffers end early, abandoned", endEarly(Effect.never, "abandon", 0))
  test("buffers are kept, without the peer's consent", endEarly(Effect.never, "keep", 2))
  for (const stepsPerTurn of [2048, 5]) {
    test(`fibers work side by side, ${stepsPerTurn} steps a turn`, concurrently, {
      stepsPerTurn,
      firstFiber: true
    })
  }
  // Vitest shows it above the suite: the figures of the last run.
  afterAll(() => console.log([...counts, `${total} runs in all`].join("\n")))
})

/** What is wrong with a program, as an exploration sees it. */
const finding = (program: Program, options?: Exploration.Options) =>
  Effect.map(Effect.flip(Exploration.explore([frontend, backend], program, options)), ({ message }) => message)

const faulty: { readonly [fault: string]: { readonly program: Program; readonly finding: RegExp } } = {
  "swallows an error": {
    program: (stage) => Effect.ignore(alloc(stage, 1)),
    finding: /^operation 1 on the grant table of domain 1 fails with InvalidInput: out came a success/
  },
  "makes a defect of an error": {
    program: (stage) => Effect.orDie(alloc(stage, 1)),
    finding: /^operation 1 on the grant table of domain 1 fails with InvalidInput: out came GrantTableError/
  },
  "makes a failure of an interruption": {
    program: (stage) =>
      Effect.forkScoped(alloc(stage, 1)).pipe(
        Effect.flatMap(Fiber.await),
        Effect.flatMap((exit) => Exit.hasInterrupts(exit) ? Effect.die(new Error("interrupted")) : exit)
      ),
    finding: /^the running fiber is interrupted before step \d+ of the runtime: out came Error: interrupted/
  },
  "loses what it holds when interrupted": {
    program: (stage) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        yield* Effect.onError(Scope.provide(alloc(stage, 1), scope), () => Scope.close(scope, Exit.void))
        yield* Effect.addFinalizer((exit) => Scope.close(scope, exit))
      }),
    finding: /^the running fiber is interrupted before step \d+ of the runtime: 1 leak:\ndomain 1 shares 2 pages/
  },
  "holds half of it after a failure": {
    program: (stage) => Effect.andThen(alloc(stage, 1), mapped(stage, 1)).pipe(acquire(stage, frontend)),
    finding: /fails with InvalidInput: out came .*half of it is still held/s
  },
  "waits for ever once it is disturbed": {
    program: (stage) =>
      Effect.gen(function*() {
        const answer = yield* Deferred.make<void>()
        // The fiber that is to answer ends without a word when it fails.
        yield* Effect.forkChild(Effect.ignore(Effect.andThen(alloc(stage, 1), Deferred.succeed(answer, undefined))))
        yield* Deferred.await(answer)
      }),
    finding: /^operation 1 on the grant table of domain 1 fails with InvalidInput: it has not ended after 300ms\. It waits for something/
  },
  "waits for ever, and can't be interrupted": {
    program: (stage) =>
      Effect.uninterruptible(Effect.catch(alloc(stage, 1), () => Effect.never)),
    finding: /^operation 1 on the grant table of domain 1 fails with InvalidInput: it has not ended after 300ms/
  },
  "runs in a domain that is not explored": {
    program: (stage) => SharedBuffer.alloc({ peer: backend, byteLength: 1 }).pipe(stage.runIn(9)),
    finding: /^undisturbed: out came Error: Domain 9 is not among those that are explored: 1, 2\. Add it to the list\./
  },
  "never lets go": {
    program: (stage) => Effect.flatMap(Scope.make(), (scope) => Scope.provide(alloc(stage, 1), scope)),
    finding: /^undisturbed: 1 leak:/
  }
}

describe("An exploration finds a program that", () => {
  for (const [fault, { finding: expected, program }] of Object.entries(faulty)) {
    it.live(fault, () =>
      Effect.gen(function*() {
        assert.match(yield* finding(program, { firstFiber: true, within: "300 millis" }), expected)
      }).pipe(Effect.provide(TestXen.layer())))
  }

  it.effect("waits for a time that the test's clock never reaches, in a run that is not given up by that clock", () =>
    Effect.gen(function*() {
      const sleeps: Program = (stage) => Effect.andThen(alloc(stage, 1), Effect.sleep("1 second"))
      assert.match(yield* finding(sleeps, { within: "100 millis" }), /^undisturbed: it has not ended after 100ms/)
    }).pipe(Effect.provide(TestXen.layer())))
})

class Full extends Data.TaggedError("Full")<{}> {}
class Gone extends Data.TaggedError("Gone")<{}> {}
class CounterError extends Data.TaggedError("CounterError")<{ readonly reason: Full | Gone }> {}

/** A service that is no grant table. */
class Counter extends Context.Service<Counter, {
  readonly next: Effect.Effect<number, CounterError>
  readonly reset: Effect.Effect<void, CounterError>
}>()("Counter") {}

const counter = Exploration.subject<Counter, "next" | "reset", Full | Gone>({
  name: "counter",
  reasons: { next: [new Full(), new Gone()], reset: [new Gone()] },
  make: (domain, plan) =>
    Effect.sync(() => {
      const { decorate, journal } = Faults.decorator(plan, (_: "next" | "reset", reason: Full | Gone) =>
        new CounterError({ reason }))
      let count = domain
      const next = decorate("next", Effect.sync(() => ++count))
      const reset = decorate("reset", Effect.sync(() => void (count = domain)))
      return { context: Context.make(Counter, { next, reset }), journal }
    })
})

const count = Effect.flatMap(Counter, ({ next, reset }) => Effect.andThen(next, Effect.andThen(reset, next)))

describe("An exploration of several services", () => {
  const both = [Exploration.grantTable, counter]

  it.effect("fails each operation of each for each of its reasons, in each domain", () =>
    Effect.gen(function*() {
      const alone = yield* Exploration.explore([frontend], (stage) => alloc(stage, 1))
      const program = (stage: Exploration.Stage<GrantTable | Counter>) =>
        Effect.all([stage.runIn(frontend)(Effect.andThen(SharedBuffer.alloc({ peer: backend, byteLength: 1 }), count)),
          stage.runIn(backend)(count)])
      const { failures } = yield* Exploration.exploreServices(both, [frontend, backend], program)
      assert.strictEqual(failures, alone.failures + 2 * (2 + 1 + 2))
    }).pipe(Effect.provide(TestXen.layer())))

  it.effect("finds the one whose error is swallowed", () =>
    Effect.gen(function*() {
      const { message } = yield* Effect.flip(Exploration.exploreServices(both, [frontend, backend], (stage) =>
        Effect.andThen(stage.runIn(frontend)(count), Effect.ignore(stage.runIn(backend)(count)))))
      assert.match(message, /^operation 1 on the counter of domain 2 fails with Full: out came a success/)
    }).pipe(Effect.provide(TestXen.layer())))
})
