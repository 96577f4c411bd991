/** A WebSocket to the server that comes back by itself, after longer and longer pauses, when it is lost. */

const longestPause = 5000

export interface Handlers {
  readonly opened: () => void
  readonly text: (message: string) => void
  readonly binary: (message: ArrayBuffer) => void
  /** Why, where the server has said it. */
  readonly lost: (reason: string) => void
}

export class Link {
  readonly #path: string
  readonly #handlers: Handlers
  #socket: WebSocket | undefined
  #isClosed = false
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(path: string, handlers: Handlers) {
    this.#path = path
    this.#handlers = handlers
    this.#connect(250)
  }

  send(message: string | Uint8Array<ArrayBuffer>) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(message)
  }

  /** For good. */
  close() {
    this.#isClosed = true
    clearTimeout(this.#timer)
    this.#socket?.close()
  }

  #connect(pause: number) {
    const url = new URL(`${this.#path}${location.search}`, location.href)
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:"
    const socket = new WebSocket(url)
    socket.binaryType = "arraybuffer"
    this.#socket = socket
    let next = pause
    socket.addEventListener("open", () => {
      next = 250
      this.#handlers.opened()
    })
    socket.addEventListener("message", ({ data }: MessageEvent<string | ArrayBuffer>) => {
      if (this.#isClosed) return
      if (typeof data === "string") this.#handlers.text(data)
      else this.#handlers.binary(data)
    })
    socket.addEventListener("close", ({ reason }) => {
      if (this.#isClosed) return
      this.#handlers.lost(reason)
      this.#timer = setTimeout(() => this.#connect(Math.min(next * 2, longestPause)), next)
    })
  }
}
