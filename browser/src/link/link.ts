/**
 * A client's one Socket.IO connection: its state, and how it reconnects.
 *
 * The link knows no feeds. When it drops, pending requests are void, and their owners send them again on `connect`.
 */

import { io, type Socket } from "socket.io-client";
import { Emitter } from "./emitter.js";
import { Pulse } from "./pulse.js";
import { backoff, Timer, type Timing } from "./timing.js";
import { Wake } from "./wake.js";

/**
 * Whether events can arrive; never mixed with the state of a task. `polling`: HTTP requests are answered, and the socket failed
 * to connect between two of them. Until that is proven, it is `reconnecting`: the server itself may be away.
 */
export type LinkState = "live" | "reconnecting" | "polling" | "offline";

export interface LinkEvents {
  state: readonly [state: LinkState];
  /** The socket is connected: watch everything again. */
  connect: readonly [];
  /** The socket is gone: pending requests won't be answered. */
  disconnect: readonly [];
  /** The socket has been away for `fallbackAfter`: ask over HTTP until the next `connect`. */
  fallback: readonly [];
  /** The page was asleep or offline and may have missed something, though the socket seems connected. */
  wake: readonly [];
  event: readonly [wire: unknown];
  reset: readonly [wire: unknown];
  /** The server has ended a watch: a feed and a problem. */
  refused: readonly [wire: unknown];
}

export interface LinkOptions {
  /** The server's origin; null: the page's own. */
  readonly origin: string | null;
  /** The path of Socket.IO on that server. */
  readonly path: string;
  readonly timing: Timing;
  readonly random: () => number;
  /** Whether events are expected, so that silence is suspicious. */
  readonly expects: () => boolean;
}

/** A feed that nobody watches: `unwatch` of it changes nothing, and every server acknowledges it. */
const NOTHING = "task:-";
const NAMESPACE = "/petiole";

