// What a page does with Google's SDK; bundled for browsers, and then there as `client`.
import { GoogleGenAI } from "@google/genai";

let ai;

export function connect(baseUrl, apiKey) {
  ai = new GoogleGenAI({ apiKey, httpOptions: { baseUrl } });
}

export async function generate(model, contents) {
  return (await ai.models.generateContent({ model, contents })).text;
}

export async function stream(model, contents) {
  const pieces = [];
  for await (const piece of await ai.models.generateContentStream({ model, contents })) pieces.push(piece.text);
  return pieces;
}

export async function upload(size) {
  const file = new Blob([new Uint8Array(size)], { type: "application/octet-stream" });
  const { name } = await ai.files.upload({ file });
  const { sizeBytes } = await ai.files.get({ name });
  const listed = (await Array.fromAsync(await ai.files.list())).map((each) => each.name);
  if (!listed.includes(name)) throw new Error(`${name} is not among ${listed}`);
  await ai.files.delete({ name });
  return Number(sizeBytes);
}
