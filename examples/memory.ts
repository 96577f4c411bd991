// Both halves in one process, as two domains of an in-memory Xen: node examples/memory.ts
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import { backend } from "./backend.ts"
import { frontend } from "./frontend.ts"

export const memory = Effect.gen(function*() {
  const frame = yield* frontend(0, 0x80).pipe(Effect.provide(TestXen.layerDomain(5)))
  return yield* backend(5, frame.directory).pipe(Effect.provide(TestXen.layerDomain(0)))
}).pipe(Effect.scoped, Effect.provide(TestXen.layer()))

if (import.meta.main) Effect.runFork(memory)
