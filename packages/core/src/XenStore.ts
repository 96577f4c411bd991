/**
 * Reads, writes and watches xenstore: the tree of small values in which domains find each other.
 *
 * Values are bytes, and a peer may have written them: what is to be a number or a word gets in through a schema. Xenstore
 * is slow and small; it is for settings, states and references, not for data.
 *
 * @since 0.2.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type * as DomainId from "./DomainId.ts"
import * as Changes from "./internal/changes.ts"
import * as Input from "./internal/input.ts"
import { traced } from "./internal/tracing.ts"
import * as Utf8 from "./internal/utf8.ts"
import type { Permissions, PermissionsInput } from "./NodePermissions.ts"
import { Conflict, InvalidValue, type Reason, XenStoreError } from "./XenStoreError.ts"

/**
 * A value to write: text as UTF-8, or bytes. `InvalidInput` for text that UTF-8 does not have, and bytes that were moved
 * away.
 *
 * @category models
 * @since 0.2.0
 */
export type Value = string | Uint8Array

/**
 * What can be done with nodes, inside of a transaction and out of one. A path that does not begin with / is relative to
 * `/local/domain/<own id>`. Every operation fails with `NotFound` and `AccessDenied` where that is so.
 *
 * @category models
 * @since 0.2.0
 */
export interface Nodes {
  /** The bytes of a node, at most 4096; a copy. */
  readonly read: (path: string) => Effect.Effect<Uint8Array, XenStoreError>
  /** The text of a node. `InvalidValue` for what is not UTF-8. */
  readonly readText: (path: string) => Effect.Effect<string, XenStoreError>
  /** What a schema makes of a node's text, such as {@link Decimal}. `InvalidValue` for what it refuses. */
  readonly readSchema: <A>(path: string, schema: Schema.Codec<A, string>) => Effect.Effect<A, XenStoreError>
  /** Writes a node, and makes it and those above it where they are missing. `TooLong`, `QuotaExceeded`. */
  readonly write: (path: string, value: Value) => Effect.Effect<void, XenStoreError>
  /** The names of the nodes right below a node, of any number. */
  readonly directory: (path: string) => Effect.Effect<ReadonlyArray<string>, XenStoreError>
  /** Makes an empty node unless there is one. */
  readonly makeDirectory: (path: string) => Effect.Effect<void, XenStoreError>
  /** Removes a node with all below it. One that is not there is no failure, unless the one above it is missing too. */
  readonly remove: (path: string) => Effect.Effect<void, XenStoreError>
  /** Who may do what with a node. */
  readonly permissions: (path: string) => Effect.Effect<Permissions, XenStoreError>
  /** Says who may do what with a node; only its owner, and dom0, can. */
  readonly setPermissions: (path: string, permissions: PermissionsInput) => Effect.Effect<void, XenStoreError>
}

/**
 * A transaction that has begun: xenstore's number for it.
 *
 * @category models
 * @since 0.2.0
 */
export type TransactionId = number

/**
 * A watch that an implementation has set.
 *
 * @category models
 * @since 0.2.0
 */
export interface Watch {
  /** Ends it. Called once, however the scope ends; must not throw. */
  readonly release: () => void
}

/**
 * Makes an effect as interruptible as it was where the service was called: not at all in a finalizer.
 *
 * @category models
 * @since 0.2.0
 */
export type Restore = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/**
 * What an implementation provides; `make` turns it into the service. Paths, permissions and ids arrive checked, values as
 * bytes. An operation with a transaction's id takes part in it; 0 is none.
 *
 * What gets a `restore` runs uninterruptibly, because it acquires or releases something: where it waits, it may wait within
 * `restore`, and give back what comes too late.
 *
 * @category models
 * @since 0.2.0
 */
