// node --test behaviour.mjs: what the runtime does, by a clock and a WebSocket of the test's own. ROUTES is the module.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

const { Digits, Echo, Files, Home, Raw, Room } = await import(process.env.ROUTES);

/** The timers that are pending, and the time. */
const clock = {
	now: 1e12,
	timers: new Map(),
	last: 0,
	/** Lets ms pass, and calls what is due in its order. */
	async pass(ms) {
		for (const until = clock.now + ms; ; ) {
			const due = [...clock.timers].filter(([, t]) => t.at <= until).sort((a, b) => a[1].at - b[1].at)[0];
			if (!due) {
				clock.now = until;
				return settle();
			}
			clock.now = due[1].at;
			clock.timers.delete(due[0]);
			due[1].f();
			await settle();
		}
	},
	/** The milliseconds until the only timer is due. */
	get next() {
		assert.equal(clock.timers.size, 1, "pending timers");
		return [...clock.timers.values()][0].at - clock.now;
	},
};
globalThis.setTimeout = (f, ms) => (clock.timers.set(++clock.last, { f, at: clock.now + ms }), clock.last);
globalThis.clearTimeout = (id) => clock.timers.delete(id);
Date.now = () => clock.now;
const settle = () => new Promise((resolve) => setImmediate(resolve));

/** A page's events. */
const page = new EventTarget();
let listeners = 0; // for them, and for abort
function counted(target) {
	const { addEventListener, removeEventListener } = target;
	const known = new Set();
	return {
		addEventListener(type, f, ...rest) {
			if (!known.has(f)) listeners++;
			known.add(f);
			addEventListener.call(target, type, f, ...rest);
		},
		removeEventListener(type, f) {
			if (known.delete(f)) listeners--;
			removeEventListener.call(target, type, f);
		},
	};
}
Object.assign(globalThis, counted(page));

/** The sockets that were made. */
let sockets = [];
class Socket {
	readyState = 0;
	bufferedAmount = 0;
	protocol = "";
	sent = [];
	constructor(url, protocols) {
		if ([].concat(protocols).includes("no token")) throw new SyntaxError("invalid subprotocol");
		Object.assign(this, { url: String(url), protocols });
		sockets.push(this);
	}
	send(data) {
		this.sent.push(data);
	}
	close(code, reason) {
		if (code !== undefined && code !== 1000 && !(code >= 3000 && code <= 4999)) throw new Error("InvalidAccessError");
		if (this.readyState < 2) this.readyState = 2;
		this.closed ??= { code, reason };
	}
	open(protocol = "") {
		this.protocol = protocol;
		this.readyState = 1;
		this.onopen?.({});
	}
	message(data) {
		this.onmessage?.({ data });
	}
	end(code = 1006, reason = "", wasClean = code !== 1006) {
		this.readyState = 3;
		if (code === 1006) this.onerror?.({});
		this.onclose?.({ code, reason, wasClean });
		return settle();
	}
}

const reported = [];
Math.random = () => 0;

beforeEach(() => {
	process.removeAllListeners("unhandledRejection"); // the test runner's own fails the test
	process.on("unhandledRejection", (error) => reported.push(error));
	assert.equal(clock.timers.size, 0, "timers that the last test left");
	assert.equal(listeners, 0, "listeners that the last test left");
	assert.ok(sockets.every((s) => s.readyState >= 2), "sockets that the last test left");
	assert.deepEqual(reported, []);
	sockets = [];
	delete globalThis.location;
});

/** Connects, and notes what is called. */
async function start(options = {}, route = Echo) {
	const log = [];
	const c = route.connect({
		base: "http://example.test/app/",
		WebSocket: Socket,
		onOpen: () => log.push("open"),
		onMessage: (m) => log.push(m),
		onClose: (e) => log.push(e),
		...options,
	});
	c.done.then(() => log.push("done"));
	await settle();
	return { c, log, take: () => log.splice(0) };
}

