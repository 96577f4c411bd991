import { assert, describe, it } from "@effect/vitest"
import * as MappedMemory from "@xen-shbuf/linux/MappedMemory"
import * as Result from "effect/Result"
import { Worker } from "node:worker_threads"

/** 16 384 rounds at most. */
const byteLength = 4 * 1024 * 1024

const play = async (way: "ordered" | "plain") => {
  const fd = Result.getOrThrow(MappedMemory.memfd("litmus", byteLength))
  const workers = [0, 1].map((side) =>
    new Worker(new URL("fixtures/litmus.ts", import.meta.url), { workerData: { fd, byteLength, side, way } }))
  try {
    const ends = workers.map((worker) => new Promise((resolve, reject) => worker.on("exit", resolve).on("error", reject)))
    const told = new Promise<{ readonly rounds: number; readonly neither: number }>((resolve) => workers[0]!.once("message", resolve))
    await Promise.all(ends)
    return await told
  } finally {
    // Where one has failed, the other waits for it, and keeps its processor busy.
    await Promise.all(workers.map((worker) => worker.terminate()))
    MappedMemory.close(fd)
  }
}

describe("Ordered, between two threads that have the same memory mapped", () => {
  it("of two who store an index and then load the other's, one at least sees the other", async () => {
    const { neither, rounds } = await play("ordered")
    assert.isAbove(rounds, 0)
    assert.strictEqual(neither, 0)
  })

  it("which plain access does not promise: how often neither saw the other is printed", async () => {
    const { neither, rounds } = await play("plain")
    console.log(`neither saw the other in ${neither} of ${rounds} rounds`)
    assert.isAbove(rounds, 0)
  })
})
