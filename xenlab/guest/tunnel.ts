/**
 * Joins connections that the host has to a port of this machine: messages both ways, a JSON line each.
 *
 * Usage: node tunnel.mjs PORT
 */
import { connect } from "node:net"
import { createInterface } from "node:readline"
import { Joined, type Message } from "./Joined.ts"

const port = Number(process.argv[2])
const joined = new Joined((message) => void process.stdout.write(`${JSON.stringify(message)}\n`))

for await (const line of createInterface({ input: process.stdin })) {
  const message = JSON.parse(line) as Message
  if (message.do === "open") joined.add(message.id, connect(port, "127.0.0.1"))
  else joined.take(message)
}
process.exit(0)
