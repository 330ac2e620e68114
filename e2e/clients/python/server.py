"""server.py [deflate]: a server with websockets. It prints its port, then how each connection closed."""

import asyncio
import http
import json
import sys

import websockets


async def serve(ws):
    async for m in ws:
        if m == "close me":
            await ws.send("before")
            await ws.close(4002, "go é")
        elif m == "ping me":
            async def ping():
                await (await ws.ping("are you there?"))  # returns when its pong has come
                await ws.send("pong are you there?")
            pinging = asyncio.create_task(ping())
        elif m == "extensions":
            await ws.send(ws.response_headers.get("Sec-WebSocket-Extensions", ""))
        elif m == "fragments":
            await ws.send(["fr", "", "agments é"])
        else:
            await ws.send(m)


async def handle(ws):
    try:
        await serve(ws)
    except websockets.ConnectionClosedError:
        pass  # it closed with another code than 1000
    await ws.wait_closed()
    print(json.dumps({"code": ws.close_code, "reason": ws.close_reason}), flush=True)


async def refuse(path, headers):
    if path == "/refuse":
        return http.HTTPStatus.FORBIDDEN, [], b"members only"


async def main():
    compression = "deflate" if "deflate" in sys.argv else None
    async with websockets.serve(handle, "127.0.0.1", 0, compression=compression, max_size=None,
                                subprotocols=["v2"], process_request=refuse) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()


asyncio.run(main())
