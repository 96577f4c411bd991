/**
 * Three domains that do anything with xenstore and with event channels, in transactions and out of them: each answer must
 * be the one that plain models give, each watch must tell what changed and no more, and nothing may be left.
 */
import type { EventChannel } from "@xen-shbuf/core/EventChannels"
import * as XenStore from "@xen-shbuf/core/XenStore"
import type { XenStoreError } from "@xen-shbuf/core/XenStoreError"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Traces from "../../../packages/xenbus/test/Traces.ts"
import * as Model from "./StoreModel.ts"

const ids = [0, 1, 2] as const

/** Where all is written: of the victim, and of the hostile guest. */
const places = ["/local/domain/1/data", "/local/domain/2/data"] as const

/** Paths below a place: few, so that domains meet. */
const paths = [
  ...["", "/a", "/a", "/a/b", "/a/b", "/a/b/c", "/x"],
  ...[`/${"n".repeat(500)}`, `/a/${"m".repeat(700)}`, `/a/${"o".repeat(1200)}`]
]

/** What stands for a peer's value: one byte a character. */
const values = [
  ...["", "0", "1", "7", "4294967295", "4294967296", "01", "-1", " 7", "7\n", "\xff\xfe", "\0", "\x1b[2J"],
  ...["x".repeat(1800), "x".repeat(2041), "y".repeat(4000)]
]

const accesses = ["none", "read", "write", "both"] as const

const operations = [
  ...["read", "directory", "permissions", "makeDirectory", "makeDirectory", "remove"],
  ...["write", "write", "write", "write", "setPermissions", "setPermissions"]
] as ReadonlyArray<Model.Operation["_tag"]>

/** Somebody does something with a node. */
interface Act {
  readonly who: number
  readonly path: string
  readonly operation: Model.Operation
}

/** One step: an act, a transaction of some domain in which others act meanwhile, or something about channels. */
type Step =
  | { readonly _tag: "Act"; readonly act: Act }
  | { readonly _tag: "Transaction"; readonly who: number; readonly acts: ReadonlyArray<Act>; readonly fails: boolean }
  | { readonly _tag: "Decimal"; readonly n: number }
  | ChannelStep

interface ChannelStep {
  readonly _tag: typeof channelSteps[number]
  readonly who: number
  readonly peer: number
  readonly n: number
}

const channelSteps = ["Listen", "Listen", "Join", "Join", "Notify", "Notify", "Take", "Take", "Take", "Close"] as const

/** Numbers below a bound, the same ones for the same seed. */
const random = (seed: number) => (bound: number) => {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) % bound
}

type Below = ReturnType<typeof random>

const oneOf = <A>(below: Below, values: ReadonlyArray<A>): A => values[below(values.length)]!

const operation = (below: Below): Model.Operation => {
  const _tag = oneOf(below, operations)
  if (_tag === "write") return { _tag, value: oneOf(below, values) }
  if (_tag !== "setPermissions") return { _tag }
  const domains = below(2) === 0 ? [] : [{ domain: oneOf(below, ids), access: oneOf(below, accesses) }]
  return { _tag, permissions: { owner: oneOf(below, ids), others: oneOf(below, accesses), domains } }
}

const act = (below: Below, who = oneOf(below, [0, 1, 2, 2])): Act => {
  const isOwn = below(3) > 0
  return { who, path: places[(who === 2) === isOwn ? 1 : 0] + oneOf(below, paths), operation: operation(below) }
}

const step = (below: Below): Step => {
  const kind = below(8)
  if (kind === 0) return { _tag: "Decimal", n: below(100) }
  if (kind > 2) return { _tag: "Act", act: act(below) }
  const who = oneOf(below, ids)
  const acts = Array.from({ length: below(7) }, () => act(below, below(3) > 0 ? who : undefined))
  return { _tag: "Transaction", who, acts, fails: below(4) === 0 }
}

const channelStep = (below: Below): ChannelStep => ({
  _tag: oneOf(below, channelSteps),
  who: oneOf(below, ids),
  peer: oneOf(below, [0, 1, 2, 77]),
  n: below(5)
})

/** The steps of a case: of xenstore, or of event channels. */
const steps = (seed: number): ReadonlyArray<Step> => {
  const below = random(seed)
  const make: (below: Below) => Step = below(2) === 0 ? step : channelStep
  return Array.from({ length: 1 + below(20) }, () => make(below))
}

const bytes = (value: string) => Buffer.from(value, "latin1")

