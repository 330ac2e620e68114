"""client.py CHECK URL: does one check as a client with websockets, and prints what it saw."""

import asyncio
import json
import sys

import websockets


def text(n):
    return "é€😀" * (n // 9) + "z" * (n % 9)


def noise(n):
    out, x = bytearray(n), 2463534242
    for i in range(n):
        x ^= x << 13 & 0xFFFFFFFF
        x ^= x >> 17
        x ^= x << 5 & 0xFFFFFFFF
        out[i] = x & 255
    return bytes(out)


async def closing(ws):
    await ws.wait_closed()
    return {"code": ws.close_code, "reason": ws.close_reason}


async def echo(ws, sizes):
    wrong = []
    for n in sizes:
        for sent in (text(n), noise(n)):
            await ws.send(sent)
            got = await ws.recv()
            if got != sent:
                wrong.append(f"{type(sent).__name__} of {n} bytes came back as {type(got).__name__} of {len(got)}")
    extensions = ws.response_headers.get("Sec-WebSocket-Extensions", "")
    await ws.close(1000)
    return {"wrong": wrong, "extensions": extensions, "protocol": ws.subprotocol or "", **await closing(ws)}


async def fragments(ws, _):
    await ws.send(["fr", "", "agments é"])
    message = await ws.recv()
    await ws.close(1000)
    return {"message": message, **await closing(ws)}


async def close(ws, _):
    await ws.close(4001, "bye é")
    return await closing(ws)


async def closed(ws, _):
    await ws.send("close me")
    return await closing(ws)


async def ping(ws, _):
    await (await ws.ping("are you there?"))  # returns when its pong has come
    return {"message": "are you there?"}


async def pinged(ws, _):
    await ws.send("ping me")
    return {"message": await ws.recv()}


async def main(check, url, sizes="[]"):
    compression = "deflate" if "deflate" in url else None
    try:
        async with websockets.connect(url, compression=compression, max_size=None) as ws:
            out = await globals()[check](ws, json.loads(sizes))
    except websockets.InvalidStatusCode as e:
        out = {"status": e.status_code}
    print(json.dumps(out))


asyncio.run(main(*sys.argv[1:]))
