"""Recorded provider traffic as upstreams: the replay server of the shared recordings, and which of them to use."""

import base64
import json
import os
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
WIRE = Path(os.environ.get("TOLLGATE_WIRE_DIR", ROOT.parent / "shared" / "wire"))


@dataclass(frozen=True)
class Target:
    """How a recorded dialect is configured as a provider."""

    dialect: str
    settings: str
    path: str = ""


TARGETS = {
    "anthropic-messages": Target("anthropic", "api_key: sk-up"),
    "openai-chat": Target("openai", "api_key: sk-up, api: chat", "/v1"),
    "openai-responses": Target("openai", "api_key: sk-up, api: responses", "/v1"),
    "gemini-generate": Target("gemini", "api_key: sk-up"),
    "vertex-gemini": Target("vertex", "api_key: sk-up, project: example-project, region: us-central1"),
    "vertex-anthropic": Target("vertex-anthropic", "api_key: sk-up, project: example-project, region: global"),
    "bedrock-converse": Target("bedrock", "region: us-east-1, access_key_id: AKIDEXAMPLE, secret_access_key: sk-up"),
    "cohere-chat-v2": Target("cohere", "api_key: sk-up"),
    "mistral-chat": Target("mistral", "api_key: sk-up", "/v1"),
    "groq-chat": Target("groq", "api_key: sk-up, api: chat", "/openai/v1"),
}

# Recordings whose answers hold state to send back: a signature, a thought signature, encrypted reasoning.
SIGNED = {
    "anthropic": "test-fixed-version-tool-chain-with-thinking-disp-0-2acae0e009",
    "gemini": "test-tools-with-gemini-3-thought-signatures-0-2b21c2c95e",
    "bedrock": "test-bedrock-model-thinking-part-stream-0-7616ffb359",
    "openai": "openai-reasoning-encrypted-content-1-0-7ea7aa9870",
}


class Replay:
    """The replay server, and the recordings that have all of some kinds."""

    def __init__(self):
        command = [sys.executable, WIRE / "replay.py", WIRE, "--loop"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split("127.0.0.1:")[1].split()[0])
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/__replay/ids") as answer:
            self.all = json.load(answer)

    def pick(self, dialect, *kinds, count=2):
        """The first recordings of the dialect that are answers with all of these kinds, and what is asked in them."""
        without = {"error", "error-in-200", "server-tools", "multi-choice", "truncated", "refusal", "content-filter"}
        fits = [
            one
            for one in self.all
            if one["dialect"] == dialect
            and set(kinds) <= set(one["kind"])
            and not without & set(one["kind"])
            and one["status"] == 200
            and one["method"] == "POST"
            and not self.runs_tools(one["id"])
        ]
        return [one["id"] for one in fits[:count]]

    def text(self, exchange):
        """The recording's file; frames of an AWS event stream are read as they are."""
        (file,) = WIRE.glob(f"*/{exchange}.json")
        response = json.loads(file.read_text())["response"]
        frames = base64.b64decode(response.get("eventstream_base64", "")).decode("utf-8", "replace")
        return frames + "".join(response.get(key) or "" for key in ("sse", "raw", "body_text")) + json.dumps(response.get("body"))

    def runs_tools(self, exchange):
        """LiteLLM and Vercel's Anthropic client tell tools that the provider ran as calls for the caller; others do not."""
        return "srvtoolu_" in self.text(exchange)

    def asked(self, exchange):
        """The bodies that upstreams were sent for that recording, oldest first."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/__replay/log") as answer:
            return [json.loads(one["body"]) for one in json.load(answer) if one["id"] == exchange]

    def provider(self, name, exchange):
        """The configuration of a provider that always answers with that recording."""
        target = TARGETS[next(one["dialect"] for one in self.all if one["id"] == exchange)]
        url = f"http://127.0.0.1:{self.port}/__id/{exchange}{target.path}"
        return f'  {name}: {{ dialect: {target.dialect}, base_url: "{url}", {target.settings} }}\n'

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