test("address", async (t) => {
	const base = "https://example.test/app/";
	const url = (route, params, o = {}) => route.url({ base, params, ...o }).href;
	assert.equal(url(Room, { room: "a/b ü?#%2e" }), "wss://example.test/app/rooms/a%2Fb%20%C3%BC%3F%23%252e/ws");
	assert.equal(url(Files, { path: "a/b c/d" }), "wss://example.test/app/files/a/b%20c/d");
	assert.equal(url(Files, { path: "" }), "wss://example.test/app/files/");
	assert.equal(url(Digits, { id: "12" }), "wss://example.test/app/n/12/x");
	assert.equal(url(Home), "wss://example.test/app/home/");
	assert.equal(url(Echo, undefined, { query: { a: 1, b: undefined, c: [true, "x&y"], d: "" } }), "wss://example.test/app/echo?a=1&c=true&c=x%26y&d=");
	assert.equal(url(Echo, undefined, { base: new URL("ws://example.test:8080") }), "ws://example.test:8080/echo");
	globalThis.location = { href: "http://page.test:81/deep/page.html?x#y" };
	assert.equal(Echo.url({}).href, "ws://page.test:81/echo");
	assert.equal(Echo.url({ base: "/api" }).href, "ws://page.test:81/api/echo");
	for (const room of ["", ".", "..", undefined]) assert.throws(() => Room.url({ params: { room } }), /^Error: ws: the route \/rooms\/{room}\/ws needs room, not /);
	for (const path of ["a/../b", "."]) assert.throws(() => Files.url({ params: { path } }), /needs path/);
	assert.throws(() => Room.url({ params: { room: "x", floor: "y" } }), /^Error: ws: the route .* has no parameter floor$/);
});

test("connect throws where no attempt could succeed", () => {
	assert.throws(() => Room.connect({ base: "http://example.test", WebSocket: Socket, params: {} }), /needs room/);
	assert.throws(() => Echo.connect({ base: "http://example.test" }), /no WebSocket/);
	assert.throws(() => Echo.connect({ WebSocket: Socket }), /Invalid URL/);
});

test("a connection from its beginning to its end", async () => {
	const { c, take } = await start({ query: { q: 1 }, protocols: ["a", "b"] });
	assert.equal(c.isOpen, false);
	assert.equal(c.send({ text: "too early" }), false);
	const [s] = sockets;
	assert.equal(s.url, "ws://example.test/app/echo?q=1");
	assert.deepEqual(s.protocols, ["a", "b"]);
	assert.equal(s.binaryType, "arraybuffer");
	assert.equal(clock.next, 10_000);
	s.open("b");
	assert.equal(clock.timers.size, 0);
	assert.deepEqual([c.isOpen, c.protocol, c.buffered], [true, "b", 0]);
	assert.equal(c.send({ text: "hello" }), true);
	s.bufferedAmount = 16;
	assert.equal(c.buffered, 16);
	assert.deepEqual(s.sent, ['{"text":"hello"}']);
	assert.throws(() => c.send({ text: 1n }), TypeError);
	assert.equal(c.isOpen, true);
	s.message('{"n":1}');
	s.message("");
	assert.deepEqual(take(), ["open", { n: 1 }]);
	assert.throws(() => c.close(1001), /InvalidAccess/);
	assert.equal(c.isOpen, true);
	c.close(4001, "bye");
	await clock.pass(4_000);
	c.close(4002, "again");
	assert.equal(clock.next, 6_000);
	assert.deepEqual(s.closed, { code: 4001, reason: "bye" });
	assert.deepEqual([c.isOpen, c.send({ text: "too late" })], [false, false]);
	s.message('{"n":2}');
	assert.deepEqual(take(), []);
	await s.end(4001, "bye");
	assert.deepEqual(await c.done, { code: 4001, reason: "bye", wasClean: true, error: undefined });
	assert.deepEqual(take(), [await c.done, "done"]);
	assert.deepEqual([c.isOpen, c.protocol, c.buffered], [false, "", 0]);
	c.retryNow();
	c.close();
	await settle();
	assert.equal(sockets.length, 1);
});

test("waits double to max, and shrink at random by up to half", async (t) => {
	const { c, log, take } = await start();
	for (const wait of [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]) {
		await sockets.at(-1).end();
		assert.deepEqual(take(), [{ code: 1006, reason: "", wasClean: false, error: undefined, retryIn: wait }]);
		assert.equal(clock.next, wait);
		await clock.pass(wait);
	}
	assert.equal(sockets.length, 9);
	Math.random = () => 0.999;
	await sockets.at(-1).end();
	Math.random = () => 0;
	assert.equal(Math.round(clock.next), 15_015);
	c.close(3000, "enough");
	await settle();
	assert.deepEqual(log.slice(1), [{ code: 3000, reason: "enough", wasClean: true, error: undefined }, "done"]);
});

test("a connection that lasted at least as long as the wait before it begins anew", async () => {
	const { c } = await start({ retry: { first: 100, max: 1000 } });
	await sockets[0].end();
	await clock.pass(100);
	sockets[1].open();
	await clock.pass(99);
	await sockets[1].end();
	assert.equal(clock.next, 200);
	await clock.pass(200);
	sockets[2].open();
	await clock.pass(200);
	await sockets[2].end();
	for (const wait of [100, 200, 400, 800, 1000, 1000]) { // attempts that fail after it are counted
		assert.equal(clock.next, wait);
		await clock.pass(wait);
		await sockets.at(-1).end();
	}
	c.close();
});