export interface Driver {
  /** The bytes of a node. */
  readonly read: (path: string, transaction: TransactionId) => Effect.Effect<Uint8Array, XenStoreError>
  /** Writes a node, and makes it and those above it where they are missing. */
  readonly write: (path: string, value: Uint8Array, transaction: TransactionId) => Effect.Effect<void, XenStoreError>
  /** The names of the nodes right below a node. */
  readonly directory: (
    path: string,
    transaction: TransactionId
  ) => Effect.Effect<ReadonlyArray<string>, XenStoreError>
  /** Makes an empty node unless there is one. */
  readonly makeDirectory: (path: string, transaction: TransactionId) => Effect.Effect<void, XenStoreError>
  /** Removes a node with all below it. */
  readonly remove: (path: string, transaction: TransactionId) => Effect.Effect<void, XenStoreError>
  /** Who may do what with a node. */
  readonly permissions: (path: string, transaction: TransactionId) => Effect.Effect<Permissions, XenStoreError>
  /** Says who may do what with a node. */
  readonly setPermissions: (
    path: string,
    permissions: Permissions,
    transaction: TransactionId
  ) => Effect.Effect<void, XenStoreError>
  /** Begins a transaction. What is acquired is released by `commit` or `abort`, one of which always follows. */
  readonly begin: (restore: Restore) => Effect.Effect<TransactionId, XenStoreError>
  /** Ends a transaction, also where it fails or is interrupted. False where others have changed what it used: nothing of it has happened. */
  readonly commit: (transaction: TransactionId, restore: Restore) => Effect.Effect<boolean, XenStoreError>
  /** Ends a transaction, and nothing of it has happened. */
  readonly abort: (transaction: TransactionId) => Effect.Effect<void>
  /**
   * Watches a path, and all below it; `changed` is called with each path that changed, and once at the beginning, `ended`
   * where no change can come any more. Both are cheap and synchronous.
   */
  readonly watch: (
    path: string,
    changed: (path: string) => void,
    ended: (reason: Reason) => void,
    restore: Restore
  ) => Effect.Effect<Watch, XenStoreError>
  /** Which domain we are. */
  readonly ownId: Effect.Effect<DomainId.DomainId, XenStoreError>
}

/**
 * How often a transaction is tried, unless said otherwise.
 *
 * @category constants
 * @since 0.2.0
 */
export const defaultAttempts = 16

/**
 * Different paths that a watch keeps until they are looked at, unless said otherwise.
 *
 * @category constants
 * @since 0.2.0
 */
export const defaultPaths = 256

/**
 * Xenstore as the domain that we run in sees it.
 *
 * @category services
 * @since 0.2.0
 */
export class XenStore extends Context.Service<XenStore, Nodes & {
  /**
   * Runs `body` in a transaction: all that it does to the nodes that it is given happens at once, or nothing, when it
   * fails or is interrupted. It runs again where others changed meanwhile what it used, {@link defaultAttempts} times at
   * most, then fails with `Conflict`: so let it do nothing else. Xen bounds how many a guest has open at one time: those of
   * more fibers wait their turn, but one inside of another, which should not be, goes first.
   */
  readonly transaction: <A, E, R>(
    body: (nodes: Nodes) => Effect.Effect<A, E, R>,
    options?: { readonly attempts?: number | undefined }
  ) => Effect.Effect<A, E | XenStoreError, R>
  /**
   * The paths that change, at the watched one or below it, for as long as the stream is run; the watched path itself
   * first, without a change: so begin to look when it comes. Changes of one path that nobody has taken yet are one; of
   * more than `paths` different ones ({@link defaultPaths}) the watched path is left, once: look at all below it. A path
   * of ours that was given relative to our domain comes back like that.
   */
  readonly watch: (
    path: string,
    options?: { readonly paths?: number | undefined }
  ) => Stream.Stream<string, XenStoreError>
  /** Which domain we are: the node `domid`, which the toolstack writes. */
  readonly ownId: Effect.Effect<DomainId.DomainId, XenStoreError>
}>()("@xen-shbuf/core/XenStore") {}

const decimal = /^(?:0|[1-9][0-9]{0,9})$/

/**
 * A whole number from 0 to 2^32 - 1 as xenstore's values have it: decimal, nothing before or after it.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Decimal: Schema.Codec<number, string> = Schema.String.check(
  Schema.makeFilter((text: string) => decimal.test(text) && Number(text) <= 0xffff_ffff, {
    expected: "a whole number from 0 to 4294967295, in decimal"
  })
).pipe(Schema.decodeTo(
  Schema.Number,
  SchemaTransformation.transform<number, string>({ decode: Number, encode: String })
))

/**
 * Turns `NotFound` into a value that is missing.
 *
 * @category combinators
 * @since 0.2.0
 */
export const ifPresent = <A, R>(
  self: Effect.Effect<A, XenStoreError, R>
): Effect.Effect<Option.Option<A>, XenStoreError, R> =>
  Effect.matchEffect(self, {
    onSuccess: (value) => Effect.succeed(Option.some(value)),
    onFailure: (error) => error.reason._tag === "NotFound" ? Effect.succeed(Option.none()) : Effect.fail(error)
  })

type Operation = XenStoreError["operation"]

const failed = (operation: Operation, reason: Reason) => Effect.fail(new XenStoreError({ operation, reason }))

const transactionEnded = Effect.die(
  new Error("This transaction has ended: what it was given can only be used inside of its body.")
)

/** A transaction that a driver has begun, or none, which never ends. */
interface Transaction {
  readonly id: TransactionId
  hasEnded: boolean
}

