"""The classic classes of the DashScope SDK, the same in 1.26 and 2.0: deployments, models and text generation.

The SDK finds Berth by DASHSCOPE_HTTP_BASE_URL and DASHSCOPE_API_KEY.
"""

import asyncio
import json
from http import HTTPStatus

from dashscope import AioGeneration, Deployments, Generation, Models, MultiModalConversation, TextEmbedding, Tokenization
from dashscope.api_entities.aio_session import close_shared_aio_session
from dashscope.version import __version__

from expect import CHAT_MODEL, MESSAGES, deployment, same, until

SUFFIX = "C" + __version__[0]  # in upper case, as some people type it


def succeeded(response):
    same((response.status_code, response.code or "", response.message or ""), (HTTPStatus.OK, "", ""))
    assert response.request_id
    return response.output


def refused(response, status, code, words):
    same((response.status_code, response.code), (status, code))
    assert words in response.message, response.message
    assert response.request_id and response.output is None


def create():
    # conformance 14, 26, 38, 39, 40, 41, 133, 136, 137, 138
    output = succeeded(Deployments.call("abacus-words", 1, suffix=SUFFIX))
    name = output["deployed_model"]
    same(name, "abacus-words-" + SUFFIX.lower())
    deployment(output, status="PENDING", ready_capacity=0, plan="lora", model_name="abacus-words",
               base_model="abacus", charge_type="post_paid", creator=output["modifier"])
    return name


def get_at_once(name):
    # conformance 46, 139
    output = succeeded(Deployments.get(name))
    deployment(output, deployed_model=name, plan="lora")
    assert output.status in ("PENDING", "DEPLOYING", "RUNNING"), output.status


def collide(name):
    # conformance 32, 34
    refused(Deployments.call("abacus-words", 1, suffix=SUFFIX), 409, "Conflict",
            f"Deployed model {name} already exists, please specify a suffix.")


def wait(name):
    # conformance 47, 48
    def running():
        output = succeeded(Deployments.get(name))
        assert output.status in ("PENDING", "DEPLOYING", "RUNNING"), output
        return output.status == "RUNNING" and output

    output = until(name + " is RUNNING", running)
    same(output.ready_capacity, output.capacity)


def find_in_list(name):
    # conformance 50, 52, 53, 54
    output = succeeded(Deployments.list(page_no=1, page_size=100))
    same((output["page_no"], output["page_size"], type(output["total"])), (1, 100, int))
    mine = [d for d in output.deployments if d.deployed_model == name]
    same(len(mine), 1)
    deployment(mine[0], deployed_model=name, status="RUNNING")
    same(succeeded(Deployments.list(page_no=1000))["deployments"], [])


def refuse_unknown():
    # conformance 49, 78
    refused(Deployments.get("never-was"), 404, "NotFound", "Model: never-was not found!")
    refused(Deployments.delete("never-was"), 404, "NotFound", "Model: never-was not found!")
    # conformance 29
    refused(Deployments.call("nobody", 1), 404, "NotFound", "Model: nobody not found!")
    # conformance 1, 2
    refused(Deployments.get("never-was", api_key="sk-wrong"), 401, "InvalidApiKey", "Invalid API-key provided.")


def list_models():
    # conformance 150: what can be called; of one name, it alone
    output = succeeded(Models.list(page=1, page_size=100))
    same((output["page_no"], output["page_size"]), (1, 100))
    assert CHAT_MODEL in [m["model"] for m in output["models"]], output
    same(succeeded(Models.get(CHAT_MODEL))["model"], CHAT_MODEL)
    same(Models.get(CHAT_MODEL[:-1]).status_code, 404)  # made by the SDK from an empty list


def generate(name):
    # conformance 81, 86, 87
    response = Generation.call(name, messages=MESSAGES, temperature=0.0, result_format="message")
    choice = succeeded(response).choices[0]
    same((choice.message.role, choice.message.content, choice.finish_reason), ("assistant", "The answer is 122.", "stop"))
    usage = response.usage
    assert usage.input_tokens > 0 and usage.output_tokens > 0
    same(usage.total_tokens, usage.input_tokens + usage.output_tokens)
    text = succeeded(Generation.call(name, prompt="37+85", temperature=0.0, result_format="text"))
    same((text.text, text.finish_reason), ("The answer is 122.", "stop"))


def think():
    # conformance 95
    response = Generation.call(CHAT_MODEL, messages=MESSAGES, temperature=0.0, result_format="message", enable_thinking=True)
    message = succeeded(response).choices[0].message
    same(message.content, "122")
    assert message.reasoning_content.startswith("37+85: 7+5=12"), message
    assert response.usage["output_tokens_details"]["reasoning_tokens"] > 0


def stream(name):
    # conformance 88, 90, 91, 92, 93
    question = [{"role": "user", "content": "count to 20"}]
    whole = succeeded(Generation.call(name, messages=question, temperature=0.0, result_format="message")).choices[0].message.content

    def frames(**options):
        taken = [succeeded(r).choices[0] for r in
                 Generation.call(name, messages=question, temperature=0.0, result_format="message", stream=True, **options)]
        assert len(taken) > 2
        for choice in taken:
            same(choice.message.role, "assistant")
        same({c.finish_reason for c in taken[:-1]}, {"null"})
        same(taken[-1].finish_reason, "stop")
        return [c.message.content for c in taken]

    same("".join(frames(incremental_output=True)), whole)
    for cumulative in frames(), frames(incremental_output=False):  # by the server, and put together by the SDK
        same(cumulative[-1], whole)
        for earlier, later in zip(cumulative, cumulative[1:]):
            assert later.startswith(earlier), (earlier, later)


