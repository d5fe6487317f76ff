"""Recorded provider traffic as upstreams: the replay server of the shared recordings, and which of them to use."""

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
    "openai-chat": Target("openai", "api_key: sk-up", "/v1"),
    "openai-responses": Target("openai", "api_key: sk-up, api: responses", "/v1"),
    "gemini-generate": Target("gemini", "api_key: sk-up"),
    "vertex-gemini": Target("vertex", "api_key: sk-up, project: example-project, region: us-central1"),
    "vertex-anthropic": Target("vertex-anthropic", "api_key: sk-up, project: example-project, region: global"),
    "bedrock-converse": Target("bedrock", "region: us-east-1, access_key_id: AKIDEXAMPLE, secret_access_key: sk-up"),
    "cohere-chat-v2": Target("cohere", "api_key: sk-up"),
    "mistral-chat": Target("mistral", "api_key: sk-up", "/v1"),
    "groq-chat": Target("groq", "api_key: sk-up", "/openai/v1"),
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
        ]
        return [one["id"] for one in fits[:count]]

    def provider(self, name, exchange, dialect):
        """The configuration of a provider that always answers with that recording."""
        target = TARGETS[dialect]
        url = f"http://127.0.0.1:{self.port}/__id/{exchange}{target.path}"
        return f'  {name}: {{ dialect: {target.dialect}, base_url: "{url}", {target.settings} }}\n'

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