const none: Transaction = { id: 0, hasEnded: false }

/** An operation on a path, which is checked first. */
const at = <A>(
  operation: Operation,
  path: string,
  transaction: Transaction,
  run: (path: string, id: TransactionId) => Effect.Effect<A, XenStoreError>
): Effect.Effect<A, XenStoreError> =>
  traced(`XenStore.${operation}`, { path }, Effect.suspend(() => {
    // Its number may be another's by now.
    if (transaction.hasEnded) return transactionEnded
    const checked = Input.nodePath("path", path)
    return Result.isSuccess(checked) ? run(checked.success, transaction.id) : failed(operation, checked.failure)
  }))

const textOf = (path: string, bytes: Uint8Array): Effect.Effect<string, XenStoreError> => {
  const text = Utf8.decode(bytes)
  return Result.isSuccess(text)
    ? Effect.succeed(text.success)
    : failed("read", new InvalidValue({ path, detail: "it is not UTF-8" }))
}

/** What a peer wrote, short enough to be said. */
const quoted = (text: string) => JSON.stringify(text.length > 64 ? `${text.slice(0, 64)}…` : text)

const decoded = <A>(path: string, schema: Schema.Codec<A, string>) => (text: string): Effect.Effect<A, XenStoreError> =>
  Effect.mapError(Schema.decodeEffect(schema)(text), ({ message }) =>
    new XenStoreError({
      operation: "read",
      reason: new InvalidValue({ path, detail: `${quoted(text)} is refused: ${firstLine(message)}` })
    }))

/** The first line that says what was wrong; what follows may repeat all that a peer wrote. */
const firstLine = (message: string): string => message.split("\n", 1)[0]!.slice(0, 200)

/** A copy: the caller may change the bytes before they are on their way. */
const bytesOf = (value: Value): Result.Result<Uint8Array, Reason> => {
  if (typeof value === "string") {
    return value.isWellFormed()
      ? Result.succeed(Utf8.encode(value))
      : Input.invalid("value", value, "text that UTF-8 has: no half of a pair of surrogates")
  }
  if (!(value instanceof Uint8Array)) return Input.invalid("value", value, "text, or a Uint8Array")
  if (value.buffer instanceof ArrayBuffer && value.buffer.detached) {
    return Input.invalid("value", value, "bytes that are still there: their buffer was moved away, or has ended")
  }
  // Not by `slice`, which is no copy where the bytes are a Buffer of Node.
  const bytes = new Uint8Array(value.length)
  bytes.set(value)
  return Result.succeed(bytes)
}

const permissionsOf = (input: PermissionsInput): Result.Result<Permissions, Reason> =>
  Result.all({
    owner: Input.domainId("owner", input.owner),
    others: Input.nodeAccess("others", input.others),
    domains: Result.all((input.domains ?? []).map(({ access, domain }, i) =>
      Result.all({
        domain: Input.domainId(`domains[${i}].domain`, domain),
        access: Input.nodeAccess(`domains[${i}].access`, access)
      })
    ))
  })

/** The operations on nodes, in a transaction or out of one. */
const nodes = (driver: Driver, transaction: Transaction): Nodes => {
  const read = (path: string) => at("read", path, transaction, driver.read)
  const readText = (path: string) => Effect.flatMap(read(path), (bytes) => textOf(path, bytes))
  return {
    read,
    readText,
    readSchema: (path, schema) => Effect.flatMap(readText(path), decoded(path, schema)),
    write: (path, value) =>
      at("write", path, transaction, (path, id) => {
        const bytes = bytesOf(value)
        return Result.isSuccess(bytes) ? driver.write(path, bytes.success, id) : failed("write", bytes.failure)
      }),
    directory: (path) => at("directory", path, transaction, driver.directory),
    makeDirectory: (path) => at("makeDirectory", path, transaction, driver.makeDirectory),
    remove: (path) => at("remove", path, transaction, driver.remove),
    permissions: (path) => at("permissions", path, transaction, driver.permissions),
    setPermissions: (path, permissions) =>
      at("setPermissions", path, transaction, (path, id) => {
        const checked = permissionsOf(permissions)
        return Result.isSuccess(checked)
          ? driver.setPermissions(path, checked.success, id)
          : failed("setPermissions", checked.failure)
      })
  }
}

/**
 * Transactions that one service has open at one time, those inside of others not counted. Xen lets a guest have ten, with
 * all of its programs and its Linux.
 */
const mostOpen = 4

/** Who may have a transaction open, of one service. */
interface Turns {
  readonly driver: Driver
  readonly semaphore: Semaphore.Semaphore
}

/** The transactions in whose bodies a fiber is, the innermost first. */
interface Outer {
  readonly turns: Turns
  readonly transaction: Transaction
  readonly outer: Outer | undefined
}

