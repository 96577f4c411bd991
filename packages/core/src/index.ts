/** Says whether pages may be written to. */
export * as Access from "./Access.ts"
/** Notes the place of a call. */
export * as CallSite from "./CallSite.ts"
/** Walks, checks and writes the chain of pages that a directory is. */
export * as Chain from "./Chain.ts"
/** Says what is wrong with a page directory, and at which place. */
export * as DirectoryError from "./DirectoryError.ts"
/** Names a Xen domain. */
export * as DomainId from "./DomainId.ts"
/** Ends what a peer may have mapped: with its consent, or after a time without it. */
export * as Ending from "./Ending.ts"
/** Says why an event channel was refused, or has ended. */
export * as EventChannelError from "./EventChannelError.ts"
/** Signals other domains, and waits for theirs. */
export * as EventChannels from "./EventChannels.ts"
/** Names one granted page. */
export * as GrantRef from "./GrantRef.ts"
/** Shares pages with other domains and maps theirs: the service that everything else is built on. */
export * as GrantTable from "./GrantTable.ts"
/** Says why a grant table refused. */
export * as GrantTableError from "./GrantTableError.ts"
/** Acquires in several steps, all or nothing, in a lifetime of its own. */
export * as Lifetime from "./Lifetime.ts"
/** Tells what a peer's buffer is once it is mapped. */
export * as MappedBuffer from "./MappedBuffer.ts"
/** Says who may do what with a node of xenstore. */
export * as NodePermissions from "./NodePermissions.ts"
/** Counts pages. */
export * as Page from "./Page.ts"
/** Lays out grant references on a chain of pages, and reads them back, as values and schemas. */
export * as PageDirectory from "./PageDirectory.ts"
/** Uses a buffer that a frontend shares: the backend's half. */
export * as PeerBuffer from "./PeerBuffer.ts"
/** Names one end of an event channel. */
export * as Port from "./Port.ts"
/** Says why a service of a domain refused, where the reason is not one of its own. */
export * as Reason from "./Reason.ts"
/** Shares a buffer with a backend: the frontend's half. */
export * as SharedBuffer from "./SharedBuffer.ts"
/** Reads and writes memory that another domain may change at any moment. */
export * as SharedMemory from "./SharedMemory.ts"
/** Names a node of xenstore. */
export * as StorePath from "./StorePath.ts"
/** Reads, writes and watches xenstore: the tree of small values in which domains find each other. */
export * as XenStore from "./XenStore.ts"
/** Says why xenstore refused. */
export * as XenStoreError from "./XenStoreError.ts"
