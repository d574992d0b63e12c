// What Vercel's AI SDK uploads: it follows the address that it is given for the bytes, without a key.
import assert from "node:assert/strict";
import { createGoogle } from "@ai-sdk/google";
import { generateText, uploadFile } from "ai";
import { CLIENT_KEY, MODEL, PROMPT, PROXY_URL, run, times } from "./cases.mjs";

const google = createGoogle({ apiKey: CLIENT_KEY, baseURL: `${PROXY_URL}/v1beta` });

async function upload(size) {
  const { providerReference: data } = await uploadFile({
    api: google,
    data: new Uint8Array(size).fill(97),
    mediaType: "text/plain",
  });
  const content = [{ type: "text", text: PROMPT }, { type: "file", mediaType: "text/plain", data }];
  const { text } = await generateText({
    model: google(MODEL),
    messages: [{ role: "user", content }],
    maxRetries: 0,
  });
  assert(text.includes(PROMPT));
}

await run({
  upload: () => times(20, () => upload(1000)),
  "a large upload": () => upload(20 * 2 ** 20),
});
