// Many Live sessions of Google's JavaScript SDK at once, in each many messages both ways, all numbered.
import assert from "node:assert/strict";
import { GoogleGenAI } from "@google/genai";
import { CLIENT_KEY, LIVE_MODEL, PROXY_URL, run } from "./cases.mjs";

const ai = new GoogleGenAI({ apiKey: CLIENT_KEY, httpOptions: { baseUrl: PROXY_URL } });
const SESSIONS = 50;
const MESSAGES = 200;

const told = (session) => Array.from({ length: MESSAGES }, (_, n) => `session ${session}, message ${n}.`);

async function talk(session) {
  const ended = Promise.withResolvers();
  const heard = [];
  const callbacks = {
    onmessage: ({ serverContent }) => {
      for (const part of serverContent?.modelTurn?.parts ?? []) heard.push(part.text);
      if (heard.length === MESSAGES) ended.resolve();
    },
    onerror: ended.reject,
    onclose: ({ code, reason }) => ended.reject(new Error(`closed: ${code} ${reason}`)),
  };
  const asked = { model: LIVE_MODEL, callbacks, config: { responseModalities: ["TEXT"] } };
  // A session that is refused tells only its callbacks: then `connect` never ends.
  const connected = await Promise.race([ai.live.connect(asked), ended.promise]);
  for (const turns of told(session)) connected.sendClientContent({ turns });
  await ended.promise;
  assert.deepEqual(heard, told(session).map((text) => `You said: ${text}`));
  connected.close();
}

await run({ sessions: () => Promise.all(Array.from({ length: SESSIONS }, (_, n) => talk(n))) });
