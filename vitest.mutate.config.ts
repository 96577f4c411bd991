// For `npm run mutate`: the suites that find faults in core and in the driver of the devices, in threads and without flags,
// as the tool runs them.
import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    // A fault may make a test slow, and the machine is busy.
    testTimeout: 60_000,
    include: [
      "packages/core/test/{CallSite,Chain,Ending,Errors,GrantTable,PageDirectory,PeerBuffer,SharedBuffer,SharedMemory}.test.ts",
      "packages/xen-gntdev/test/{Abi,GntDev,Preflight}.test.ts"
    ]
  }
})