/** What the service says, in the words of the model. */
const said = <A>(effect: Effect.Effect<A, XenStoreError>, show: (value: A) => string): Effect.Effect<string> =>
  Effect.match(effect, {
    onSuccess: show,
    onFailure: ({ reason }) => reason._tag === "QuotaExceeded" ? `${reason._tag} ${reason.quota}` : reason._tag
  })

const perform = (nodes: XenStore.Nodes, { operation, path }: Act): Effect.Effect<string> => {
  switch (operation._tag) {
    case "read":
      return said(nodes.read(path), (value) => Buffer.from(value).toString("latin1"))
    case "directory":
      return said(nodes.directory(path), (names) => names.toSorted().join(","))
    case "permissions":
      return said(nodes.permissions(path), ({ domains, others, owner }) =>
        JSON.stringify({ owner, others, domains: domains.map(({ access, domain }) => ({ domain, access })) }))
    case "write":
      return said(nodes.write(path, bytes(operation.value)), () => "")
    case "setPermissions":
      return said(nodes.setPermissions(path, operation.permissions), () => "")
    default:
      return said(nodes[operation._tag](path), () => "")
  }
}

const demand = (what: string, actual: unknown, expected: unknown) =>
  Object.is(actual, expected)
    ? Effect.void
    : Effect.die(new Error(`${what}: ${JSON.stringify(actual)} instead of ${JSON.stringify(expected)}`))

/** An end of a channel, in the model and for real. */
interface End {
  readonly id: number
  readonly peer: number
  readonly port: number
  readonly real: EventChannel
  readonly close: Effect.Effect<void>
  other: End | undefined
  /** Signals that have come: one to be taken, and one behind it. */
  signals: 0 | 1 | 2
}

const signal = (end: End | undefined) => {
  if (end !== undefined && end.signals < 2) end.signals++
}

/** What three domains have, and what is known of it. */
const makeWorld = Effect.gen(function*() {
  const xen = yield* TestXen.TestXen
  const stores = yield* Effect.forEach(ids, (id) => xen.store(id))
  const channels = yield* Effect.forEach(ids, (id) => xen.eventChannels(id))
  return { stores, channels }
})

type World = Effect.Success<typeof makeWorld> & {
  /** How often each outcome came. */
  readonly tally: Map<string, number>
}

/** One case: the state of its models. */
class Case {
  tree: Model.Tree = new Map()
  /** Watches, what they must tell, and what they have told. */
  readonly told: ReadonlyArray<{
    readonly id: number
    readonly path: string
    readonly names: Set<string>
    readonly real: Set<string>
  }>
  readonly ends: Array<End> = []
  readonly world: World
  constructor(world: World) {
    this.world = world
    const nobody = (owner: number): Model.Permissions => ({ owner, others: "none", domains: [] })
    const node = (permissions: Model.Permissions) => ({ value: "", permissions, version: 0 })
    for (const path of ["", "/local", "/local/domain"]) this.tree.set(path, node(nobody(0)))
    for (const id of [1, 2]) {
      this.tree.set(`/local/domain/${id}`, node({ owner: 0, others: "none", domains: [{ domain: id, access: "read" }] }))
      this.tree.set(`/local/domain/${id}/data`, node(nobody(id)))
    }
    const watch = (id: number, path: string) => ({ id, path, names: new Set<string>(), real: new Set<string>() })
    this.told = [watch(1, places[1]), watch(2, places[0]), watch(0, `${places[0]}/a/b`)]
  }

  count(outcome: string) {
    this.world.tally.set(outcome, (this.world.tally.get(outcome) ?? 0) + 1)
  }

  apply({ told, tree }: Model.Answer) {
    this.tree = tree
    for (const { isExact, path, permissions } of told) {
      for (const { id, names, path: watched } of this.told) {
        const hears = path === watched || !isExact && path.startsWith(`${watched}/`)
        if (hears && permissions.some((one) => Model.may(one, id, "read"))) names.add(path)
      }
    }
  }

  /** What a message that long is refused for before anybody looks at it. */
  tooLong({ operation, path }: Act) {
    return operation._tag === "write" && path.length + 1 + operation.value.length > 4080
  }

  *act(act: Act) {
    const is = yield* perform(this.world.stores[act.who]!, act)
    const must = this.tooLong(act)
      ? { said: "TooLong", tree: this.tree, told: [] }
      : Model.answer(this.tree, act.who, act.path, act.operation)
    this.apply(must)
    this.count(/^[A-Z][a-z]+[A-Z]|^TooLong/.test(is) ? is : act.operation._tag)
    yield* demand(`domain ${act.who}: ${act.operation._tag} ${act.path}`, is, must.said)
  }

