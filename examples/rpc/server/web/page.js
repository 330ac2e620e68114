// @ts-check
import { Clock, StatusBye } from "./routes.js";

const state = /** @type {HTMLElement} */ (document.getElementById("state"));
const log = /** @type {HTMLElement} */ (document.getElementById("log"));
const again = /** @type {HTMLButtonElement} */ (document.getElementById("again"));
const bye = /** @type {HTMLButtonElement} */ (document.getElementById("bye"));

const clock = Clock.connect({
	heartbeat: 10_000,
	onOpen() {
		show("Connected.");
	},
	onMessage(m) {
		log.append(`sent at ${time(m.client)}, answered at ${time(m.server)}\n`);
		while (log.childNodes.length > 100) log.firstChild?.remove();
		log.scrollTop = log.scrollHeight;
	},
	onClose(e) {
		const why = e.code === StatusBye ? `The server said bye: ${e.reason}.` : `Closed with ${e.code}. ${e.reason}`;
		show(e.retryIn === undefined ? why : `${why} Again in ${Math.ceil(e.retryIn / 1000)} s.`, e.retryIn);
	},
});

const timer = setInterval(() => clock.send({ client: now() }), 1000);
clock.done.then(() => clearInterval(timer));
again.onclick = () => clock.retryNow();
bye.onclick = () => clock.send({ client: now(), bye: "see you" });

/** @param {string} text @param {number} [retryIn] */
function show(text, retryIn) {
	state.textContent = text;
	again.disabled = retryIn === undefined;
	bye.disabled = !clock.isOpen;
}

function now() {
	return new Date().toISOString();
}

/** @param {string} t */
function time(t) {
	return new Date(t).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });
}
