/**
 * Says why a service of a domain refused, where the reason is not one of its own: what was asked of it, its device, or
 * what it lacks.
 *
 * @since 0.2.0
 */
import * as Schema from "effect/Schema"

/**
 * An argument is outside of the field's real bounds. Nothing was asked of Xen.
 *
 * @category errors
 * @since 0.2.0
 */
export class InvalidInput extends Schema.TaggedError<InvalidInput>()("InvalidInput", {
  argument: Schema.String,
  value: Schema.String,
  expected: Schema.String
}) {
  override get message() {
    return `${this.argument} is ${this.value}, but must be ${this.expected}.`
  }
}

/**
 * A device can't be opened: no Xen, no module, or no permission.
 *
 * @category errors
 * @since 0.2.0
 */
export class DeviceUnavailable extends Schema.TaggedError<DeviceUnavailable>()("DeviceUnavailable", {
  device: Schema.String,
  /** The operating system's word for it, such as ENOENT. */
  errno: Schema.String,
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
  device: Schema.String,
  call: Schema.String,
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
  feature: Schema.String,
  detail: Schema.String
}) {
  override get message() {
    return `${this.feature} is not supported here: ${this.detail}.`
  }
}
