/**
 * Joins connections that the host has to a port of this machine: messages both ways, a JSON line each.
 *
 * Usage: node tunnel.mjs PORT
 */
import { connect, type Socket } from "node:net"
import { createInterface } from "node:readline"

/** What happens to one of the connections. */
export type Message =
  | { readonly id: number; readonly do: "open" | "end" }
  /** Bytes in base64. */
  | { readonly id: number; readonly do: "pass"; readonly bytes: string }

const port = Number(process.argv[2])
const sockets = new Map<number, Socket>()

const say = (message: Message) => process.stdout.write(`${JSON.stringify(message)}\n`)

const open = (id: number) => {
  const socket = connect(port, "127.0.0.1")
  sockets.set(id, socket)
  socket.on("data", (chunk) => say({ id, do: "pass", bytes: chunk.toString("base64") }))
  socket.on("error", () => socket.destroy())
  socket.on("close", () => {
    sockets.delete(id)
    say({ id, do: "end" })
  })
}

for await (const line of createInterface({ input: process.stdin })) {
  const message = JSON.parse(line) as Message
  if (message.do === "open") open(message.id)
  else if (message.do === "pass") sockets.get(message.id)?.write(Buffer.from(message.bytes, "base64"))
  else sockets.get(message.id)?.destroy()
}
process.exit(0)