test("which ends are final", async () => {
	const final = [1000, 1002, 1003, 1007, 1008, 1009, 1010, 4000, 4401, 4999];
	for (const code of [...final, 1001, 1005, 1006, 1011, 1012, 1013, 1014, 1015, 3000, 3999]) {
		const { c, take } = await start();
		sockets.at(-1).open();
		await sockets.at(-1).end(code, "why");
		const [, e, done] = take();
		assert.equal(e.code, code);
		assert.equal(e.retryIn === undefined, final.includes(code), String(code));
		assert.equal(done === "done", final.includes(code));
		c.close();
	}
});

test("retry.after decides", async () => {
	const asked = [];
	const after = (e, byDefault) => (asked.push([e.code, byDefault]), e.code !== 1011 && (byDefault || e.code === 4401));
	let token = 0;
	const { c, take } = await start({ query: async () => ({ token: ++token }), retry: { after } });
	sockets[0].open();
	await sockets[0].end(4401, "the token has run out");
	assert.equal(take()[1].retryIn, 500);
	await clock.pass(500);
	assert.match(sockets[1].url, /token=2$/);
	await sockets[1].end(1006);
	await clock.pass(1000);
	await sockets[2].end(1011);
	assert.deepEqual(asked, [[4401, false], [1006, true], [1011, true]]);
	assert.equal((await c.done).code, 1011);

	const other = await start({ retry: { after } });
	sockets[3].open();
	other.c.close();
	await sockets[3].end(1001);
	assert.equal((await other.c.done).code, 1001);
	assert.equal(asked.length, 3); // close has decided
});

test("attempts", async () => {
	const { c } = await start({ retry: { attempts: 2 } });
	await sockets[0].end();
	await clock.pass(500);
	await sockets[1].end();
	await clock.pass(1000);
	assert.equal(sockets.length, 3);
	await sockets[2].end();
	assert.equal((await c.done).code, 1006);
	const once = await start({ retry: false });
	await sockets[3].end(1001);
	assert.equal((await once.c.done).code, 1001);
});

test("online and retryNow end a wait, and only a wait", async () => {
	const { c } = await start();
	page.dispatchEvent(new Event("online"));
	c.retryNow();
	await settle();
	assert.equal(sockets.length, 1);
	await sockets[0].end();
	assert.equal(listeners, 1);
	page.dispatchEvent(new Event("online"));
	page.dispatchEvent(new Event("online"));
	await settle();
	assert.equal(sockets.length, 2);
	assert.equal(listeners, 0);
	await sockets[1].end();
	assert.equal(clock.next, 500); // not 1000: what failed before says nothing about a new network
	c.retryNow();
	c.retryNow();
	await settle();
	assert.equal(sockets.length, 3);
	sockets[2].open();
	page.dispatchEvent(new Event("online"));
	c.retryNow();
	await settle();
	assert.equal(sockets.length, 3);
	c.close();
	await sockets[2].end(1000);
});

test("retryNow and close in onClose", async () => {
	let c, n = 0;
	({ c } = await start({ onClose: (e) => (e.retryIn === undefined ? 0 : n++ ? c.close() : c.retryNow()) }));
	await sockets[0].end();
	assert.equal(sockets.length, 2);
	await sockets[1].end();
	await c.done;
	assert.equal(n, 2);
});

test("query and protocols are asked before every attempt", async () => {
	let n = 0;
	const c = Echo.connect({ base: "http://example.test", WebSocket: Socket, query: () => ({ open: c.isOpen, n: ++n }), protocols: async () => ["p" + n] });
	await settle();
	await sockets[0].end();
	await clock.pass(500);
	assert.deepEqual(sockets.map((s) => s.url.slice(-3) + s.protocols), ["n=1p1", "n=2p2"]);
	c.close();
});

test("a question that throws or rejects is an attempt that failed", async () => {
	const errors = [new TypeError("no token"), "a string", undefined];
	const { c, take } = await start({
		query: () => {
			if (errors.length === 3) throw errors.shift();
			return errors.length > 0 ? Promise.reject(errors.shift()) : {};
		},
	});
	assert.deepEqual(take().map((e) => [e.code, e.reason, e.error?.message ?? e.error, e.retryIn]), [[1006, "TypeError: no token", "no token", 500]]);
	await clock.pass(500);
	assert.deepEqual(take().map((e) => [e.reason, e.error, e.retryIn]), [["a string", "a string", 1000]]);
	await clock.pass(1000);
	assert.equal(take()[0].retryIn, 2000);
	assert.equal(sockets.length, 0);
	await clock.pass(2000);
	assert.equal(sockets.length, 1);
	c.close();
});

