/** Hears when a device has something to tell, without a thread for it. */
export * as Arrivals from "./Arrivals.ts"

/** Opens, reads and writes devices, and says what an administrator can do. */
export * as Device from "./Device.ts"

/** Maps memory of devices and files, and ends it so that nothing can reach pages that are gone. */
export * as MappedMemory from "./MappedMemory.ts"

/** Calls Linux. */
export * as SystemCalls from "./SystemCalls.ts"