const Within = Context.Reference<Outer | undefined>("@xen-shbuf/core/XenStore/Within", { defaultValue: () => undefined })

/** Whether a transaction of the same service is open around this one, and would wait for it in vain while it waits its turn. */
const isInside = (turns: Turns, within: Outer | undefined): boolean => {
  for (let one = within; one !== undefined; one = one.outer) {
    if (one.turns === turns && !one.transaction.hasEnded) return true
  }
  return false
}

/** Waits, in milliseconds, for others of this domain that have all the transactions that it may have: 1.3 s in all. */
const waits: ReadonlyArray<number> = [5, 10, 20, 40, 80, 160, 320, 640]

const begin = (driver: Driver, restore: Restore, waited = 0): Effect.Effect<TransactionId, XenStoreError> =>
  Effect.catch(driver.begin(restore), (error) => {
    const wait = waits[waited]
    const isFull = error.reason._tag === "QuotaExceeded" && error.reason.quota === "transactions"
    return isFull && wait !== undefined
      ? Effect.andThen(restore(Effect.sleep(wait)), begin(driver, restore, waited + 1))
      : Effect.fail(error)
  })

/** Tries a transaction once; nothing where others were faster. */
const attempt = <A, E, R>(
  turns: Turns,
  outer: Outer | undefined,
  body: (nodes: Nodes) => Effect.Effect<A, E, R>
): Effect.Effect<Option.Option<A>, E | XenStoreError, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(begin(turns.driver, restore), (id) => {
      const { driver } = turns
      const transaction: Transaction = { id, hasEnded: false }
      const run = Effect.provideService(
        Effect.suspend(() => body(nodes(driver, transaction))),
        Within,
        { turns, transaction, outer }
      )
      return Effect.matchCauseEffect(restore(run), {
        onFailure: (cause) => {
          transaction.hasEnded = true
          return Effect.andThen(driver.abort(id), Effect.failCause(cause))
        },
        onSuccess: (value) => {
          transaction.hasEnded = true
          return Effect.map(driver.commit(id, restore), (isDone) => isDone ? Option.some(value) : Option.none())
        }
      })
    })
  )

const transaction = (driver: Driver): XenStore["Service"]["transaction"] => {
  const turns: Turns = { driver, semaphore: Semaphore.makeUnsafe(mostOpen) }
  return (body, { attempts = defaultAttempts } = {}) =>
    traced("XenStore.transaction", { attempts }, Effect.withFiber(({ context }) => {
      const checked = Input.atLeastOne("attempts", attempts)
      if (Result.isFailure(checked)) return failed("transaction", checked.failure)
      const outer = Context.get(context, Within)
      const all = tries(turns, outer, body, attempts)
      return isInside(turns, outer) ? all : Semaphore.withPermit(turns.semaphore, all)
    }))
}

const tries = Effect.fnUntraced(function*<A, E, R>(
  turns: Turns,
  outer: Outer | undefined,
  body: (nodes: Nodes) => Effect.Effect<A, E, R>,
  attempts: number
) {
  for (let left = attempts; left > 0; left--) {
    const done = yield* attempt(turns, outer, body)
    if (Option.isSome(done)) return done.value
    // Whoever was faster may be a fiber of ours.
    yield* Effect.yieldNow
  }
  return yield* failed("transaction", new Conflict({ attempts }))
})

const watch = (driver: Driver): XenStore["Service"]["watch"] => (path, { paths = defaultPaths } = {}) =>
  Stream.unwrap(Effect.suspend((): Effect.Effect<Stream.Stream<string, XenStoreError>, XenStoreError, Scope.Scope> => {
    const checked = Result.all({ path: Input.storePath("path", path), paths: Input.atLeastOne("paths", paths) })
    if (Result.isFailure(checked)) return failed("watch", checked.failure)
    const changes = Changes.make<XenStoreError>(path, paths)
    const ended = (reason: Reason) => changes.end(new XenStoreError({ operation: "watch", reason }))
    const watching = Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(driver.watch(path, changes.add, ended, restore), ({ release }) =>
        Effect.addFinalizer(() => Effect.sync(release))))
    return Effect.as(watching, Stream.fromIterableEffectRepeat(changes.take))
  }))

/**
 * Makes the service from an implementation: checks every argument, decodes values, retries transactions, coalesces what
 * watches tell, opens a span where somebody traces.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = (driver: Driver): XenStore["Service"] =>
  XenStore.of({
    ...nodes(driver, none),
    transaction: transaction(driver),
    watch: watch(driver),
    ownId: traced("XenStore.ownId", {}, driver.ownId)
  })
