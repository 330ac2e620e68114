// bytes returns n bytes that hardly repeat.
export function bytes(n) {
	const out = Buffer.alloc(n)
	for (let i = 0, x = 2463534242; i < n; i++) {
		x ^= x << 13; x ^= x >>> 17; x ^= x << 5
		out[i] = x
	}
	return out
}

// text returns a string of n bytes in UTF-8.
export function text(n) {
	return 'é€😀'.repeat(Math.floor(n / 9)) + 'z'.repeat(n % 9)
}

export function same(a, b) {
	return typeof a === 'string' ? a === b : typeof b !== 'string' && a.equals(Buffer.from(b))
}
