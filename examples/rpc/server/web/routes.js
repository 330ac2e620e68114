/**
 * Tick is what the client sends.
 * @typedef {{ client: string; bye?: string }} Tick
 */

/**
 * Tock is what the server sends.
 * @typedef {{ client: string; server: string }} Tock
 */

/** StatusBye is the code of a close that the client asked for. */
export const StatusBye = 4001;

/**
 * Clock is the endpoint: the client sends its time, the server answers with its own.
 * @type {Route<Tick, Tock, {}>}
 */
export const Clock = route("/ws");

// What follows is the same in every file that wsts writes.

/**
 * Parameters after the "?". Those that are undefined are left out; of a list each is sent.
 * @typedef {Record<string, string | number | boolean | undefined | readonly (string | number | boolean)[]>} Query
 */

/**
 * How a connection, or an attempt to make one, ended.
 * @typedef {object} Closed
 * @property {number} code The close code (RFC 6455, section 7.4). 1006 if there was none, and whenever a handshake
 * failed: a page is not told why. A server that has ws.Upgrader.RejectWithClose tells it as 4000 + the HTTP status:
 * 4401 for a 401.
 * @property {string} reason
 * @property {boolean} wasClean
 * @property {unknown} [error] What query, protocols or the constructor of WebSocket threw; reason has it as a string.
 * @property {number} [retryIn] Milliseconds until the next attempt. undefined: this was the last one.
 */

/**
 * When to come back.
 * @typedef {object} Retry
 * @property {number} [first] Milliseconds before the first attempt. They double with each that fails, and each wait is
 * shortened at random by up to half. A connection that lasted shorter than the wait before it counts as one that
 * failed. Default: 500.
 * @property {number} [max] Milliseconds that a wait has at most. Default: 30,000.
 * @property {number} [attempts] How often to try again in a row. Default: without a limit.
 * @property {(e: Closed, byDefault: boolean) => boolean} [after] Whether to come back after this end. byDefault is the
 * answer where there is no such function: true but for 1000, 1002, 1003, 1007 to 1010 and 4000 to 4999, which say that
 * it would end in the same way again. So that a token that has run out is renewed:
 *
 *	query: async () => ({ token: await freshToken() }),
 *	retry: { after: (e, byDefault) => byDefault || e.code === 4401 },
 */

/**
 * Turns values into messages and back. encode must not make an empty string: that is a heartbeat.
 * @template In, Out
 * @typedef {object} Codec
 * @property {(v: In) => string | ArrayBuffer | ArrayBufferView} encode
 * @property {(data: string | ArrayBuffer) => Out} decode
 */

/**
 * The part of the standard's WebSocket that is used.
 * @typedef {object} Socket
 * @property {number} readyState
 * @property {number} bufferedAmount
 * @property {string} protocol
 * @property {any} binaryType
 * @property {unknown} onopen
 * @property {unknown} onmessage
 * @property {unknown} onclose
 * @property {unknown} onerror
 * @property {(data: any) => void} send
 * @property {(code?: number, reason?: string) => void} close
 */

/**
 * Where the server's routes are, and what their paths need. base is a URL. Default: the page's own origin.
 * @template Params
 * @typedef {{ base?: string | URL } & (keyof Params extends never ? { params?: Record<string, never> } : { params: Params })} Place
 */

/**
 * @template In, Out, Params
 * @typedef {Place<Params> & Settings<In, Out>} Options
 */

/**
 * What a connection does. What onOpen, onMessage, onInvalid, onClose or after throw is reported as an unhandled
 * rejection, and changes nothing else.
 * @template In, Out
 * @typedef {object} Settings
 * @property {Query | (() => Query | Promise<Query>)} [query] A function is asked before every attempt: for a new token,
 * or the number of the last message.
 * @property {string | string[] | (() => string | string[] | Promise<string | string[]>)} [protocols] The subprotocols
 * that are offered. A function is asked before every attempt.
 * @property {(c: Connection<In>) => void} [onOpen] Called for every connection, also after coming back.
 * @property {(m: Out, c: Connection<In>) => void} [onMessage]
 * @property {(data: string | ArrayBuffer, error: unknown) => void} [onInvalid] Called for data that does not decode.
 * Default: the connection is closed with 4007 for good.
 * @property {(e: Closed) => void} [onClose] Called whenever a connection or an attempt ended. The last call, for which
 * retryIn is undefined, is the end.
 * @property {Retry | false} [retry] false: a connection that ended is not tried again. Default: it is, as Retry says.
 * @property {number} [timeout] Milliseconds that an attempt, with the asking before it, or a closing may take.
 * Default: 10,000.
 * @property {number} [heartbeat] Milliseconds of silence after which the server is sent an empty message, and after
 * which its answer must have come: without it a page does not notice a network that is gone. Default: none.
 * @property {AbortSignal} [signal] Closes the connection.
 * @property {new (url: string | URL, protocols?: string | string[]) => Socket} [WebSocket] The class to use, where
 * there is none or another than the global one is wanted: the npm package ws has one.
 */