  *transaction({ acts, fails, who }: Extract<Step, { readonly _tag: "Transaction" }>) {
    const base = this.tree
    let own = base
    const used: Array<string> = []
    const done: Array<Act> = []
    const body = (nodes: XenStore.Nodes) => Effect.gen({ self: this }, function*() {
      for (const act of acts) {
        if (act.who !== who) {
          yield* this.act(act)
          continue
        }
        const is = yield* perform(nodes, act)
        if (this.tooLong(act)) {
          yield* demand("too long in a transaction", is, "TooLong")
          continue
        }
        const must = Model.answer(own, who, act.path, act.operation)
        used.push(...Model.depends(base, own, must.tree, act.path))
        if (must.tree !== own) done.push(act)
        own = must.tree
        yield* demand(`domain ${who} in a transaction: ${act.operation._tag} ${act.path}`, is, must.said)
      }
      if (fails) return yield* Effect.fail("mine" as const)
    })
    const is = yield* Effect.match(this.world.stores[who]!.transaction(body, { attempts: 1 }), {
      onSuccess: () => "done",
      onFailure: (error) => error === "mine" ? error : error.reason._tag
    })
    const must = fails ? "mine" : Model.hasChanged(base, this.tree, used) ? "Conflict" : "done"
    this.count(`transaction: ${is}`)
    yield* demand(`the transaction of domain ${who}`, is, must)
    if (is === "done") {
      for (const { operation, path } of done) this.apply(Model.answer(this.tree, who, path, operation))
    }
  }

  /** The victim takes a number, which is what stands there, or nothing. */
  *decimal(n: number) {
    const written = [...this.tree].filter(([path, { value }]) => path.startsWith(places[0]) && value !== "")
    const path = written.length === 0 ? `${places[0]}/x` : written[n % written.length]![0]
    const victim = this.world.stores[1]!
    const text = yield* Effect.exit(victim.readText(path))
    const exit = yield* Effect.exit(victim.readSchema(path, XenStore.Decimal))
    if (Exit.isSuccess(exit)) {
      this.count("a number")
      const isThatText = Exit.isSuccess(text) && text.value === String(exit.value)
      return yield* demand("a number", isThatText && exit.value <= 0xffff_ffff, true)
    }
    this.count("not a number")
    const { message } = yield* Effect.orDie(Effect.flip(victim.readSchema(path, XenStore.Decimal)))
    // eslint-disable-next-line no-control-regex
    yield* demand("a message that is short and harmless", message.length < 5000 && !/[\u0000-\u001f]/.test(message), true)
  }

  *channel({ _tag, n, peer: asked, who }: ChannelStep) {
    const channels = this.world.channels[who]!
    const own = this.ends.filter(({ id }) => id === who)
    const end = own[n % own.length]
    if (_tag === "Listen" || _tag === "Join") {
      // Mostly one that waits for it.
      const free = this.ends.filter((end) => end.peer === who && end.other === undefined)
      const target = n < 3 && free.length > 0 ? free[n % free.length] : this.ends.filter(({ id }) => id === asked)[n]
      const peer = target?.id ?? asked
      const port = target?.port ?? 1000 + n
      const scope = yield* Scope.make()
      const opening = _tag === "Listen" ? channels.listen({ peer: asked }) : channels.join({ peer, port })
      const opened = yield* Effect.result(Scope.provide(opening, scope))
      const is = opened._tag === "Success" ? _tag : opened.failure.reason._tag
      this.count(is)
      const isFree = target !== undefined && target.other === undefined && target.peer === who
      const must = _tag === "Listen" || isFree ? _tag : ids.some((id) => id === peer) ? "PortRefused" : "NoSuchDomain"
      yield* demand(`domain ${who} asks for port ${port} of domain ${peer}`, is, must)
      if (opened._tag === "Failure") return
      const used = own.map(({ port }) => port)
      const lowest = Array.from({ length: used.length + 1 }, (_, i) => i + 1).find((port) => !used.includes(port))
      yield* demand("the port", opened.success.port, lowest)
      const real = opened.success
      const close = Scope.close(scope, Exit.void)
      const made: End = { id: who, peer: real.peer, port: real.port, real, close, other: undefined, signals: 0 }
      this.ends.push(made)
      if (_tag === "Listen") return
      made.other = target
      target!.other = made
      signal(made)
    } else if (end !== undefined) {
      this.count(_tag)
      if (_tag === "Notify") {
        // A storm of them.
        for (let i = 0; i <= 3 * n; i++) {
          yield* Effect.orDie(end.real.notify)
          signal(end.other)
        }
      } else if (_tag === "Close") yield* this.close(end)
      else {
        const fiber = yield* Effect.forkChild(Effect.orDie(end.real.wait), { startImmediately: true })
        const is = fiber.pollUnsafe() !== undefined
        yield* Fiber.interrupt(fiber)
        yield* demand(`whether domain ${who} has a signal at port ${end.port}`, is, end.signals > 0)
        if (end.signals > 0) end.signals--
      }
    }
  }

