import { assert, describe, it } from "@effect/vitest"
import type { GrantTable, UnmapNotification, UnmapNotify } from "@xen-shbuf/core/GrantTable"
import { GrantRefused, GrantTableError } from "@xen-shbuf/core/GrantTableError"
import { InvalidInput } from "@xen-shbuf/core/Reason"
import { Domains, type Party, withTable } from "@xen-shbuf/testkit/Domains"
import * as GrantTableLaws from "@xen-shbuf/testkit/GrantTableLaws"
import * as Law from "@xen-shbuf/testkit/Law"
import * as PeerBufferLaws from "@xen-shbuf/testkit/PeerBufferLaws"
import * as SharedBufferLaws from "@xen-shbuf/testkit/SharedBufferLaws"
import * as TestDomains from "@xen-shbuf/testkit/TestDomains"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"

type Table = GrantTable["Service"]

/** Runs in a scope that nobody closes. */
const forgotten = <A, E, R>(acquire: Effect.Effect<A, E, R>) =>
  Effect.flatMap(Scope.make(), (scope) => Scope.provide(acquire, scope))

/** Changes the notifications of all pages. */
const notifying = (
  change: (notification: UnmapNotification | undefined, notify: UnmapNotify) => ReturnType<UnmapNotify>
) =>
(table: Table): Partial<Table> => {
  const pages = <A extends { readonly unmapNotify: UnmapNotify }>(pages: A): A => ({
    ...pages,
    unmapNotify: (notification) => change(notification, pages.unmapNotify)
  })
  return {
    share: (options) => Effect.map(table.share(options), pages),
    map: (options) => Effect.map(table.map(options), pages)
  }
}

/** What can be wrong with a grant table: first what most laws see, each of which tries them in this order. */
const faults: { readonly [fault: string]: (table: Table) => Partial<Table> } = {
  "maps in ascending order": (table) => ({
    map: (options) => table.map({ ...options, refs: Array.from(options.refs).sort((a, b) => a - b) })
  }),
  "forgets to detach the owner's view": (table) => ({
    share: (options) => Effect.map(table.share(options), (shared) => ({ ...shared, bytes: shared.bytes.slice() }))
  }),
  "maps copies": (table) => ({
    map: (options) => Effect.map(table.map(options), (mapped) => ({ ...mapped, bytes: mapped.bytes.slice() }))
  }),
  "loses a share when interrupted in the middle": (table) => ({
    share: (options) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const shared = yield* Scope.provide(table.share(options), scope)
        yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
        return shared
      })
  }),
  "names the wrong index": (table) => ({
    map: (options) =>
      Effect.mapError(table.map(options), ({ operation, reason }) =>
        new GrantTableError({
          operation,
          reason: reason._tag === "GrantRefused" ? new GrantRefused({ ...reason, index: reason.index + 1 }) : reason
        }))
  }),
  "gives another reason": (table) => ({
    map: (options) =>
      Effect.mapError(table.map(options), ({ operation }) => {
        const reason = new InvalidInput({ argument: "refs", value: "?", expected: "others" })
        return new GrantTableError({ operation, reason })
      })
  }),
  "shares one page less": (table) => ({
    share: (options) => table.share({ ...options, pages: Math.max(options.pages - 1, Math.min(options.pages, 1)) })
  }),
  "gives one reference to two pages": (table) => ({
    share: (options) =>
      Effect.tap(table.share(options), ({ refs }) => Effect.sync(() => refs[refs.length - 1] = refs[0]!))
  }),
  "ignores read-only": (table) => ({ share: ({ peer, pages }) => table.share({ peer, pages }) }),
  "maps each reference once": (table) => ({
    map: (options) => table.map({ ...options, refs: [...new Set(Array.from(options.refs))] })
  }),
  "shares pages that are not zero": (table) => ({
    share: (options) => Effect.tap(table.share(options), ({ bytes }) => Effect.sync(() => bytes[bytes.length - 1] = 1))
  }),
  "corrects bad arguments": (table) => ({
    share: ({ access, pages, peer }) => table.share({ pages: Math.trunc(pages), peer: Math.trunc(peer), access })
  }),
  "does not know its limit": (table) => ({
    limits: Effect.map(table.limits, ({ shared, ...others }) => ({
      ...others,
      shared: { ...shared!, pages: shared!.pages - 1 }
    }))
  }),
  "never notifies": notifying((_, notify) => notify(undefined)),
  "clears another byte": notifying((notification, notify) =>
    notify(
      notification?.clearByte === undefined
        ? notification
        : { ...notification, clearByte: Math.max(notification.clearByte - 1, notification.clearByte % 2) }
    )
  ),
  "can't cancel a notification": notifying((notification, notify) =>
    notification === undefined ? Effect.void : notify(notification)
  ),
  "takes any notification": notifying((notification, notify) => Effect.ignore(notify(notification))),
  "reads the end of a page": (table) => ({
    read: (grant, into) => {
      const page = new Uint8Array(4096)
      return Effect.map(table.read(grant, page), () => into.set(page.subarray(page.length - into.length)))
    }
  }),
  "reads what is not granted": (table) => ({ read: (grant, into) => Effect.ignore(table.read(grant, into)) }),
  "never unmaps what it has read": (table) => ({
    read: (grant, into) =>
      Effect.andThen(
        forgotten(table.map({ peer: grant.peer, refs: [grant.ref], access: "read-only" })),
        table.read(grant, into)
      )
  }),
  "takes any access": (table) => ({
    share: ({ access, ...options }) => table.share({ ...options, access: access === "read-only" ? access : undefined })
  }),
  "leaves errors with fewer callers": (table) => ({
    share: (options) =>
      Effect.suspend(() => {
        Error.stackTraceLimit = 3
        return table.share(options)
      })
  }),
  "needs the references that it gave": (table) => ({
    share: (options) =>
      Effect.tap(table.share(options), ({ refs }) => {
        const [first] = refs
        return Effect.addFinalizer(() => refs[0] === first ? Effect.void : Effect.die(new Error("They have changed.")))
      })
  }),
  "never ends a grant": (table) => ({ share: (options) => forgotten(table.share(options)) }),
  "never unmaps": (table) => ({ map: (options) => forgotten(table.map(options)) })
}

