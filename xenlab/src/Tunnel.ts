/**
 * Brings a port of a domain to the host, where nothing joins their networks: through the agent, which all else goes through.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import { type AddressInfo, createServer, type Server, type Socket } from "node:net"
import { Joined, type Message } from "../guest/Joined.ts"
import { place } from "./Image.ts"
import type { Machine } from "./Machine.ts"

/** A port of the host, on loopback. */
export interface Tunnel {
  readonly port: number
  /** Ends all connections, as a network does that fails. */
  readonly cut: Effect.Effect<void>
}

/** Leads a port of the host to one of a domain, for as long as the scope is open. */
export const open = Effect.fnUntraced(function*(machine: Machine, port: number) {
  const process = yield* machine.start(["node", `${place}/tunnel.mjs`, String(port)], { patience: Duration.infinity })
  const there = yield* Queue.unbounded<Message>()
  const say = (message: Message) => void Queue.offerUnsafe(there, message)
  const joined = new Joined(say)
  const cut = Effect.sync(() => joined.cut())
  yield* Effect.forkScoped(Effect.forever(Effect.flatMap(
    Queue.take(there),
    (message) => process.send(`${JSON.stringify(message)}\n`)
  )))
  yield* Effect.forkScoped(Effect.forever(Effect.map(process.nextLine, (line) => joined.take(JSON.parse(line) as Message))))

  let count = 0
  const join = (socket: Socket) => {
    const id = count++
    say({ id, do: "open" })
    joined.add(id, socket)
  }
  const server = yield* Effect.acquireRelease(
    Effect.callback<Server>((resume) => {
      const server = createServer(join).listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) => Effect.andThen(cut, Effect.callback<void>((resume) => void server.close(() => resume(Effect.void))))
  )
  const tunnel: Tunnel = { port: (server.address() as AddressInfo).port, cut }
  return tunnel
})