  *close(end: End) {
    yield* end.close
    this.ends.splice(this.ends.indexOf(end), 1)
    if (end.other !== undefined) end.other.other = undefined
  }

  *step(step: Step) {
    switch (step._tag) {
      case "Act":
        return yield* this.act(step.act)
      case "Transaction":
        return yield* this.transaction(step)
      case "Decimal":
        return yield* this.decimal(step.n)
      default:
        return yield* this.channel(step)
    }
  }

  /** What watches have told is what changed, all of it; then all is as it was. */
  *end() {
    yield* Effect.repeat(Effect.yieldNow, { times: 4 })
    for (const { id, names, path, real } of this.told) {
      yield* demand(`what domain ${id} hears of ${path}`, [...real].sort().join(" "), [...names].sort().join(" "))
    }
    for (const end of [...this.ends]) yield* this.close(end)
  }
}

const play = Effect.fnUntraced(function*(world: World, steps: ReadonlyArray<Step>) {
  const self = new Case(world)
  for (const { id, path, real } of self.told) {
    const watching = Stream.runForEach(world.stores[id]!.watch(path), (told) => Effect.sync(() => void real.add(told)))
    yield* Effect.forkScoped(watching, { startImmediately: true })
  }
  yield* Effect.repeat(Effect.yieldNow, { times: 4 })
  for (const { path, real } of self.told) {
    yield* demand("what is told at once", [...real].join(" "), path)
    real.clear()
  }
  for (const step of steps) yield* self.step(step)
  yield* self.end()
})

/** Everything is as it was, whatever became of a case. */
const tidy = (world: World) =>
  Effect.orDie(Effect.forEach([1, 2], (id) => {
    const dom0 = world.stores[0]
    const path = `/local/domain/${id}/data`
    const own = dom0.setPermissions(path, { owner: id, others: "none" })
    return Effect.andThen(Effect.andThen(dom0.remove(path), dom0.write(path, "")), own)
  }, { discard: true }))

/** A case that fails with fewer steps than this one, if leaving out one of them does not mend it. */
const smaller = Effect.fnUntraced(function*(world: World, steps: ReadonlyArray<Step>) {
  let left = steps
  for (let at = steps.length - 1; at >= 0; at--) {
    const fewer = left.filter((_, i) => i !== at)
    const exit = yield* Effect.exit(attempt(world, fewer))
    if (Exit.isFailure(exit)) left = fewer
  }
  return left
})

const attempt = (world: World, steps: ReadonlyArray<Step>) =>
  Effect.scoped(play(world, steps)).pipe(
    Effect.andThen(Ledger.assertEmpty),
    Effect.ensuring(tidy(world)),
    Effect.sandbox
  )

/** Plays the cases of so many seeds, and counts what came of it in the tally. Throws at the first one that goes wrong. */
export const run = (seed: number, runs: number, tally: Map<string, number>): Effect.Effect<void> =>
  Effect.gen(function*() {
    const world = { ...yield* makeWorld, tally }
    for (let at = seed; at < seed + runs; at++) {
      const exit = yield* Effect.exit(attempt(world, steps(at)))
      if (Exit.isSuccess(exit)) continue
      const fewest = yield* smaller(world, steps(at))
      const short = (_: string, value: unknown) => typeof value === "string" ? value.slice(0, 100) : value
      const all = fewest.map((step) => JSON.stringify(step, short))
      const failure = yield* Effect.orDie(Effect.flip(attempt(world, fewest)))
      return yield* Effect.die(new Error(`Case ${at}: ${Cause.pretty(failure)}\nSteps:\n${all.join("\n")}`))
    }
  }).pipe(Effect.provide(TestXen.layer()), Traces.without)