/**
 * A connection that comes back by itself, until close is called or Retry says no.
 * @template In
 * @typedef {object} Connection
 * @property {boolean} isOpen Whether a message can be sent now.
 * @property {string} protocol The subprotocol that the server chose, or "".
 * @property {number} buffered Bytes that wait to be sent.
 * @property {(v: In) => boolean} send Sends v, or returns false if the connection is not open: nothing is kept for a
 * later one. Throws if v can't be encoded.
 * @property {(code?: number, reason?: string) => void} close Ends the connection for good. No message comes after it.
 * code is 1000 or 3000 to 4999, reason has at most 123 bytes; an open connection throws for others. Default: 1000.
 * @property {() => void} retryNow Ends the current wait, if there is one: tries now, and if that fails waits as at
 * first. The event online does so too.
 * @property {Promise<Closed>} done Resolves when the connection has ended for good: nothing of it is left then.
 */

/**
 * url returns the address that connect opens. connect returns at once, and connects soon after. It throws where no
 * attempt could succeed: if a parameter is missing or unknown, or there is no base or no WebSocket.
 * @template In, Out, Params
 * @typedef {object} Route
 * @property {string} path
 * @property {(o: Place<Params> & { query?: Query }) => URL} url
 * @property {(o: Options<In, Out, Params>) => Connection<In>} connect
 */

/**
 * A route whose messages are not JSON.
 * @template In, Out, Params
 * @typedef {object} CodecRoute
 * @property {string} path
 * @property {(o: Place<Params> & { query?: Query }) => URL} url
 * @property {(o: Options<In, Out, Params> & { codec: Codec<In, Out> }) => Connection<In>} connect
 */

/**
 * What a route receives.
 * @template R
 * @typedef {R extends { connect(o: infer O): unknown } ? (O extends { onMessage?(m: infer Out, c: any): void } ? Out : never) : never} Received
 */

/** @type {(path: string, o: { base?: string | URL, params?: any }, query: Query) => URL} */
function address(path, o, query) {
	/** @type {any} */
	const page = globalThis;
	/** @type {any} */
	const params = { ...o.params };
	const u = new URL(o.base ?? "/", page.location?.href);
	u.protocol = u.protocol.replace("http", "ws");
	// The wildcards are {name}, {name...}, {$} and {name:regexp}, whose braces may be nested once.
	u.pathname = u.pathname.replace(/\/$/, "") + path.replace(/\{((?:[^{}]|\{[^{}]*\})*)\}/g, (_, /** @type {string} */ wildcard) => {
		const name = wildcard.replace(/:.*|[.]{3}$/s, "");
		if (name === "$") return "";
		const value = String(params[name] ?? ".");
		const many = wildcard.endsWith("...");
		const parts = many ? value.split("/") : [value];
		if (parts.some((p) => p === "." || p === ".." || (!p && !many))) {
			throw new Error(`ws: the route ${path} needs ${name}, not "${params[name]}"`);
		}
		delete params[name];
		return parts.map(encodeURIComponent).join("/");
	});
	for (const name in params) throw new Error(`ws: the route ${path} has no parameter ${name}`);
	for (const [k, v] of Object.entries(query)) {
		for (const x of [v].flat()) if (x !== undefined) u.searchParams.append(k, String(x));
	}
	return u;
}

/**
 * Calls f at once. What it throws becomes an unhandled rejection, which is reported.
 * @param {() => void} f
 */
async function safely(f) {
	f();
}

/** @type {(v: any) => Promise<any>} */
async function ask(v) {
	await undefined; // v may use what connect returns
	return typeof v === "function" ? v() : v;
}

/**
 * @template In, Out
 * @param {string} path
 * @param {Codec<In, Out>} codec
 * @param {Settings<In, Out> & { params?: unknown }} o
 * @returns {Connection<In>}
 */