def generate_otherwise():
    # conformance 153: content in parts on one path, text on the other
    parts = [{"role": "user", "content": [{"text": "37"}, {"text": "+85"}]}]
    message = succeeded(Generation.call(CHAT_MODEL, messages=parts, temperature=0.0, result_format="message")).choices[0].message
    same(message.content, "122")
    message = succeeded(MultiModalConversation.call(CHAT_MODEL, messages=parts, temperature=0.0)).choices[0].message
    same(message.content, [{"text": "122"}])
    message = succeeded(MultiModalConversation.call(CHAT_MODEL, messages=MESSAGES, temperature=0.0)).choices[0].message
    same(message.content, [{"text": "122"}])


def embed():
    # conformance 104
    texts = ["blue cat", "green cat"]
    output = succeeded(TextEmbedding.call(CHAT_MODEL, input=texts, text_type="query"))
    same([e["text_index"] for e in output["embeddings"]], [0, 1])
    assert len(output["embeddings"][0]["embedding"]) == len(output["embeddings"][1]["embedding"]) > 1
    counted = Tokenization.call(CHAT_MODEL, messages=MESSAGES)
    same((counted.status_code, counted.usage["input_tokens"]), (200, Generation.call(CHAT_MODEL, messages=MESSAGES).usage.input_tokens))


async def generate_asynchronously():
    # conformance 88, 92
    question = dict(messages=MESSAGES, temperature=0.0, result_format="message")
    same(succeeded(await AioGeneration.call(CHAT_MODEL, **question)).choices[0].message.content, "122")
    frames = await AioGeneration.call(CHAT_MODEL, **question, stream=True, incremental_output=True)
    same("".join([succeeded(r).choices[0].message.content async for r in frames]), "122")
    await close_shared_aio_session()


def refuse_calls(name):
    refused(Generation.call("nobody", messages=MESSAGES), 404, "ModelNotFound", "Model can not be found.")
    # conformance 98
    refused(Generation.call(name, messages=MESSAGES, temperature=2.0), 400, "InvalidParameter", "Temperature should be in [0.0, 2.0)")
    # conformance 7: an error where a stream was asked for
    (response,) = Generation.call("nobody", messages=MESSAGES, stream=True)
    refused(response, 404, "ModelNotFound", "Model can not be found.")


def change():
    # conformance 47, 48: without a plan, a base is sold by units
    output = succeeded(Deployments.call("abacus", 1, suffix=SUFFIX))
    name = output["deployed_model"]
    deployment(output, status="PENDING", plan="mu", capacity=1, base_capacity=1, model_unit_spec="MU1")
    watch(name, "RUNNING")
    # conformance 65, 74
    before = succeeded(Deployments.get(name))
    output = succeeded(Deployments.put(name, {"rpm_limit": 600}, path=f"deployments/{name}/update"))
    deployment(output, status="RUNNING", rpm_limit=600, capacity=1, gmt_create=before.gmt_create)
    assert output["gmt_modified"] > before.gmt_modified, output
    # conformance 66
    refused(Deployments.put(name, {}, path=f"deployments/{name}/update"), 400, "InvalidParameter", "rpm_limit")
    # conformance 68, 73, 137: the SDK puts the name into the body, too
    output = succeeded(Deployments.scale(name, 2))
    deployment(output, deployed_model=name, status="UPDATING", capacity=2, ready_capacity=1)
    watch(name, "RUNNING")
    deployment(succeeded(Deployments.get(name)), capacity=2, ready_capacity=2, rpm_limit=600)
    # conformance 70
    refused(Deployments.scale(name, 1000), 400, "InvalidParameter", "Invalid capacity (1000)")
    deployment(succeeded(Deployments.get(name)), status="RUNNING", capacity=2)
    # conformance 79
    same(succeeded(Deployments.delete(name))["status"], "DELETING")


def events(name):
    """Reads the event stream to its end."""
    for event in Deployments.stream_events(name):
        same((event.status_code, event.code or ""), (HTTPStatus.OK, ""))  # the SDK gives events no request id
        output = json.loads(event.output)
        same(output["deployed_model"], name)
        yield output


def watch(name, status):
    # conformance 148: one line of JSON each, to the end of what is under way
    same([e["status"] for e in events(name)][-1], status)
    # conformance 147: then only what is
    same([e["status"] for e in events(name)], [status])


def refuse_changes(name):
    # conformance 67, 72
    refused(Deployments.put(name, {"rpm_limit": 600}, path=f"deployments/{name}/update"), 400, "UnsupportedOperation", "")
    refused(Deployments.scale(name, 2), 400, "UnsupportedOperation", "")
    refused(Deployments.scale("never-was", 2), 404, "NotFound", "Model: never-was not found!")
    # conformance 149
    (response,) = Deployments.stream_events("never-was")
    refused(response, 404, "NotFound", "Model: never-was not found!")


def delete(name):
    # conformance 75, 76, 77, 80
    same(succeeded(Deployments.delete(name))["status"], "DELETING")
    refused(Generation.call(name, messages=MESSAGES), 404, "ModelNotFound", "Model can not be found.")
    until(name + " is gone", lambda: Deployments.get(name).status_code == 404)
    refused(Deployments.get(name), 404, "NotFound", "Not found.")


# conformance 105
name = create()
get_at_once(name)
collide(name)
watch(name, "RUNNING")
wait(name)
find_in_list(name)
refuse_unknown()
list_models()
generate(name)
think()
stream(name)
generate_otherwise()
embed()
asyncio.run(generate_asynchronously())
refuse_calls(name)
refuse_changes(name)
delete(name)
change()
