// Vercel's AI SDK with its provider for Google.
import assert from "node:assert/strict";
import { createGoogle } from "@ai-sdk/google";
import { APICallError, embed, embedMany, generateText, streamText } from "ai";
import { CLIENT_KEY, EMBEDDER, gather, MODEL, PROMPT, PROXY_URL, run, times } from "./cases.mjs";

const provider = (apiKey) => createGoogle({ apiKey, baseURL: `${PROXY_URL}/v1beta` });
const google = provider(CLIENT_KEY);
const asked = { prompt: PROMPT, maxRetries: 0 }; // the proxy is what has to try again

await run({
  generateText: () =>
    times(20, async () => {
      const { text, finishReason, usage } = await generateText({ model: google(MODEL), ...asked });
      assert(text.includes(PROMPT));
      assert.equal(finishReason, "stop");
      assert(usage.totalTokens > 0);
    }),
  streamText: () =>
    times(10, async () => {
      const stream = streamText({ model: google(MODEL), ...asked });
      assert((await gather(stream.textStream, (text) => text)).includes(PROMPT));
      assert.equal(await stream.finishReason, "stop");
    }),
  embed: () =>
    times(10, async () => {
      const model = google.embeddingModel(EMBEDDER);
      assert.equal((await embed({ model, value: "a", maxRetries: 0 })).embedding.length, 3072);
      assert.equal((await embedMany({ model, values: ["a", "b"], maxRetries: 0 })).embeddings.length, 2);
    }),
  "unknown model": () =>
    times(10, () =>
      assert.rejects(
        generateText({ model: google("gemini-unheard-of"), ...asked }),
        (problem) => APICallError.isInstance(problem) && problem.statusCode === 404,
      ),
    ),
  "wrong key": () =>
    assert.rejects(
      generateText({ model: provider("wrong")(MODEL), ...asked }),
      (problem) => problem.statusCode === 401 && problem.message.includes("missing or invalid"),
    ),
});
