// Prints random values of types: node values.mjs file.ts count Name,…
import ts from "typescript-5.0";

const [file, count, names] = process.argv.slice(2);
const program = ts.createProgram([file], { strict: true, exactOptionalPropertyTypes: true, target: ts.ScriptTarget.ES2022, types: [] });
const checker = program.getTypeChecker();
const declared = new Map(checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(file))).map((s) => [s.name, s]));

let seed = 1;
/** A number below n: the same in each run. */
function random(n) {
	seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
	return Math.floor((seed / 2 ** 32) * n);
}
const pick = (list) => list[random(list.length)];

// Strings in which Go expects something.
const hints = {
	QuotedInt: ["12", "-1"], quotedBool: ["true", null], quotedText: ['"x"'], QuotedKind: ["2"], QuotedNull: ["7"], "Quoted.Value": ["3"],
	Time: ["2026-01-02T03:04:05.6+07:00"], zeroTime: ["2026-01-02T03:04:05Z"], Stamp: ["2026-01-02T03:04:05Z"], StampPtr: [null, "2026-01-02T03:04:05Z"],
	IP: ["10.0.0.1", ""], ip: ["::1"], Addr: ["10.0.0.1", null], Prefix: [["10.0.0.0/8"], null], BigFloat: ["1.5", null],
	Times: [{ "2026-01-02T03:04:05Z": true }, null], Addrs: [{ "::1": null }], Longs: [{ "-12": true }], "Generics.Times": [{ "2026-01-02T03:04:05Z": [1] }, null],
};

function value(type, path, depth) {
	const hint = Object.keys(hints).sort((a, b) => b.length - a.length).find((h) => path === h || path.endsWith("." + h));
	if (hint) return pick(hints[hint]);
	const f = type.flags;
	if (type.isUnion()) {
		const parts = type.types.filter((t) => !(t.flags & ts.TypeFlags.Undefined)); // what may be absent
		return value((depth > 4 && parts.find((t) => t.flags & ts.TypeFlags.Null)) || pick(parts), path, depth);
	}
	if (f & ts.TypeFlags.Undefined) return undefined;
	if (type.isStringLiteral() || type.isNumberLiteral()) return type.value;
	if (f & ts.TypeFlags.BooleanLiteral) return type.intrinsicName === "true";
	if (f & ts.TypeFlags.String) return pick(["", "abcd", "Zm9v", "bnVsbA=="]); // base64, too
	if (f & ts.TypeFlags.Number) return random(100);
	if (f & (ts.TypeFlags.Null | ts.TypeFlags.Unknown)) return null;
	if (checker.isTupleType(type)) return checker.getTypeArguments(type).map((t, i) => value(t, `${path}[${i}]`, depth + 1));
	if (checker.isArrayType(type)) return Array.from({ length: depth > 4 ? 0 : random(3) }, () => value(checker.getTypeArguments(type)[0], path + "[]", depth + 1));
	if (f & (ts.TypeFlags.Object | ts.TypeFlags.Intersection)) return object(type, path, depth);
	throw new Error(`${path}: ${checker.typeToString(type)}`);
}

function object(type, path, depth) {
	const o = {};
	for (const p of checker.getPropertiesOfType(type)) {
		const optional = p.flags & ts.SymbolFlags.Optional;
		if (optional && (depth > 4 || random(2))) continue;
		const v = value(checker.getTypeOfSymbol(p), `${path}.${p.name}`, depth + 1);
		if (v !== undefined) o[p.name] = v;
	}
	for (const info of checker.getIndexInfosOfType(type)) {
		for (let i = depth > 4 ? 0 : random(3); i > 0; i--) {
			const key = info.keyType.flags & ts.TypeFlags.Number ? random(100) : pick(["", "a", "b c"]);
			o[key] = value(info.type, path + ".[key]", depth + 1);
		}
	}
	return o;
}

for (const name of names.split(",")) {
	for (let i = 0; i < Number(count); i++) {
		console.log(name, JSON.stringify(value(checker.getDeclaredTypeOfSymbol(declared.get(name)), name, 0)));
	}
}
