"""Video sessions over REST, their progress over a WebSocket: as small as such a backend can be."""

import asyncio

from fastapi import FastAPI, HTTPException, Request, WebSocket, WebSocketDisconnect

app = FastAPI()
sessions: dict[str, dict] = {}


@app.get("/health")
def health():
    return {"status": "healthy"}


@app.put("/video-session/{session_id}")
async def put_session(session_id: str, request: Request):
    sessions[session_id] = await request.json()
    return {"session_id": session_id}


@app.get("/get-video-session/{session_id}")
def get_session(session_id: str, request: Request):
    if session_id not in sessions:
        raise HTTPException(404, "no such session")
    asked_with = request.headers.get("authorization")
    return {"session_id": session_id, "session": sessions[session_id], "asked_with": asked_with}


@app.delete("/video-session/{session_id}", status_code=204)
def delete_session(session_id: str):
    sessions.pop(session_id, None)


@app.get("/slow")
async def slow(seconds: float):
    await asyncio.sleep(seconds)
    return {"slept": seconds}


async def tell_progress(socket: WebSocket, session_id: str):
    await socket.accept()
    await socket.send_json({"session_id": session_id, "url": str(socket.url.path), "status": "connected"})
    try:
        async for message in socket.iter_text():
            await socket.send_json({"session_id": session_id, "status": f"working on {message}"})
    except WebSocketDisconnect:
        pass


@app.websocket("/ws")
async def by_query(socket: WebSocket, session_id: str):
    await tell_progress(socket, session_id)


@app.websocket("/ws/{session_id}")
async def by_path(socket: WebSocket, session_id: str):
    await tell_progress(socket, session_id)
