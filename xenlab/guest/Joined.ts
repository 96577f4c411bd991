/**
 * Connections of one machine that end in another: what happens to each is told in messages.
 */
import type { Socket } from "node:net"

/** What happens to one of the connections. */
export type Message =
  | { readonly id: number; readonly do: "open" | "end" }
  /** Bytes in base64. */
  | { readonly id: number; readonly do: "pass"; readonly bytes: string }

/** One machine's ends of the connections. */
export class Joined {
  readonly #sockets = new Map<number, Socket>()
  readonly #say: (message: Message) => void

  constructor(say: (message: Message) => void) {
    this.#say = say
  }

  /** Tells the other machine what comes through a socket. */
  add(id: number, socket: Socket) {
    this.#sockets.set(id, socket)
    socket.on("data", (chunk) => this.#say({ id, do: "pass", bytes: chunk.toString("base64") }))
    socket.on("error", () => socket.destroy())
    socket.on("close", () => {
      this.#sockets.delete(id)
      this.#say({ id, do: "end" })
    })
  }

  /** Does to a socket what the other machine has told. */
  take(message: Message) {
    const socket = this.#sockets.get(message.id)
    if (message.do === "pass") socket?.write(Buffer.from(message.bytes, "base64"))
    else socket?.destroy()
  }

  /** Ends them all. */
  cut() {
    for (const socket of this.#sockets.values()) socket.destroy()
  }
}
