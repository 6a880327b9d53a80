"""The `dashscope` command line: what it prints and its exit codes."""

import http.server
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from expect import CHAT_MODEL, URL, same, until

HEADERS = {"Authorization": "Bearer " + os.environ["DASHSCOPE_API_KEY"]}
DASHSCOPE = str(Path(sys.executable).parent / "dashscope")


def run(*args, **environment):
    done = subprocess.run([DASHSCOPE, *args], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "COLUMNS": "200", **environment})
    return done.returncode, done.stdout + done.stderr


def succeeds(*args):
    code, said = run(*args)
    assert code == 0, f"{args}: {code}\n{said}"
    return said


def create(name, *args):
    # conformance 14, 134, 139, 151: it gets what it has made at once, and then every 30 s
    said = succeeds("deployments", "create", *args)
    assert f"Create model: {name} deployment" in said and f"Deployment: {name} status: RUNNING" in said, said


def created():
    """One of each plan, all waiting at the same time. Returns their names."""
    wanted = {
        "lora": ("-m", "abacus-words", "-s", "CLI", "--plan", "Lora"),
        "ptu": ("-m", "abacus", "-s", "cliptu", "-c", "1", "--plan", "ptu"),
        "mu": ("-m", "abacus", "-s", "climu", "-c", "1", "--plan", "mu", "--template-id", "MU1"),
    }
    base = CHAT_MODEL  # abacus-{8 hex}
    names = {"lora": "abacus-words-cli", "ptu": base + "-cliptu", "mu": base + "-climu"}
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(create, names[plan], *args) for plan, args in wanted.items()]:
            done.result()
    return names


def whole_life():
    names = created()
    name = names.pop("mu")
    assert f"Deployed model: {name} capacity: 1 status: RUNNING" in succeeds("deployments", "get", name)
    # conformance 68, 151
    said = succeeds("deployments", "scale", name, "-c", "2")
    assert f"Deployed_model: {name}, model: abacus, status: UPDATING" in said, said
    assert f"Deployed model: {name} delete success" in succeeds("deployments", "delete", name)
    # Its printer of 2.0.2 takes the list for something else; the exit code is right.
    succeeds("deployments", "list", "-p", "1", "-s", "5")
    for name in names.values():
        requests.delete(URL + "/api/v1/deployments/" + name, headers=HEADERS).raise_for_status()


def generate(name):
    # conformance 81, 88
    said = json.loads(succeeds("generation", "create", "-m", name, "-p", "37+85", "--temperature", "0"))
    assert "122" in json.dumps(said["output"]), said
    lines = succeeds("generation", "create", "-m", name, "-p", "37+85", "--temperature", "0", "-s").splitlines()
    assert "122" in json.dumps(json.loads(lines[-1])["output"]), lines


def call():
    generate(CHAT_MODEL)
    same(run("generation", "create", "-m", "nobody", "-p", "37+85")[0], 1)  # whatever the status
    # conformance 150
    same(json.loads(succeeds("models", "get", CHAT_MODEL))["model"], CHAT_MODEL)
    assert CHAT_MODEL in succeeds("models", "list", "-s", "100")


def exit_codes():
    # conformance 151
    same(run("deployments", "get", CHAT_MODEL)[0], 0)
    same(run("deployments", "get", "never-was")[0], 1)
    same(run("deployments", "get", CHAT_MODEL, DASHSCOPE_API_KEY="sk-wrong")[0], 2)
    same(run("deployments", "list", "-s", "201")[0], 3)
    same(run("deployments", "create", "-m", "nobody", "--plan", "ptu")[0], 1)
    same(run("deployments", "create", "-m", "abacus", "--plan", "mu")[0], 1)  # conformance 18: no template
    same(run("auth", "whoami")[0], 0)
    same(run("auth", "whoami", DASHSCOPE_API_KEY="sk-wrong")[0], 2)


def exit_codes_of_replayed_answers():
    """Reads of a deployment that Berth never answers so: its own 400 and 429 of other operations, word for word."""
    few = {"model_name": "abacus", "plan": "mu", "deploy_spec": "MU1", "capacity": 1, "suffix": "few", "rpm_limit": 1}
    bad = requests.post(URL + "/api/v1/deployments", json={**few, "capacity": -1}, headers=HEADERS)
    name = requests.post(URL + "/api/v1/deployments", json=few, headers=HEADERS).json()["output"]["deployed_model"]

    def limited():
        answer = requests.post(URL + "/api/v1/services/aigc/text-generation/generation",
                               json={"model": name, "input": {"prompt": "37+85"}}, headers=HEADERS)
        return answer.status_code == 429 and [answer]  # in a list, since an answer with an error is false

    (throttled,) = until("the limit is reached", limited)
    requests.delete(URL + "/api/v1/deployments/" + name, headers=HEADERS)
    for answer, code in (bad, 3), (throttled, 4):
        with replaying(answer) as base:
            same(run("deployments", "get", "any", DASHSCOPE_HTTP_BASE_URL=base)[0], code)


class replaying:
    """A server that answers every GET with one recorded answer."""

    def __init__(self, answer):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(answer.status_code)
                self.send_header("Content-Type", answer.headers["Content-Type"])
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            def log_message(self, *_):
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}/api/v1"

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


with ThreadPoolExecutor() as pool:
    waiting = pool.submit(whole_life)
    call()
    exit_codes()
    exit_codes_of_replayed_answers()
    waiting.result()