test("timeout: of the asking", async () => {
	const answers = [];
	const { c, take } = await start({ query: () => new Promise((resolve, reject) => answers.push(resolve, reject)), timeout: 700 });
	await clock.pass(700);
	assert.deepEqual(take(), [{ code: 1006, reason: "no answer in time", wasClean: false, error: undefined, retryIn: 500 }]);
	answers[0]({ late: 1 });
	await settle();
	assert.equal(sockets.length, 0);
	await clock.pass(500);
	await clock.pass(700);
	answers[3](new Error("late"));
	await settle();
	assert.equal(take().length, 1);
	await clock.pass(1000);
	answers[4]({ n: 3 });
	await settle();
	assert.deepEqual(sockets.map((s) => s.url), ["ws://example.test/app/echo?n=3"]);
	c.close();
});

test("timeout: of the handshake", async () => {
	const { c, take } = await start();
	await clock.pass(9_999);
	assert.deepEqual(take(), []);
	await clock.pass(1);
	assert.equal(take()[0].reason, "no answer in time");
	assert.ok(sockets[0].closed);
	sockets[0].open();
	await sockets[0].end();
	assert.deepEqual(take(), []);
	c.close();
});

test("timeout: of the closing", async () => {
	const { c, take } = await start({ timeout: 700 });
	sockets[0].open();
	c.close(4001);
	await clock.pass(700);
	assert.deepEqual(take(), ["open", await c.done, "done"]);
	assert.equal((await c.done).code, 1006);
});

test("an error without a close is an end, once", async () => {
	const { c, take } = await start();
	sockets[0].onerror({});
	sockets[0].onerror({});
	assert.deepEqual(take(), [{ code: 1006, reason: "", wasClean: false, error: undefined, retryIn: 500 }]);
	c.close();
});

test("an infinite or no timeout", async () => {
	for (const timeout of [Infinity, 0]) {
		const { c } = await start({ timeout });
		assert.equal(clock.timers.size, 0);
		c.close();
	}
});

test("heartbeat", async () => {
	const { c, take } = await start({ heartbeat: 1000 });
	const [s] = sockets;
	s.open();
	assert.equal(clock.next, 1000);
	await clock.pass(900);
	s.message('{"n":1}');
	assert.equal(clock.next, 1000);
	await clock.pass(1000);
	assert.deepEqual(s.sent, [""]);
	assert.equal(clock.next, 1000);
	await clock.pass(999);
	s.message("");
	await clock.pass(1000);
	assert.deepEqual(s.sent, ["", ""]);
	assert.deepEqual(take(), ["open", { n: 1 }]);
	await clock.pass(1000);
	assert.deepEqual(take(), [{ code: 1006, reason: "no answer in time", wasClean: false, error: undefined, retryIn: 500 }]);
	assert.ok(s.closed);
	s.message('{"n":2}');
	await s.end();
	assert.deepEqual(take(), []);
	c.close();
});

test("what callbacks throw is reported, and changes nothing else", async () => {
	const boom = (what) => () => {
		throw new Error(what);
	};
	const { c } = await start({
		onOpen: boom("onOpen"), onMessage: boom("onMessage"), onInvalid: boom("onInvalid"), onClose: boom("onClose"),
		retry: { after: boom("after") },
	});
	sockets[0].open();
	sockets[0].message('{"n":1}');
	sockets[0].message("{");
	assert.equal(c.isOpen, true);
	await sockets[0].end();
	await clock.pass(500);
	assert.equal(sockets.length, 2);
	sockets[1].open();
	await sockets[1].end(1000);
	assert.equal((await c.done).code, 1000);
	await settle();
	assert.deepEqual(reported.splice(0).map((e) => e.message), ["onOpen", "onMessage", "onInvalid", "after", "onClose", "onOpen", "after", "onClose"]);
});

test("what WebSocket throws is final, and reported", async () => {
	const { c } = await start({ protocols: "no token" });
	const e = await c.done;
	assert.deepEqual([e.code, e.reason, e.error.constructor], [1006, "SyntaxError: invalid subprotocol", SyntaxError]);
	await settle();
	assert.deepEqual(reported.splice(0), [e.error]);
});

