// node node.mjs MODULE WS SCENARIO BASE CONTROL: runs a scenario, with the WebSocket of the package at WS or with Node's own.
const [module, ws, scenario, base, control] = process.argv.slice(2);
const { run } = await import(module);
const world = {
	base,
	origin: ws !== "",
	sockets: () => process.getActiveResourcesInfo().filter((name) => name === "TCPSocketWrap").length,
	async control(what) {
		const response = await fetch(`${control}?do=${what}`, { method: "POST" });
		if (!response.ok) throw new Error(await response.text());
		return response.json();
	},
};
if (ws !== "") {
	const { WebSocket } = await import(ws);
	world.WebSocket = class extends WebSocket {
		constructor(url, protocols) {
			super(url, protocols, { origin: "http://127.0.0.1:1" });
		}
	};
}
console.log(await run(scenario, world));
process.exit();
