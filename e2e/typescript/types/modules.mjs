// Imports a TypeScript file without its types, as Node does, and a JavaScript file, and prints what they export.
import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import amaro from "amaro";

const [ts, js] = process.argv.slice(2);
const stripped = ts + ".mjs";
writeFileSync(stripped, amaro.transformSync(readFileSync(ts, "utf8"), { mode: "strip-only" }).code);
for (const file of [stripped, js]) {
	const routes = await import(pathToFileURL(file));
	const url = routes.Game.url({ base: "https://example.com/", params: { id: "a/b", rest: "c/d" }, query: { token: 1 } });
	console.log(`${url} ${Object.keys(routes).join()}`);
}
