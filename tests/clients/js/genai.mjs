// Google's JavaScript SDK, in both versions of the API that its releases have as their default.
import assert from "node:assert/strict";
import { ApiError, GoogleGenAI } from "@google/genai";
import { CLIENT_KEY, EMBEDDER, gather, MODEL, PROMPT, PROXY_URL, run, times } from "./cases.mjs";

const client = (apiVersion, apiKey = CLIENT_KEY) =>
  new GoogleGenAI({ apiKey, httpOptions: { baseUrl: PROXY_URL, ...(apiVersion && { apiVersion }) } });

const cases = (ai) => ({
  generate: () =>
    times(20, async () => {
      const answer = await ai.models.generateContent({ model: MODEL, contents: PROMPT });
      assert(answer.text.includes(PROMPT));
      assert(answer.usageMetadata.totalTokenCount > 0);
    }),
  stream: () =>
    times(10, async () => {
      const stream = await ai.models.generateContentStream({ model: MODEL, contents: PROMPT });
      assert((await gather(stream, (piece) => piece.text)).includes(PROMPT));
    }),
  chat: () =>
    times(5, async () => {
      const chat = ai.chats.create({ model: MODEL });
      assert((await chat.sendMessage({ message: PROMPT })).text.includes(PROMPT));
      const stream = await chat.sendMessageStream({ message: "And then?" });
      assert((await gather(stream, (piece) => piece.text)).includes("And then?"));
    }),
  embed: () =>
    times(10, async () => {
      const { embeddings } = await ai.models.embedContent({ model: EMBEDDER, contents: ["a", "b"] });
      assert.deepEqual(embeddings.map((each) => each.values.length), [3072, 3072]);
    }),
  count: () =>
    times(10, async () => {
      assert((await ai.models.countTokens({ model: MODEL, contents: PROMPT })).totalTokens > 0);
    }),
  models: () =>
    times(10, async () => {
      const names = [];
      for await (const model of await ai.models.list({ config: { pageSize: 2 } })) names.push(model.name);
      assert(names.length > 2 && names.includes(`models/${MODEL}`));
      assert.equal((await ai.models.get({ model: MODEL })).name, `models/${MODEL}`);
    }),
  "unknown model": () =>
    times(10, async () => {
      const unknown = { model: "gemini-unheard-of", contents: PROMPT };
      const isNotFound = (problem) => problem instanceof ApiError && problem.status === 404;
      await assert.rejects(ai.models.generateContent(unknown), isNotFound);
      await assert.rejects(ai.models.generateContentStream(unknown), isNotFound);
    }),
});

const stranger = client(undefined, "wrong");
const versions = [undefined, "v1beta"].flatMap((version) =>
  Object.entries(cases(client(version))).map(([name, work]) => [`${version ?? "default"} ${name}`, work]),
);
await run({
  ...Object.fromEntries(versions),
  "wrong key": () =>
    assert.rejects(stranger.models.generateContent({ model: MODEL, contents: PROMPT }), (problem) => {
      assert(problem instanceof ApiError && problem.status === 401);
      return problem.message.includes("The API key is missing or invalid");
    }),
});
