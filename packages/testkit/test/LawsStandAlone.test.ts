import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"

describe("Laws without a test runner", () => {
  it("run in a plain program, which has loaded neither a runner nor anything that it can't bundle", () => {
    const program = `
      import { registerHooks } from "node:module"
      const loaded = []
      registerHooks({ load: (url, context, next) => (loaded.push(url), next(url, context)) })
      const Domains = await import("@xen-shbuf/testkit/Domains")
      const Law = await import("@xen-shbuf/testkit/Law")
      const suites = []
      for (const name of ["GrantTable", "SharedBuffer", "PeerBuffer"]) {
        suites.push(await import("@xen-shbuf/testkit/" + name + "Laws"))
      }
      const unwanted = loaded.filter((url) => /vitest|koffi|xen-gntdev|xen-shbuf.linux|packages.linux|^node:/.test(url))

      const Effect = await import("effect/Effect")
      const Layer = await import("effect/Layer")
      const TestXen = await import("@xen-shbuf/testkit/TestXen")
      const dom0 = Domains.loopback(0).pipe(Layer.provide(TestXen.layerDomain(0)), Layer.provide(TestXen.layer()))
      const laws = suites.flatMap(({ laws }) => laws)
      const all = Effect.forEach(laws, (law) => Law.run(law, dom0))
      const outcomes = await Effect.runPromise(Effect.provideService(all, Law.CurrentOptions, { runs: 2 }))
      const failures = outcomes.flatMap(({ failure, law }) => failure === undefined ? [] : [law.name])
      console.log(JSON.stringify({ loaded: loaded.length, unwanted, laws: laws.length, failures }))
    `
    const { stderr, stdout } = spawnSync(process.execPath, ["--input-type=module", "--eval", program], {
      cwd: import.meta.dirname,
      encoding: "utf8"
    })
    assert.strictEqual(stderr, "")
    const { failures, laws, loaded, unwanted } = JSON.parse(stdout) as Record<string, unknown>
    assert.deepStrictEqual({ failures, unwanted }, { failures: [], unwanted: [] })
    assert.isAbove(Number(loaded), 10)
    assert.isAbove(Number(laws), 50)
  }, 60_000)
})