function connect(path, codec, o) {
	/** @type {any} */
	const page = globalThis;
	/** @type {NonNullable<Settings<In, Out>["WebSocket"]>} */
	const WS = o.WebSocket ?? page.WebSocket;
	if (!WS) throw new Error("ws: no WebSocket here; set the option");
	address(path, o, {});
	const { timeout = 10_000, heartbeat = 0, signal } = o;
	/** @type {Retry} */
	const retry = o.retry || {};
	const { first = 500, max = 30_000, attempts = o.retry === false ? 0 : Infinity } = retry;
	/** @type {Socket | undefined} */
	let socket; // of the current attempt or connection
	/** @type {ReturnType<typeof setTimeout> | undefined} */
	let timer;
	let turn = 0; // grows when an attempt begins and when it ends
	let waiting = false;
	let final = false; // close was called: no attempt comes any more
	let failures = 0; // in a row
	let wait = 0; // the last one, before it was shortened
	let opened = 0;
	/** @type {(e: Closed) => void} */
	let resolve;
	/** @type {Promise<Closed>} */
	const done = new Promise((r) => (resolve = r));
	done.then((e) => o.onClose?.(e));

	/**
	 * Sets the timer, which is one for all that there is to wait for.
	 * @type {(ms: number, f: () => void) => void}
	 */
	function after(ms, f) {
		clearTimeout(timer);
		if (ms > 0 && ms < 2 ** 31) timer = setTimeout(f, ms);
	}

	/** Lets go of the socket, the timer and the listener, whichever there are. */
	function release() {
		turn++;
		clearTimeout(timer);
		waiting = false;
		page.removeEventListener?.("online", retryNow);
		if (!socket) return;
		socket.onopen = socket.onmessage = socket.onclose = null;
		socket.close();
		socket = undefined;
	}

	async function attempt() {
		release();
		const mine = turn;
		opened = 0;
		after(timeout, late);
		let query, protocols;
		try {
			[query, protocols] = await Promise.all([ask(o.query ?? {}), ask(o.protocols ?? [])]);
		} catch (error) {
			if (mine === turn) lost(String(error), error);
			return;
		}
		if (mine !== turn) return;
		try {
			socket = new WS(address(path, o, query), protocols);
		} catch (error) {
			final = true;
			lost(String(error), error);
			throw error; // to be reported: it would be the same again
		}
		socket.binaryType = "arraybuffer";
		socket.onopen = () => {
			opened = Date.now();
			beat();
			safely(() => o.onOpen?.(c));
		};
		socket.onmessage = (/** @type {{ data: string | ArrayBuffer }} */ { data }) => {
			if (final) return;
			beat();
			if (data) safely(() => receive(data));
		};
		socket.onclose = ended;
		socket.onerror = () => {
			if (mine === turn) lost(""); // Node's WebSocket may not call onclose then
		};
	}

	/** @type {(data: string | ArrayBuffer) => void} */
	function receive(data) {
		let m;
		try {
			m = codec.decode(data);
		} catch (error) {
			return o.onInvalid ? o.onInvalid(data, error) : c.close(4007, "invalid message");
		}
		o.onMessage?.(m, c);
	}

	function beat() {
		after(heartbeat, () => {
			socket?.send("");
			after(heartbeat, late);
		});
	}

	function late() {
		lost("no answer in time");
	}

	/** @type {(reason: string, error?: unknown) => void} */
	function lost(reason, error) {
		ended({ code: 1006, reason, wasClean: false, error });
	}

	/**
	 * Goes on after the end of an attempt or a connection.
	 * @type {(e: Closed) => void}
	 */
	function ended({ code, reason, wasClean, error }) {
		release();
		/** @type {Closed} */
		const e = { code, reason, wasClean, error };
		if (opened && Date.now() - opened >= wait) failures = 0;
		let again = !/^(100[0237-9]|1010|4)/.test(String(code));
		if (!final) safely(() => (again = retry.after?.(e, again) ?? again));
		if (final || !again || failures >= attempts) {
			signal?.removeEventListener("abort", abort);
			return resolve(e);
		}
		wait = Math.min(first * 2 ** failures++, max);
		e.retryIn = wait * (1 - Math.random() / 2);
		waiting = true;
		after(e.retryIn, attempt);
		page.addEventListener?.("online", retryNow);
		safely(() => o.onClose?.(e));
	}

	function retryNow() {
		if (!waiting) return;
		failures = 0;
		attempt();
	}

	function abort() {
		c.close();
	}

	/** @type {Connection<In>} */
	const c = {
		get isOpen() {
			return socket?.readyState === 1;
		},
		get protocol() {
			return socket?.protocol ?? "";
		},
		get buffered() {
			return socket?.bufferedAmount ?? 0;
		},
		send(v) {
			if (c.isOpen) socket?.send(codec.encode(v));
			return c.isOpen;
		},
		close(code = 1000, reason = "") {
			if (final) return;
			const connected = socket?.readyState;
			if (connected) socket?.close(code, reason);
			final = true;
			if (connected) after(timeout, late);
			else ended({ code, reason, wasClean: true });
		},
		retryNow,
		done,
	};
	signal?.addEventListener("abort", abort);
	if (signal?.aborted) abort();
	else attempt();
	return c;
}

/**
 * @template In, Out, Params
 * @param {string} path
 * @returns {Route<In, Out, Params>}
 */
function route(path) {
	return {
		path,
		url: (o) => address(path, o, o.query ?? {}),
		connect: (o) => connect(path, { encode: (v) => JSON.stringify(v), decode: (data) => JSON.parse(String(data)) }, o),
	};
}

/**
 * @template In, Out, Params
 * @param {string} path
 * @returns {CodecRoute<In, Out, Params>}
 */
function routeWithCodec(path) {
	return { ...route(path), connect: (o) => connect(path, o.codec, o) };
}