/** Two domains that can share so many pages each: few of them make short work. */
const broken = (fault: (table: Table) => Partial<Table>, sharedPages: number) =>
  Layer.effect(Domains, Effect.map(Domains, (domains) => {
    const party = (party: Party) => withTable(party, { ...party.table, ...fault(party.table) })
    return { ...domains, frontend: party(domains.frontend), backend: party(domains.backend) }
  })).pipe(
    Layer.provide(TestDomains.layer({ frontend: 1, backend: 2 })),
    Layer.provide(TestXen.layer({ sharedPages }))
  )

const suites = [GrantTableLaws, SharedBufferLaws, PeerBufferLaws].map(({ laws }) => laws)

/** What a law finds wrong with a grant table that has this fault. */
const violation = (law: Law.Law, fault: string, sharedPages = 64) =>
  Effect.suspend(() => {
    Error.stackTraceLimit = 10
    return Law.run(law, broken(faults[fault]!, sharedPages)).pipe(
      Effect.provideService(Law.CurrentOptions, { runs: 5, seed: 1 }),
      Effect.map(({ failure }) => failure)
    )
  })

describe("Laws can fail", () => {
  for (const fault of Object.keys(faults)) {
    it.live(`one finds a grant table that ${fault}`, () =>
      Effect.gen(function*() {
        for (const law of suites[0]!) {
          if ((yield* violation(law, fault)) !== undefined) return
        }
        assert.fail("no law of grant tables is violated")
      }), 60_000)
  }

  for (const laws of suites) {
    it.live(`each of ${laws[0]!.suite}'s is violated by some fault`, () =>
      Effect.gen(function*() {
        // Some need room for a directory of two pages.
        const attempts = [64, 1026].flatMap((pages) => Object.keys(faults).map((fault) => ({ fault, pages })))
        for (const law of laws) {
          const found = yield* Effect.findFirst(attempts, ({ fault, pages }) =>
            Effect.map(violation(law, fault, pages), (failure) => failure !== undefined))
          assert.isTrue(Option.isSome(found), law.name)
        }
      }), 60_000)
  }

  it.live("a violated property tells the smallest input and how to replay it", () =>
    Effect.gen(function*() {
      const law = suites[0]!.find(({ name }) => name.startsWith("both sides see one memory"))!
      const text = (yield* violation(law, "maps in ascending order")) ?? ""
      assert.include(text, `"pages": 2`)
      assert.match(text, /Replay: \[/)
      assert.match(text, /page \d, mapped as number \d: byte \d+ is \d+ instead of \d+/)
    }))
})
