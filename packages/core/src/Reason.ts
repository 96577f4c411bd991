/**
 * Says why a service of a domain refused, where the reason is not one of its own: what was asked of it, its device, or
 * what it lacks.
 *
 * @since 0.2.0
 */
import * as Schema from "effect/Schema"
import { text } from "./internal/text.ts"

/**
 * An argument is outside of the field's real bounds. Nothing was asked of Xen.
 *
 * @category errors
 * @since 0.2.0
 */
export class InvalidInput extends Schema.TaggedError<InvalidInput>()("InvalidInput", {
  /** The name of the argument. */
  argument: Schema.String,
  /** What was given, in words. */
  value: Schema.String,
  /** What it must be, in words. */
  expected: Schema.String
}) {
  override get message() {
    return `${this.argument} is ${this.value}, but must be ${this.expected}.`
  }
}

/**
 * An {@link InvalidInput} for whatever was given: of a long text, the first 200 characters are in it.
 *
 * @category constructors
 * @since 0.2.0
 */
export const invalidInput = (argument: string, value: unknown, expected: string): InvalidInput =>
  new InvalidInput({ argument, value: text(value), expected })

/**
 * A device can't be opened: no Xen, no module, or no permission.
 *
 * @category errors
 * @since 0.2.0
 */
export class DeviceUnavailable extends Schema.TaggedError<DeviceUnavailable>()("DeviceUnavailable", {
  /** The file of the device. */
  device: Schema.String,
  /** The operating system's word for it, such as ENOENT. */
  errno: Schema.String,
  /** What an administrator can do, in words. */
  remedy: Schema.String
}) {
  override get message() {
    return `${this.device} can't be used (${this.errno}). ${this.remedy}`
  }
}

/**
 * A device answered in a way that is not part of its contract with us, such as ENOMEM.
 *
 * @category errors
 * @since 0.2.0
 */
export class DeviceFailed extends Schema.TaggedError<DeviceFailed>()("DeviceFailed", {
  /** The file of the device. */
  device: Schema.String,
  /** The call that failed, such as mmap. */
  call: Schema.String,
  /** The operating system's word for it, such as ENOMEM. */
  errno: Schema.String
}) {
  override get message() {
    return `${this.call} on ${this.device} failed with ${this.errno}. The kernel's log may say more.`
  }
}

/**
 * This implementation of a service has no such operation.
 *
 * @category errors
 * @since 0.2.0
 */
export class Unsupported extends Schema.TaggedError<Unsupported>()("Unsupported", {
  /** What is not there, in words. */
  feature: Schema.String,
  /** Why not, in words. */
  detail: Schema.String
}) {
  override get message() {
    return `${this.feature} is not supported here: ${this.detail}.`
  }
}
