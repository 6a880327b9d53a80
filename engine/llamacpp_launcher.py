"""Runs the llama.cpp server of the xllamacpp package beside this file.

Understands the flags of llama-server that Berth uses, so that Berth starts both with
the same command line. The key comes from LLAMA_API_KEY, as llama-server has it.
"""

import argparse
import os
import signal
import sys

# python3 -I keeps everything else out of the path: the user's packages and PYTHONPATH.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import xllamacpp  # noqa: E402


def arguments():
    parser = argparse.ArgumentParser(prog="llama-server", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"xllamacpp {xllamacpp.__version__}")
    parser.add_argument("--model", required=True)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ctx-size", type=int, default=0)
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--threads-http", type=int, default=-1)
    parser.add_argument("--cache-ram", type=int, default=0)
    parser.add_argument("--lora", action="append", default=[])
    parser.add_argument("--lora-init-without-apply", action="store_true")
    parser.add_argument("--pooling", choices=["mean"])  # else what the model's file says
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--ubatch-size", type=int)
    for name in ("--metrics", "--slots", "--jinja", "--no-webui", "--embeddings"):
        parser.add_argument(name, action="store_true")
    return parser.parse_args()


def adapter(path):
    info = xllamacpp.CommonAdapterLoraInfo()
    info.path = path
    info.scale = 0.0
    return info


def params(args):
    p = xllamacpp.CommonParams()
    p.model.path = args.model
    p.model_alias = {args.alias}
    p.hostnames = [args.host]
    p.port = args.port
    p.api_keys = [os.environ["LLAMA_API_KEY"]]
    p.n_ctx = args.ctx_size
    p.n_parallel = args.parallel
    if args.threads:
        p.cpuparams.n_threads = args.threads
        p.cpuparams_batch.n_threads = args.threads
    p.n_threads_http = args.threads_http
    p.cache_ram_mib = args.cache_ram
    p.lora_adapters = [adapter(path) for path in args.lora]
    p.lora_init_without_apply = args.lora_init_without_apply
    p.endpoint_metrics = args.metrics
    p.endpoint_slots = args.slots
    p.use_jinja = args.jinja
    p.embedding = args.embeddings
    if args.pooling:
        p.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    if args.batch_size:
        p.n_batch = args.batch_size
    if args.ubatch_size:
        p.n_ubatch = args.ubatch_size
    p.ui = not args.no_webui
    return p


def main():
    try:
        server = xllamacpp.Server(params(arguments()))  # returns once it listens
    except RuntimeError:
        sys.exit(1)  # llama.cpp has written why
    # Until here SIGTERM ends the process by itself: Python runs no handler while a model
    # loads. From here on the exit status says that the end was in order; there is nothing
    # to save, so the threads of the server are not waited for.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    while server:
        signal.pause()


main()
