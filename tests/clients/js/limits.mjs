// The AI SDK and OpenAI's, whose client key may make one request a second.
import assert from "node:assert/strict";
import { createGoogle } from "@ai-sdk/google";
import { APICallError, generateText } from "ai";
import OpenAI from "openai";
import { CLIENT_KEY, MODEL, PROMPT, PROXY_URL, run, times } from "./cases.mjs";

const model = createGoogle({ apiKey: CLIENT_KEY, baseURL: `${PROXY_URL}/v1beta` })(MODEL);
const openai = (maxRetries) =>
  new OpenAI({ apiKey: CLIENT_KEY, baseURL: `${PROXY_URL}/v1beta/openai/`, maxRetries });
const ask = (client) =>
  client.chat.completions.create({ model: MODEL, messages: [{ role: "user", content: PROMPT }] });

await run({ "AI SDK waits": () => times(3, () => generateText({ model, prompt: PROMPT, maxRetries: 5 })) });
await run({
  "AI SDK fails": () =>
    assert.rejects(
      times(5, () => generateText({ model, prompt: PROMPT, maxRetries: 0 })),
      (problem) => APICallError.isInstance(problem) && problem.statusCode === 429 && problem.isRetryable,
    ),
});
await run({ "OpenAI waits": () => times(3, () => ask(openai(5))) });
await run({
  "OpenAI fails": () =>
    assert.rejects(
      times(5, () => ask(openai(0))),
      (problem) => problem instanceof OpenAI.RateLimitError && problem.message.includes("limit of 1 requests"),
    ),
});
