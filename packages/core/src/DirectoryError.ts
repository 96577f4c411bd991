/**
 * Says what is wrong with a page directory, and at which place.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

const page = Schema.Int
const index = Schema.Int
const hex = (word: number) => `${word} (0x${word.toString(16)})`

/**
 * A directory holds 1 to 1 048 576 references, on exactly ceil(references / 1023) pages.
 *
 * @category errors
 * @since 0.1.0
 */
export class WrongCount extends Schema.TaggedError<WrongCount>()("WrongCount", {
  /** As asked for, in words: perhaps not even a number. */
  refs: Schema.String,
  /** Pages of the directory. */
  pages: Schema.Int
}) {
  override get message() {
    return `${this.refs} references don't fit a directory of ${this.pages} pages: ` +
      "it takes 1 to 1048576 references, and one page for every 1023 of them."
  }
}

/**
 * The peer claims a buffer that the caller does not take: bigger than it allows, or of no bytes at all.
 *
 * @category errors
 * @since 0.2.0
 */
export class WrongSize extends Schema.TaggedError<WrongSize>()("WrongSize", {
  /** Bytes, as the peer claims. */
  byteLength: Schema.Int,
  /** The most that the caller takes, in bytes. */
  maximum: Schema.Int
}) {
  override get message() {
    return `The peer's buffer has ${this.byteLength} bytes, but must have from 1 to ${this.maximum}, ` +
      "this caller's limit (maxByteLength)."
  }
}

/**
 * The chain ends before the last page that the buffer's size calls for.
 *
 * @category errors
 * @since 0.1.0
 */
export class TooShort extends Schema.TaggedError<TooShort>()("TooShort", {
  /** Pages that the directory has. */
  pages: page,
  /** Pages that the buffer's size calls for. */
  expected: page
}) {
  override get message() {
    return `The directory ends after ${this.pages} of ${this.expected} pages: the peer meant a smaller buffer.`
  }
}

/**
 * The last page that the buffer's size calls for links on.
 *
 * @category errors
 * @since 0.1.0
 */
export class TooLong extends Schema.TaggedError<TooLong>()("TooLong", {
  /** Pages that the buffer's size calls for. */
  expected: page,
  /** The word that links on. */
  next: Schema.Int
}) {
  override get message() {
    return `The directory goes on to ${hex(this.next)} after ${this.expected} pages: the peer meant a bigger buffer.`
  }
}

/**
 * A page links back to one that came before.
 *
 * @category errors
 * @since 0.1.0
 */
export class Cyclic extends Schema.TaggedError<Cyclic>()("Cyclic", {
  /** The page that links back. */
  page,
  /** The reference that it links to. */
  ref: Schema.Int,
  /** The page that has this reference. */
  firstPage: page
}) {
  override get message() {
    return `Directory page ${this.page} links back to page ${this.firstPage} (grant ${this.ref}).`
  }
}

/**
 * A link that can't be a grant reference: reserved (0 to 7), or 0xFFFFFFFF. 0 is the proper end of the last page only.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidLink extends Schema.TaggedError<InvalidLink>()("InvalidLink", {
  /** The page that the link leads to; that to page 0 stands in the peer's request. */
  to: page,
  /** What stands there, as a number of 32 bits. */
  word: Schema.Int
}) {
  override get message() {
    return `The link to directory page ${this.to} is ${hex(this.word)}, which can't be a grant reference.`
  }
}

/**
 * A word that can't be a grant reference stands where one must be: 0, reserved (1 to 7), or 0xFFFFFFFF.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidRef extends Schema.TaggedError<InvalidRef>()("InvalidRef", {
  /** The page of the directory that it stands in. */
  page,
  /** Position in the buffer, from 0, in pages. */
  index,
  /** What stands there, as a number of 32 bits. */
  word: Schema.Int
}) {
  override get message() {
    const what = this.word === 0 ? "is 0: it was never filled in" : `is ${hex(this.word)}, which can't be a grant reference`
    return `The reference of buffer page ${this.index} (directory page ${this.page}) ${what}.`
  }
}

/**
 * Two places name one reference, so two pages of the buffer would be the same memory; or a page of the buffer is
 * also one of the directory.
 *
 * @category errors
 * @since 0.1.0
 */
export class RepeatedRef extends Schema.TaggedError<RepeatedRef>()("RepeatedRef", {
  /** The page of the directory that the repetition stands in. */
  page,
  /** Position of the repetition in the buffer, from 0, in pages. */
  index,
  /** The reference. */
  ref: Schema.Int,
  /** Where the reference stood first: as a page of the buffer, or of the directory itself. */
  first: Schema.Struct({
    /** What it is a page of. */
    part: Schema.Literals(["buffer", "directory"]),
    /** Which of its pages, from 0. */
    page
  })
}) {
  override get message() {
    const { first, index, ref } = this
    return `Buffer page ${index} (directory page ${this.page}) repeats grant ${ref} of ${first.part} page ${first.page}.`
  }
}

/**
 * All reasons of a {@link DirectoryError}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Reason = Schema.Union([
  WrongCount,
  WrongSize,
  TooShort,
  TooLong,
  Cyclic,
  InvalidLink,
  InvalidRef,
  RepeatedRef
])

/**
 * What is wrong with a directory.
 *
 * @category models
 * @since 0.1.0
 */
export type Reason = typeof Reason.Type

/**
 * A page directory can't be used; nothing of it is mapped. Pages and indexes count from 0.
 *
 * @category errors
 * @since 0.1.0
 */
export class DirectoryError extends Schema.TaggedError<DirectoryError>()("DirectoryError", {
  /** What is wrong, and where. */
  reason: Reason
}) {
  override get message() {
    return this.reason.message
  }
}
