/**
 * Registers laws as tests of vitest. Only this module loads the test runner.
 *
 * @since 0.1.0
 */

import { describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Domains } from "./Domains.ts"
import * as Law from "./Law.ts"

/**
 * Registers a test for each law. `layer` is built anew for each, so that no law sees another's traces. `options` say
 * how properties are checked.
 *
 * @category testing
 * @since 0.1.0
 */
export const suite = <E>(
  name: string,
  laws: ReadonlyArray<Law.Law>,
  layer: Layer.Layer<Domains, E>,
  options: Law.Options = {}
): void => {
  describe(name, () => {
    for (const law of laws) {
      const check = Effect.provideService(law.check, Law.CurrentOptions, options)
      it.live(`${law.suite}: ${law.name}`, () => Effect.provide(check, Layer.fresh(layer)), 60_000)
    }
  })
}
