/**
 * Tells what a peer's buffer is once it is mapped, whichever side has allocated it.
 *
 * @since 0.2.0
 */
import type { Access } from "./Access.ts"
import type * as DomainId from "./DomainId.ts"
import type { UnmapNotify } from "./GrantTable.ts"
import type * as Page from "./Page.ts"
import type * as SharedMemory from "./SharedMemory.ts"

/**
 * A peer's buffer, mapped.
 *
 * @category models
 * @since 0.2.0
 */
export interface MappedBuffer<A extends Access = Access> {
  /** Whose buffer it is. */
  readonly peer: DomainId.DomainId
  /** Writing to a read-only buffer kills the process. */
  readonly access: A
  /** Size of the buffer in bytes, as asked for. */
  readonly byteLength: number
  /** Pages of the buffer, without its directory. */
  readonly pages: Page.PageCount
  /**
   * The buffer, exactly the size asked for. The peer may change it at any time, also while you look: copy it, then look
   * at the copy.
   */
  readonly bytes: SharedMemory.WithAccess<A>
  /** For an owner who wants to know when its buffer is free again; offsets are those of `bytes`. */
  readonly unmapNotify: UnmapNotify
}
