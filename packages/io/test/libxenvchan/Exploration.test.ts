import { assert, describe, it } from "@effect/vitest"
import type { EventChannels } from "@xen-shbuf/core/EventChannels"
import type { GrantTable } from "@xen-shbuf/core/GrantTable"
import { XenStore } from "@xen-shbuf/core/XenStore"
import * as Client from "@xen-shbuf/io/libxenvchan/Client"
import * as Server from "@xen-shbuf/io/libxenvchan/Server"
import * as Exploration from "@xen-shbuf/testkit/Exploration"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"

const [server, client] = [5, 7]
const path = `/local/domain/${server}/data/vchan`

/** A client takes such refusals for a server that is not there, and waits for one: they are no failures to come out. */
const waitedOut = new Set(["GrantRefused", "PortRefused", "NoSuchDomain"])

const disturbed = <Service>(subject: Exploration.Subject<Service>): Exploration.Subject<Service> => ({
  ...subject,
  begin: (domain, failing, note) =>
    Effect.map(subject.begin(domain, failing, note), ({ asked, context }) => ({
      context,
      asked: Effect.map(asked, (all) => all.map((reasons) => reasons.filter(({ _tag }) => !waitedOut.has(_tag))))
    }))
})

const services = [disturbed(Exploration.grantTable), disturbed(Exploration.eventChannels)]

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
      const report = yield* Exploration.exploreServices(services, [server, client], run, { within: "5 seconds" })
      assert.isAbove(report.failures, 20)
      assert.isAbove(report.interruptions, 200)
      // Whatever was left of ports would have run out.
    }).pipe(Effect.provide(TestXen.layer({ ports: 3 }))), 120_000)
})
