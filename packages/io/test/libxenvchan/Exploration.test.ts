import { assert, describe, it } from "@effect/vitest"
import { EventChannels } from "@xen-shbuf/core/EventChannels"
import * as EventChannelError from "@xen-shbuf/core/EventChannelError"
import type { GrantTable } from "@xen-shbuf/core/GrantTable"
import { DeviceFailed } from "@xen-shbuf/core/Reason"
import { XenStore } from "@xen-shbuf/core/XenStore"
import * as Client from "@xen-shbuf/io/libxenvchan/Client"
import * as Server from "@xen-shbuf/io/libxenvchan/Server"
import * as Exploration from "@xen-shbuf/testkit/Exploration"
import * as Faults from "@xen-shbuf/testkit/Faults"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"

const [server, client] = [5, 7]
const path = `/local/domain/${server}/data/vchan`

/** A client takes a refused grant for a server that is not there, and waits: that is no failure to come out. */
const grantTable: Exploration.Subject<GrantTable> = {
  ...Exploration.grantTable,
  begin: (domain, failing, note) =>
    Effect.map(Exploration.grantTable.begin(domain, failing, note), ({ asked, context }) => ({
      context,
      asked: Effect.map(asked, (all) => all.map((reasons) => reasons.filter(({ _tag }) => _tag !== "GrantRefused")))
    }))
}

const failed = [new EventChannelError.OutOfPorts(), new DeviceFailed({ device: "evtchn", call: "ioctl", errno: "EIO" })]

const eventChannels = Exploration.subject<EventChannels, "listen" | "join", EventChannelError.Reason>({
  name: "event channels",
  reasons: { listen: failed, join: failed },
  make: Effect.fnUntraced(function*(domain, plan) {
    const channels = yield* (yield* TestXen.TestXen).eventChannels(domain)
    const { decorate, journal } = Faults.decorator(plan, (operation: "listen" | "join", reason: EventChannelError.Reason) =>
      new EventChannelError.EventChannelError({ operation, reason }))
    const faulty = EventChannels.of({
      listen: (options) => decorate("listen", channels.listen(options)),
      join: (options) => decorate("join", channels.join(options))
    })
    return { context: Context.make(EventChannels, faulty), journal }
  })
})

type Stage = Exploration.Stage<GrantTable | EventChannels>

/** Runs in a domain, with xenstore as it is. */
const inDomain = (xen: TestXen.TestXen["Service"], stage: Stage, domain: number) =>
<A, E>(program: Effect.Effect<A, E, GrantTable | EventChannels | XenStore | Scope.Scope>) =>
  Effect.flatMap(xen.store(domain), (store) => Effect.provideService(stage.runIn(domain)(program), XenStore, store))

/** Bytes each way through a new vchan, where nothing is left of the one before. */
const program = (xen: TestXen.TestXen["Service"], sizes: Partial<Server.Options>) =>
  Effect.fnUntraced(function*(stage: Stage) {
    const left = yield* Effect.option(Effect.flatMap(xen.store(server), (store) => store.directory(path)))
    if (Option.isSome(left)) return yield* Effect.die(new Error("what another run published is still there"))
    const ours = yield* inDomain(xen, stage, server)(Server.listen({ peer: client, path, ...sizes }))
    const theirs = yield* inDomain(xen, stage, client)(Client.connect({ peer: server, path }))
    const into = new Uint8Array(1000)
    const reading = Effect.gen(function*() {
      for (let got = 0; got < 1500;) got += yield* ours.read(into)
    })
    yield* Effect.all([theirs.write(new Uint8Array(1500)), reading], { concurrency: 2 })
    yield* ours.write(Uint8Array.of(1, 2, 3))
    assert.strictEqual(yield* theirs.read(into), 3)
  })

describe("libxenvchan, disturbed at every step", () => {
  // One ring in the page, and one with a page of its own.
  it.live("leaves nothing behind", () =>
    Effect.gen(function*() {
      const xen = yield* TestXen.TestXen
      const run = program(xen, { readSize: 1024, writeSize: 4096 })
      const report = yield* Exploration.exploreServices([grantTable, eventChannels], [server, client], run, { within: "1 minute" })
      assert.isAbove(report.failures, 10)
      assert.isAbove(report.interruptions, 200)
      // Whatever was left of ports would have run out.
    }).pipe(Effect.provide(TestXen.layer({ ports: 3 }))), 120_000)
})
