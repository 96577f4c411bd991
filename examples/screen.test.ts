import { assert, describe, it } from "@effect/vitest"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as TestConsole from "effect/testing/TestConsole"
import { readFileSync } from "node:fs"
import { layer, show } from "./screen.ts"

describe("The example of screens", () => {
  it.live("serves the page, and ends when it is told to", () =>
    Effect.gen(function*() {
      yield* Effect.forkScoped(Effect.provide(show(), Layer.merge(layer(0), TestXen.layerDomain(0))))
      let text = ""
      while (text === "") {
        text = (yield* TestConsole.logLines).join()
        yield* Effect.yieldNow
      }
      const response = yield* Effect.promise(() => fetch(text.replace("open ", "")))
      assert.include(yield* Effect.promise(() => response.text()), "Screens of Xen guests")
    }).pipe(Effect.scoped, Effect.provide(Layer.merge(TestXen.layer(), TestConsole.layer))))

  it("stands in docs/screen.md as it is here", () => {
    const [page, example] = ["../docs/screen.md", "screen.ts"].map((name) => readFileSync(new URL(name, import.meta.url), "utf8"))
    assert.include(page!, `\`\`\`ts\n${example}\`\`\``)
  })
})
