// openai for Node, which finds Berth by OPENAI_BASE_URL and OPENAI_API_KEY.
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI();
const model = process.env.BERTH_CHAT_MODEL;
const ask = (content, more) =>
  client.chat.completions.create({ model, messages: [{ role: "user", content }], temperature: 0, ...more });

async function plain() {
  // conformance 82, 103
  const answer = await ask("37+85");
  assert.match(answer.id, /^chatcmpl-/);
  assert.equal(answer.object, "chat.completion");
  assert.equal(answer.model, model);
  assert.equal(answer.choices[0].message.content, "122");
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
  assert.ok(answer._request_id); // conformance 142
}

async function stream() {
  // conformance 100, 101, 102
  const whole = await ask("count to 20");
  let text = "";
  let usage;
  for await (const chunk of await ask("count to 20", { stream: true, stream_options: { include_usage: true } })) {
    text += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(usage.completion_tokens, whole.usage.completion_tokens);

  const helper = client.chat.completions.stream({ model, messages: [{ role: "user", content: "count to 20" }], temperature: 0 });
  assert.equal(await helper.finalContent(), text);
}

async function refuse() {
  const stranger = new OpenAI({ apiKey: "sk-wrong" });
  const call = (client, model) => client.chat.completions.create({ model, messages: [{ role: "user", content: "37+85" }] });
  // conformance 3
  await assert.rejects(call(stranger, model), { status: 401, code: "invalid_api_key" });
  await assert.rejects(call(client, "nobody"), { status: 404, code: "model_not_found" });
  await assert.rejects(ask("37+85", { temperature: 2 }), { status: 400, code: "invalid_parameter_error" });
}

async function models() {
  const ids = [];
  for await (const m of client.models.list()) ids.push(m.id);
  assert.ok(ids.includes(model), String(ids));
  assert.equal((await client.models.retrieve(model)).id, model);
}

// conformance 105
await plain();
await stream();
await refuse();
await models();