export class Link {
  readonly #options: LinkOptions;
  readonly #events = new Emitter<LinkEvents>();
  readonly #retry = new Timer();
  readonly #away = new Timer();
  readonly #pulse: Pulse;
  readonly #wake: Wake;
  #socket: Socket | null = null;
  #failures = 0;
  /** Seconds that the server has asked the client to wait before the next attempt. */
  #asked = 0;
  #fallback = false;
  #polled = false;
  /** Whether the present wait is one that the server asked for. */
  #told = false;
  /** What is known of the socket while polls succeed. `blocked`: an attempt failed, and a poll after it was answered. */
  #socketIs: "unknown" | "tried" | "failed" | "blocked" = "unknown";
  /** The browser says that it is offline and nothing has arrived since: a socket that seems connected proves nothing. */
  #doubted = false;
  #cut = false;
  #state: LinkState = "reconnecting";

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#pulse = new Pulse({
      timing: options.timing,
      expects: options.expects,
      ask: (within) => this.#send("unwatch", { feed: NOTHING }, within),
      alive: () => this.#believe(),
      dead: () => this.restart(),
    });
    this.#wake = new Wake({
      woke: () => this.#woke(),
      seen: (long) => {
        if (long || !this.connected) this.#woke();
      },
      offline: () => {
        this.#doubted = true;
        this.#update();
      },
    });
  }

  on<Name extends keyof LinkEvents>(name: Name, listener: (...values: LinkEvents[Name]) => void): () => void {
    return this.#events.on(name, listener);
  }

  get state(): LinkState {
    return this.#state;
  }

  get connected(): boolean {
    return this.#socket?.connected ?? false;
  }

  /** Whether `cut` has taken the connection away: nothing may be asked over HTTP either. */
  get isCut(): boolean {
    return this.#cut;
  }

  /** Whether to ask over HTTP: the socket has been away for too long. */
  get fallback(): boolean {
    return this.#fallback;
  }

  /** Connect, and stay connected until `close`. Opening an open link does nothing. */
  open(): void {
    if (this.#socket) return;
    const { origin, path, timing } = this.#options;
    // WebSocket first: it needs no sticky sessions. The link reconnects by itself, because Socket.IO's jitter ends at its
    // longest wait, after which all clients would come back at once.
    const socket = io(`${origin ?? ""}${NAMESPACE}`, {
      path,
      transports: ["websocket", "polling"],
      tryAllTransports: true,
      reconnection: false,
      timeout: timing.connectWithin * 1000,
      forceNew: true,
      autoConnect: false,
    });
    this.#socket = socket;
    socket.on("connect", () => this.#connected());
    socket.on("disconnect", () => this.#disconnected());
    socket.on("connect_error", (error: Error & { data?: unknown }) => {
      this.#asked = seconds(error.data, "retry_after");
      // A refusal with a reason comes from the server, so the socket isn't blocked.
      if (this.#socketIs === "tried") this.#socketIs = error.data === undefined ? "failed" : "unknown";
      this.#again();
    });
    socket.on("reconnect", (wire: unknown) => this.#move(seconds(wire, "after")));
    socket.on("event", (wire: unknown) => this.#arrived("event", wire));
    socket.on("reset", (wire: unknown) => this.#arrived("reset", wire));
    socket.on("refused", (wire: unknown) => this.#arrived("refused", wire));
    socket.io.on("ping", () => this.#believe());
    this.#away.set(timing.fallbackAfter, () => this.#fallBack());
    this.#wake.open();
    this.#update();
    socket.connect();
  }

  close(): void {
    const socket = this.#socket;
    if (!socket) return;
    this.#socket = null;
    this.#retry.clear();
    this.#away.clear();
    this.#pulse.stop();
    this.#wake.close();
    this.#fallback = this.#polled = this.#doubted = this.#cut = this.#told = false;
    this.#socketIs = "unknown";
    this.#failures = this.#asked = 0;
    this.#state = "reconnecting";
    socket.removeAllListeners();
    socket.io.removeAllListeners("ping");
    socket.disconnect();
  }

  /** Drop a connection that no longer answers, and reconnect. */
  restart(): void {
    this.#socket?.disconnect();
  }

  /** Drop the connection and reconnect after so many seconds, as after a cut cable: for demonstrations and tests. */
  cut(seconds: number): void {
    const socket = this.#socket;
    if (!socket) return;
    this.#cut = true;
    this.#fallback = this.#polled = this.#told = false;
    this.#socketIs = "unknown";
    socket.disconnect();
    this.#failures = 0;
    this.#away.set(seconds + this.#options.timing.fallbackAfter, () => this.#fallBack());
    this.#retry.set(seconds, () => this.#mend());
    this.#update();
  }

  /**
   * Send a message and await its acknowledgement.
   *
   * Throws if none arrives within so many seconds, `answerWithin` by default, or if the socket is away or goes away.
   */
  async ask(
    name: "watch" | "unwatch" | "cancel" | "acknowledge",
    payload: object,
    within: number = this.#options.timing.answerWithin,
  ): Promise<unknown> {
    const answer = await this.#send(name, payload, within);
    this.#believe();
    return answer;
  }

  /** Take the outcome of a poll: the state is `polling` only while polls succeed and the socket is known to fail. */
  polled(succeeded: boolean): void {
    this.#polled = succeeded;
    if (!succeeded) this.#socketIs = "unknown";
    else if (this.#socketIs === "failed") this.#socketIs = "blocked";
    else if (this.#socketIs === "unknown" && !this.#told) this.#tryNow();
    this.#update();
  }

  async #send(name: string, payload: object, within: number): Promise<unknown> {
    if (!this.#socket?.connected) throw new Error("The connection is away. Ask again when it is back.");
    return this.#socket.timeout(within * 1000).emitWithAck(name, payload);
  }

  /** The server is back: connect without waiting, and replace an attempt that began while it was away. */
  #tryNow(): void {
    if (!this.#socket || this.#cut || this.connected) return;
    this.#socketIs = "tried";
    this.#retry.clear();
    this.#socket.disconnect();
    this.#socket.connect();
  }

  #connected(): void {
    this.#failures = this.#asked = 0;
    this.#fallback = this.#polled = this.#doubted = false;
    this.#socketIs = "unknown";
    this.#retry.clear();
    this.#away.clear();
    this.#pulse.start();
    this.#update();
    this.#events.emit("connect");
  }

  #disconnected(): void {
    if (!this.#socket) return;
    this.#pulse.stop();
    this.#away.set(this.#options.timing.fallbackAfter, () => this.#fallBack());
    this.#events.emit("disconnect");
    this.#again();
  }

  #mend(): void {
    this.#cut = false;
    this.#socket?.connect();
  }

  #again(): void {
    if (!this.#socket || this.#cut) return;
    this.#update();
    // The server spreads the first wait over the browsers itself; jitter spreads the later ones.
    const wait = backoff(this.#failures, this.#options.timing, this.#options.random);
    this.#told = this.#asked > 0;
    this.#retry.set(this.#failures === 0 ? Math.max(this.#asked, wait) : this.#asked + wait, () => {
      this.#told = false;
      this.#socket?.connect();
    });
    this.#asked = 0;
    this.#failures += 1;
  }

  /** The server's process is shutting down: reconnect to another one, after the time that it names. */
  #move(after: number): void {
    this.#asked = after;
    this.#failures = 0;
    this.#socket?.disconnect();
  }

  #fallBack(): void {
    this.#fallback = true;
    this.#events.emit("fallback");
  }

  #arrived(name: "event" | "reset" | "refused", wire: unknown): void {
    this.#believe();
    this.#events.emit(name, wire);
  }

  #believe(): void {
    this.#pulse.heard();
    this.#doubted = false;
    this.#update();
  }

  #update(): void {
    const online = globalThis.navigator?.onLine !== false;
    const state: LinkState =
      this.connected && !this.#doubted
        ? "live"
        : !online
          ? "offline"
          : this.#fallback && this.#polled && this.#socketIs === "blocked"
            ? "polling"
            : "reconnecting";
    if (state === this.#state) return;
    this.#state = state;
    this.#events.emit("state", state);
  }

  #woke(): void {
    this.#doubted = false;
    this.#update();
    if (this.connected) {
      this.#events.emit("wake");
    } else if (!this.#cut) {
      this.#failures = 0;
      this.#retry.clear();
      this.#socket?.connect();
    }
  }
}

/** Return this member of a message as seconds, 0 to 60; 0 if it is missing. */
function seconds(wire: unknown, name: string): number {
  const value = typeof wire === "object" && wire !== null ? (wire as Record<string, unknown>)[name] : null;
  return typeof value === "number" && Number.isFinite(value) ? Math.min(Math.max(value, 0), 60) : 0;
}
