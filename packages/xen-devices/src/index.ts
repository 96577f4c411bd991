/** Provides event channels through `/dev/xen/evtchn`. */
export * as EvtChn from "./EvtChn.ts"

/** Provides xenstore through `/dev/xen/xenbus` or xenstored's socket. */
export * as StoreClient from "./StoreClient.ts"

/** Provides all that a domain has. */
export * as XenDevices from "./XenDevices.ts"

/** Codes what goes between a domain and xenstore. */
export * as XenStoreWire from "./XenStoreWire.ts"
