// What Google's JavaScript SDK makes that belongs to one key's project: every later call has to find it again.
import assert from "node:assert/strict";
import { createPartFromUri, GoogleGenAI } from "@google/genai";
import { CLIENT_KEY, LIVE_MODEL, MODEL, PROMPT, PROXY_URL, run, times } from "./cases.mjs";

const ai = new GoogleGenAI({ apiKey: CLIENT_KEY, httpOptions: { baseUrl: PROXY_URL } });
const BYTES = 20 * 2 ** 20; // more than two of the SDK's chunks of 8 MiB
const TIMES = 5;

async function namesOf(pager) {
  return (await Array.fromAsync(await pager)).map((each) => each.name);
}

async function files(size) {
  const file = await ai.files.upload({
    file: new Blob([new Uint8Array(size).fill(97)]),
    config: { mimeType: "text/plain", displayName: "letters" },
  });
  assert.equal(Number(file.sizeBytes), size);
  assert.equal((await ai.files.get({ name: file.name })).uri, file.uri);
  const contents = [createPartFromUri(file.uri, file.mimeType), PROMPT];
  assert((await ai.models.generateContent({ model: MODEL, contents })).text);
  assert((await namesOf(ai.files.list())).includes(file.name));
  await ai.files.delete({ name: file.name });
  assert(!(await namesOf(ai.files.list())).includes(file.name));
}

async function live() {
  const answer = Promise.withResolvers();
  let said = "";
  const callbacks = {
    onmessage: ({ serverContent }) => {
      for (const part of serverContent?.modelTurn?.parts ?? []) said += part.text ?? "";
      if (serverContent?.turnComplete) answer.resolve(said);
    },
    onerror: answer.reject,
    onclose: (event) => answer.reject(new Error(`closed: ${event.code} ${event.reason}`)),
  };
  const asked = { model: LIVE_MODEL, callbacks, config: { responseModalities: ["TEXT"] } };
  // A session that is refused tells only its callbacks: then `connect` never ends.
  const session = await Promise.race([ai.live.connect(asked), answer.promise]);
  session.sendClientContent({ turns: PROMPT });
  assert((await answer.promise).includes(PROMPT));
  session.close();
}

await run({
  files: () => times(TIMES, () => files(1000)),
  "a file in chunks": () => files(BYTES),
  caches: () =>
    times(TIMES, async () => {
      const config = { contents: PROMPT, ttl: "600s" };
      const { name } = await ai.caches.create({ model: MODEL, config });
      assert.equal((await ai.caches.get({ name })).name, name);
      assert((await namesOf(ai.caches.list())).includes(name));
      await ai.caches.update({ name, config: { ttl: "900s" } });
      const asked = { model: MODEL, contents: PROMPT, config: { cachedContent: name } };
      assert((await ai.models.generateContent(asked)).text);
      await ai.caches.delete({ name });
      assert(!(await namesOf(ai.caches.list())).includes(name));
    }),
  batches: () =>
    times(TIMES, async () => {
      const src = [{ contents: [{ role: "user", parts: [{ text: PROMPT }] }] }];
      const { name } = await ai.batches.create({ model: MODEL, src });
      assert.equal((await ai.batches.get({ name })).name, name);
      assert((await namesOf(ai.batches.list())).includes(name));
      await ai.batches.cancel({ name });
      await ai.batches.delete({ name });
    }),
  interactions: () =>
    times(TIMES, async () => {
      const first = await ai.interactions.create({ model: MODEL, input: PROMPT });
      const next = { model: MODEL, input: "And then?", previous_interaction_id: first.id };
      const types = new Set();
      let { id } = first;
      for await (const event of await ai.interactions.create({ ...next, stream: true })) {
        types.add(event.event_type);
        if (event.event_type === "interaction.created") ({ id } = event.interaction);
      }
      assert(types.has("interaction.created") && types.has("interaction.completed"));
      assert.notEqual(id, first.id);
      for (const each of [first.id, id]) {
        assert.equal((await ai.interactions.get(each)).id, each);
        await ai.interactions.delete(each);
      }
    }),
  live: () => times(TIMES, live),
});
