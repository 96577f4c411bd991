// A question and its answer between two domains, through a vchan. Each half runs in a domain of its own.
import * as Client from "@xen-shbuf/io/libxenvchan/Client"
import * as Server from "@xen-shbuf/io/libxenvchan/Server"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

const path = "/local/domain/5/data/shout"

/** In domain 5: gives back whatever domain 7 says, in capitals, to one client after the other. */
export const server = Effect.gen(function*() {
  const vchan = yield* Server.listen({ peer: 7, path })
  yield* vchan.stream.pipe(
    Stream.decodeText,
    Stream.map((text) => new TextEncoder().encode(text.toUpperCase())),
    Stream.run(vchan.sink)
  )
}).pipe(Effect.scoped, Effect.forever)

/** In domain 7: says something, as soon as there is a server, and takes what comes back. */
export const client = Effect.fnUntraced(function*(text: string) {
  const vchan = yield* Client.connect({ peer: 5, path })
  const bytes = new TextEncoder().encode(text)
  yield* vchan.write(bytes)
  return yield* vchan.stream.pipe(
    Stream.flatMap(Stream.fromIterable),
    Stream.take(bytes.length),
    Stream.runCollect,
    Effect.map((answer) => new TextDecoder().decode(Uint8Array.from(answer)))
  )
}, Effect.scoped)
