// OpenAI's JavaScript SDK on Google's compatible path.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { CLIENT_KEY, EMBEDDER, gather, MODEL, PROMPT, PROXY_URL, run, times } from "./cases.mjs";

const baseURL = `${PROXY_URL}/v1beta/openai/`;
const openai = new OpenAI({ apiKey: CLIENT_KEY, baseURL, maxRetries: 0 });
const asked = { model: MODEL, messages: [{ role: "user", content: PROMPT }] };

await run({
  chat: () =>
    times(20, async () => {
      const answer = await openai.chat.completions.create(asked);
      assert(answer.choices[0].message.content.includes(PROMPT));
      assert(answer.usage.total_tokens > 0);
    }),
  "streamed chat": () =>
    times(10, async () => {
      const stream = await openai.chat.completions.create({ ...asked, stream: true });
      assert((await gather(stream, (piece) => piece.choices[0]?.delta.content)).includes(PROMPT));
    }),
  models: () =>
    times(10, async () => {
      const ids = (await Array.fromAsync(openai.models.list())).map((model) => model.id);
      assert(ids.includes(`models/${MODEL}`));
      assert.equal((await openai.models.retrieve(MODEL)).id, `models/${MODEL}`);
    }),
  embeddings: () =>
    times(10, async () => {
      const embedded = await openai.embeddings.create({ model: EMBEDDER, input: ["a", "b"] });
      assert.deepEqual(embedded.data.map((each) => each.embedding.length), [3072, 3072]);
    }),
  "unknown model": () =>
    times(10, () =>
      assert.rejects(
        openai.chat.completions.create({ ...asked, model: "gemini-unheard-of" }),
        OpenAI.NotFoundError,
      ),
    ),
  "wrong key": async () => {
    const stranger = new OpenAI({ apiKey: "wrong", baseURL, maxRetries: 0 });
    await assert.rejects(stranger.chat.completions.create(asked), (problem) => {
      assert(problem instanceof OpenAI.AuthenticationError);
      return problem.message.includes("missing or invalid");
    });
  },
});
