import { assert, describe, it } from "@effect/vitest"
import * as Chain from "@xen-shbuf/core/Chain"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as Generators from "@xen-shbuf/testkit/Generators"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import { readFileSync } from "node:fs"
import * as Batch from "../src/pages/Batch.ts"
import * as Oracle from "../src/pages/Oracle.ts"
import * as Peer from "../src/pages/Peer.ts"

describe("Hostile peers", () => {
  it.live("ten thousand hostile cases: each is refused for what is really wrong, or gives exactly the right pages", () =>
    Effect.gen(function*() {
      const { failure, tally } = yield* Batch.run({ runs: 10_000 })
      assert.isUndefined(failure, failure)
      // The cases are worth something only if they reach everything that can happen.
      const links = ["Cyclic", "GrantRefused", "WrongSize", "InvalidLink", "TooLong", "TooShort"]
      const refs = ["GrantRefused", "InvalidRef", "RepeatedRef"]
      assert.sameMembers([...tally.get("map")!.keys()], [...new Set([...links, ...refs]), "mapped"])
      assert.sameMembers([...tally.get("provide")!.keys()], [...links, "OutOfGrants", "provided"])
      assert.sameMembers([...tally.get("map provided")!.keys()], [...refs, "mapped"])
      assert.include([...tally.get("walk")!.keys()], "walked")
    }), 60_000)

  it.effect("a claim of 4 GiB costs no memory before the directory has proved that it is that long", () =>
    Effect.gen(function*() {
      const xen = yield* TestXen.make()
      const frontend = yield* xen.domain(1)
      const backend = yield* xen.domain(2)
      const { bytes, refs: links } = yield* frontend.share({ peer: 2, pages: 3 })
      bytes.set(Generators.layOut({ links, refs: Uint32Array.of(1000) }))
      const at = { peer: 1, directory: links[0]!, byteLength: 2 ** 32, maxByteLength: 2 ** 32 }
      for (const use of [Effect.asVoid(PeerBuffer.map(at)), Effect.asVoid(PeerBuffer.allocForFrontend(at))]) {
        const before = process.memoryUsage().arrayBuffers
        const error = yield* Effect.flip(use).pipe(Effect.provideService(GrantTable, backend), Effect.scoped)
        assert.strictEqual(error.reason._tag, "TooShort")
        // Three directory pages, copied and joined; the list of references would take 4 MiB.
        assert.isBelow(process.memoryUsage().arrayBuffers - before, 64 * 1024)
      }
    }))

  it.prop("the oracle finds what the generator of damaged directories says is wrong", {
    hostile: Generators.hostile()
  }, ({ hostile: { damage, pages } }) => {
    const links = Uint32Array.from({ length: Chain.pagesFor(pages) }, (_, i) => 8 + i)
    const refs = Uint32Array.from({ length: pages }, (_, i) => 100 + i)
    const { bytes, reason } = Generators.damaged({ links, refs }, damage)
    const page = (n: number) => new Uint32Array(bytes.buffer, n * 4096, 1024)
    const question = { peer: 1, pages, refusal: () => undefined }
    const chain = Oracle.follow(question, links[0]!, "read-only", (_, ref) => page(links.indexOf(ref)))
    const { faults } = chain.faults.length > 0 ? chain : Oracle.judge(question, chain.links, chain.words, "read-only")
    assert.deepInclude(faults, { ...reason })
  })

  it("docs/security.md names laws and tests that exist", () => {
    const text = readFileSync(new URL("../../docs/security.md", import.meta.url), "utf8")
    const named = [...text.matchAll(/\(\.\.\/([^)]+\.ts)\) "([^"]+)"/g)]
    assert.isAbove(named.length, 10)
    for (const [, file, name] of named) {
      assert.include(readFileSync(new URL(`../../${file}`, import.meta.url), "utf8"), `"${name}"`)
    }
  })

  it("watched memory counts each read, and shows another byte to who reads again", () => {
    const reads = new Uint8Array(4)
    const memory = Peer.watched(Uint8Array.of(1, 2, 3, 4), reads)
    const copy = new Uint8Array(4)
    copy.set(memory)
    assert.deepStrictEqual([...copy], [1, 2, 3, 4])
    assert.strictEqual(memory[2], 3 ^ 0xff)
    assert.deepStrictEqual([...reads], [1, 1, 2, 1])
    assert.throws(() => memory.slice())
  })
})