test("garbage", async () => {
	const { c, take } = await start();
	sockets[0].open();
	sockets[0].message("{");
	sockets[0].message('{"n":1}');
	assert.deepEqual(sockets[0].closed, { code: 4007, reason: "invalid message" });
	await sockets[0].end(4007, "invalid message");
	assert.deepEqual(take(), ["open", await c.done, "done"]);

	const invalid = [];
	const other = await start({ onInvalid: (data, error) => invalid.push([data, error.name]) });
	sockets[1].open();
	sockets[1].message("{");
	sockets[1].message(new ArrayBuffer(2));
	sockets[1].message('{"n":1}');
	assert.deepEqual(invalid, [["{", "SyntaxError"], [new ArrayBuffer(2), "SyntaxError"]]);
	assert.deepEqual(other.take(), ["open", { n: 1 }]);
	other.c.close();
	await sockets[1].end(1000);
});

test("a codec", async () => {
	const codec = { encode: (v) => new TextEncoder().encode(v), decode: (data) => new TextDecoder().decode(data) };
	const { c, take } = await start({ codec }, Raw);
	sockets[0].open();
	c.send("ü");
	assert.deepEqual([...sockets[0].sent[0]], [0xc3, 0xbc]);
	sockets[0].message(new Uint8Array([0xc3, 0xbc]).buffer);
	sockets[0].message(new ArrayBuffer(0)); // is no heartbeat
	assert.deepEqual(take(), ["open", "ü", ""]);
	c.close();
	await sockets[0].end(1000);
});

test("close before, during and after every step", async () => {
	const ends = (log) => assert.deepEqual(log.map((e) => e.code ?? e), [1000, "done"]);

	let c = Echo.connect({ base: "http://example.test", WebSocket: Socket });
	c.close();
	assert.equal((await c.done).wasClean, true);
	assert.equal(clock.timers.size, 0);
	await settle();
	assert.equal(sockets.length, 0); // in the same tick nothing is opened

	let run = await start({ query: () => new Promise(() => {}) });
	run.c.close();
	await settle();
	ends(run.take());

	run = await start();
	assert.equal(sockets[0].readyState, 0);
	run.c.close();
	await settle();
	ends(run.take());
	assert.equal(sockets[0].readyState, 2);

	run = await start();
	await sockets[1].end();
	run.take();
	run.c.close();
	await settle();
	ends(run.take());

	run = await start(); // the server closes, and hangs before its end
	sockets[2].open();
	run.take();
	sockets[2].readyState = 2;
	run.c.close();
	await clock.pass(10_000);
	assert.deepEqual(run.take().map((e) => e.code ?? e), [1006, "done"]);

	run = await start({ retry: { after: () => (run.c.close(4002), true) } });
	await sockets[3].end();
	assert.deepEqual(run.take().map((e) => e.code ?? e), [4002, "done"]);
});

test("signal", async () => {
	const signal = () => {
		const controller = new AbortController();
		return [Object.assign(controller.signal, counted(controller.signal)), () => controller.abort()];
	};
	let [s, abort] = signal();
	abort();
	let run = await start({ signal: s });
	assert.equal(sockets.length, 0);
	assert.deepEqual(run.take().map((e) => e.code ?? e), [1000, "done"]);
	assert.equal(listeners, 0);

	[s, abort] = signal();
	run = await start({ signal: s });
	sockets[0].open();
	assert.equal(listeners, 1);
	abort();
	assert.deepEqual(sockets[0].closed, { code: 1000, reason: "" });
	await sockets[0].end(1000);
	assert.deepEqual(run.take().map((e) => e.code ?? e), ["open", 1000, "done"]);
	assert.equal(listeners, 0);

	[s, abort] = signal();
	run = await start({ signal: s });
	await sockets[1].end();
	assert.equal(listeners, 2);
	abort();
	assert.equal((await run.c.done).code, 1000);
	assert.equal(listeners, 0);

	[s] = signal();
	run = await start({ signal: s });
	await sockets[2].end(4000);
	assert.equal(listeners, 0);
});

test("a thousand connections leave nothing", async () => {
	const { signal } = new AbortController();
	Object.assign(signal, counted(signal));
	for (let i = 0; i < 1000; i++) {
		const { c } = await start({ heartbeat: 1000, signal });
		const s = sockets.at(-1);
		if (i % 4 > 0) s.open();
		if (i % 4 > 1) await s.end(1001);
		if (i % 4 > 2) await clock.pass(500);
		c.close();
		if (s.readyState === 2) await s.end(1000);
		await c.done;
		for (const name of ["onopen", "onmessage", "onclose"]) assert.equal(s[name], null);
	}
	assert.equal(sockets.length, 1250);
	assert.deepEqual([clock.timers.size, listeners, sockets.filter((s) => s.readyState < 2).length], [0, 0, 0]);
});
