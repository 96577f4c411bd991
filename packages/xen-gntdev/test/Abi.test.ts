import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import * as Abi from "../src/internal/Abi.ts"
import * as SystemCalls from "@xen-shbuf/linux/SystemCalls"

/** What a C compiler says of a processor (see abi.sh): `name value` a line. */
const read = (processor: string): ReadonlyMap<string, number> =>
  new Map(
    readFileSync(new URL(`abi.${processor}.txt`, import.meta.url), "utf8")
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("#"))
      .map((line) => {
        const [, name, value] = /^(\S+(?: \S+)*?)\s+(\d+)$/.exec(line)!
        return [name!, Number(value)] as const
      })
  )

const oracle = read("x86_64")

const of = (name: string): number => {
  const value = oracle.get(name)
  assert.isDefined(value, name)
  return value
}
const size = (struct: string) => of(`sizeof(struct ${struct})`)
const offset = (struct: string, field: string) => of(`offsetof(struct ${struct},${field})`)
const viewOf = (words: Uint32Array) => new DataView(words.buffer)

describe("Abi, against the C compiler's oracle", () => {
  it("is the same on arm64: every number, size and offset", () => {
    assert.deepStrictEqual(read("aarch64"), oracle)
  })

  it("has the C library's numbers", () => {
    for (const [name, value] of Object.entries(SystemCalls)) {
      if (typeof value === "number") assert.strictEqual(value, of(name), name)
    }
  })

  it("has the ioctl numbers", () => {
    assert.strictEqual(Abi.ALLOC_GREF, of("IOCTL_GNTALLOC_ALLOC_GREF"))
    assert.strictEqual(Abi.DEALLOC_GREF, of("IOCTL_GNTALLOC_DEALLOC_GREF"))
    assert.strictEqual(Abi.MAP_GRANT_REF, of("IOCTL_GNTDEV_MAP_GRANT_REF"))
    assert.strictEqual(Abi.UNMAP_GRANT_REF, of("IOCTL_GNTDEV_UNMAP_GRANT_REF"))
    assert.strictEqual(Abi.GRANT_COPY, of("IOCTL_GNTDEV_GRANT_COPY"))
    assert.strictEqual(Abi.SET_UNMAP_NOTIFY, of("IOCTL_GNTALLOC_SET_UNMAP_NOTIFY"))
    assert.strictEqual(Abi.SET_UNMAP_NOTIFY, of("IOCTL_GNTDEV_SET_UNMAP_NOTIFY"))
  })

  it("encodes ALLOC_GREF and reads its answer", () => {
    const struct = "ioctl_gntalloc_alloc_gref"
    for (const count of [1, 2, 3, 1023]) {
      const words = Abi.allocGref(0x7fef, count, true)
      const view = viewOf(words)
      assert.isAtLeast(words.byteLength, Math.max(size(struct), offset(struct, "gref_ids") + 4 * count))
      assert.strictEqual(view.getUint16(offset(struct, "domid"), true), 0x7fef)
      assert.strictEqual(view.getUint16(offset(struct, "flags"), true), 1)
      assert.strictEqual(view.getUint32(offset(struct, "count"), true), count)
      view.setBigUint64(offset(struct, "index"), 0x5_8000_1000n, true)
      for (let i = 0; i < count; i++) view.setUint32(offset(struct, "gref_ids") + 4 * i, 0xffff_0000 + i, true)
      assert.strictEqual(Abi.index(words), 0x5_8000_1000)
      assert.deepStrictEqual([...Abi.refs(words, count)], Array.from({ length: count }, (_, i) => 0xffff_0000 + i))
    }
    assert.strictEqual(viewOf(Abi.allocGref(1, 1, false)).getUint16(offset(struct, "flags"), true), 0)
  })

  it("encodes MAP_GRANT_REF for a part of the references and reads its answer", () => {
    const struct = "ioctl_gntdev_map_grant_ref"
    const each = size("ioctl_gntdev_grant_ref")
    const words = Abi.mapGrantRef(7, Uint32Array.of(8, 9, 0xffff_fffe, 11), 1, 3)
    const view = viewOf(words)
    assert.strictEqual(words.byteLength, offset(struct, "refs") + 2 * each)
    assert.strictEqual(view.getUint32(offset(struct, "count"), true), 2)
    for (const [i, ref] of [9, 0xffff_fffe].entries()) {
      const at = offset(struct, "refs") + i * each
      assert.strictEqual(view.getUint32(at + offset("ioctl_gntdev_grant_ref", "domid"), true), 7)
      assert.strictEqual(view.getUint32(at + offset("ioctl_gntdev_grant_ref", "ref"), true), ref)
    }
    view.setBigUint64(offset(struct, "index"), 0x1_0000_2000n, true)
    assert.strictEqual(Abi.index(words), 0x1_0000_2000)
    assert.strictEqual(Abi.mapGrantRef(7, Uint32Array.of(8), 0, 1).byteLength, size(struct))
  })

  it("encodes ranges for DEALLOC_GREF and UNMAP_GRANT_REF", () => {
    const view = viewOf(Abi.range(0x3_8000_1000, 65_536))
    for (const struct of ["ioctl_gntalloc_dealloc_gref", "ioctl_gntdev_unmap_grant_ref"]) {
      assert.strictEqual(view.byteLength, size(struct))
      assert.strictEqual(view.getBigUint64(offset(struct, "index"), true), 0x3_8000_1000n)
      assert.strictEqual(view.getUint32(offset(struct, "count"), true), 65_536)
    }
  })

  it("encodes SET_UNMAP_NOTIFY, on both devices alike", () => {
    for (const struct of ["ioctl_gntalloc_unmap_notify", "ioctl_gntdev_unmap_notify"]) {
      const words = (...[clearByte, port]: ReadonlyArray<number | undefined>) => {
        const view = viewOf(Abi.unmapNotify(0x3_8000_1000, clearByte, port))
        assert.strictEqual(view.byteLength, size(struct))
        return [
          view.getBigUint64(offset(struct, "index"), true),
          view.getUint32(offset(struct, "action"), true),
          view.getUint32(offset(struct, "event_channel_port"), true)
        ]
      }
      assert.deepStrictEqual(words(5), [0x3_8000_1005n, 1, 0])
      assert.deepStrictEqual(words(undefined, 0xffff_ffff), [0x3_8000_1000n, 2, 0xffff_ffff])
      assert.deepStrictEqual(words(0, 7), [0x3_8000_1000n, 3, 7])
      assert.deepStrictEqual(words(), [0x3_8000_1000n, 0, 0])
    }
  })

  it("encodes GRANT_COPY, both directions, and reads the statuses", () => {
    const call = "ioctl_gntdev_grant_copy"
    const header = viewOf(Abi.grantCopy(0x7fff_8765_4321n, 2))
    assert.strictEqual(header.byteLength, size(call))
    assert.strictEqual(header.getUint32(offset(call, "count"), true), 2)
    assert.strictEqual(header.getBigUint64(offset(call, "segments"), true), 0x7fff_8765_4321n)

    const struct = "gntdev_grant_copy_segment"
    assert.strictEqual(Abi.segmentSize, size(struct))
    const view = new DataView(new ArrayBuffer(2 * Abi.segmentSize))
    const grant = { peer: 0x7fef, ref: 0xffff_fffe, offset: 4095 }
    Abi.setSegment(view, 0, "Read", grant, 0x7fff_8765_4321n, 1)
    Abi.setSegment(view, 1, "Write", grant, 0x7fff_8765_4321n, 4096)
    const expected = [["source", "dest", 1, 1], ["dest", "source", 2, 4096]] as const
    for (const [i, [foreign, local, flags, length]] of expected.entries()) {
      const at = (field: string) => i * size(struct) + offset(struct, field)
      assert.strictEqual(view.getUint32(at(`${foreign}.foreign.ref`), true), 0xffff_fffe)
      assert.strictEqual(view.getUint16(at(`${foreign}.foreign.offset`), true), 4095)
      assert.strictEqual(view.getUint16(at(`${foreign}.foreign.domid`), true), 0x7fef)
      assert.strictEqual(view.getBigUint64(at(`${local}.virt`), true), 0x7fff_8765_4321n)
      assert.strictEqual(view.getUint16(at("len"), true), length)
      assert.strictEqual(view.getUint16(at("flags"), true), flags)
      view.setInt16(at("status"), -3 - i, true)
      assert.strictEqual(Abi.segmentStatus(view, i), -3 - i)
    }
    assert.strictEqual(Abi.statusName(-3), "GNTST_bad_gntref")
    assert.strictEqual(Abi.statusName(-13), "GNTST_no_space")
    assert.strictEqual(Abi.statusName(-99), "GNTST -99")
  })
})
