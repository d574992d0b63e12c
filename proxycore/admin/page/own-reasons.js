/** Why the proxy answered a request itself, in the page's language: the server says it in English. */

import { spoken } from "./words.js";

const UNITS = { requests: "次请求", tokens: "个 token", second: "每秒", minute: "每分钟", hour: "每小时", day: "每天", month: "每月" };

const TEXTS = [
  [/^Client (.+) has reached its limit of (\S+) (\w+) per (\w+)$/, (client, amount, what, period) => `客户端 ${client} 已达到限额：${UNITS[period] ?? period} ${amount} ${UNITS[what] ?? what}`],
  [/^Client (.+) has (\d+) requests in progress, its limit$/, (client, count) => `客户端 ${client} 已有 ${count} 个进行中的请求，达到并发上限`],
  [/^Client (.+) may not use the model (.+)$/, (client, model) => `客户端 ${client} 无权使用模型 ${model}`],
  [/^The access of client (.+) ended after (.+)$/, (client, date) => `客户端 ${client} 的访问已于 ${date} 结束`],
  [/^No Gemini API key is available for (.+) \((\d+) of (\d+) are cooling down, (\d+) disabled\)$/,
    (model, resting, all, disabled) => `${model === "this" ? "" : `${model} `}没有可用的密钥（共 ${all} 个：${resting} 个冷却中，${disabled} 个已失效）`],
  [/^All (\d+) Gemini API keys of this proxy are disabled$/, (count) => `全部 ${count} 个密钥均已失效`],
  [/^All Gemini API keys of this proxy are paused$/, () => "所有密钥均已暂停"],
  [/^No Gemini API key is configured on this proxy$/, () => "未配置任何密钥"],
  [/^The Gemini API key that owns (.+) is (not available|disabled)$/, (resource, state) => `${resource} 所属的密钥${state === "disabled" ? "已失效" : "当前不可用"}`],
  [/^The API key is missing or invalid$/, () => "客户端密钥缺失或无效"],
  [/^Too many requests without a valid key from this address$/, () => "此地址有过多未携带有效密钥的请求"],
  [/^The upstream timed out: no data for (\S+) seconds$/, (seconds) => `上游超时：${seconds} 秒内没有数据`],
  [/^The upstream timed out: it did not open the session$/, () => "上游超时：未能建立会话"],
  [/^The upstream could not be reached(?:: (.+))?$/, (cause) => `无法连接上游${cause ? `：${cause}` : ""}`],
  [/^The upstream broke off the connection( before the response was complete)?/, () => "上游在响应完成前断开了连接"],
  [/^The upstream's response is malformed: (.+)$/, (cause) => `上游的响应格式错误：${cause}`],
  [/^The upstream closed the session with code (\d+)$/, (code) => `上游以代码 ${code} 关闭了会话`],
  [/^The request body is larger than (.+) MB \((\w+)\)$/, (size, name) => `请求体超过 ${size} MB（${name}）`],
  [/^The memory for request bodies is full \(MAX_HELD_MB\)$/, () => "请求体缓存已满（MAX_HELD_MB）"],
  [/^No data of the request body arrived for (\S+) seconds$/, (seconds) => `${seconds} 秒内未收到请求体数据`],
  [/^A path with dot segments is not relayed$/, () => "不转发含有 . 或 .. 的路径"],
  [/^Internal error of the proxy$/, () => "代理内部错误"],
];

/** The proxy's own reason, which has no full stop; "" stays so. */
export function ownReason(text = "") {
  if (spoken() !== "zh") return text;
  for (const [pattern, tell] of TEXTS) {
    const told = pattern.exec(text);
    if (told) return tell(...told.slice(1));
  }
  return text;
}
