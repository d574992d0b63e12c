/** What the server says in English, in the page's language: reasons, outages, decisions, results of actions. */

import { spoken } from "./words.js";

const REASONS = {
  "quota exhausted": "配额已用尽", "daily quota exhausted": "今日配额已用尽", "not entitled": "无权使用此模型",
  "refused without a reason": "被拒绝，未说明原因", "permission denied": "没有权限",
  "suspended or leaked": "已被暂停或泄露", "API key not valid or expired": "密钥无效或已过期",
  "API key not accepted": "密钥不被接受", "no credit or spending cap reached": "余额不足或已达消费上限",
  "token quota exhausted": "Token 配额已用尽", "spend-based rate limit exceeded": "超出消费速率限制",
  "project access denied": "项目被拒绝访问", "billing country not supported": "不支持结算账号所在的国家或地区",
  "region not supported": "不支持服务器所在的地区", "upstream error": "上游错误",
  "upstream deadline exceeded": "上游超时", manual: "手动操作", SERVICE_DISABLED: "服务未启用", API_KEY_SERVICE_BLOCKED: "密钥不允许使用此服务",
  API_KEY_HTTP_REFERRER_BLOCKED: "来源网址受限", API_KEY_IP_ADDRESS_BLOCKED: "IP 地址受限",
  API_KEY_ANDROID_APP_BLOCKED: "Android 应用受限", API_KEY_IOS_APP_BLOCKED: "iOS 应用受限",
  ACCESS_TOKEN_TYPE_UNSUPPORTED: "不支持此类令牌", CONSUMER_INVALID: "密钥所属的项目无效",
  // Those of attempts that bench no key
  "client error": "请求本身有误", "not a Google response": "不是 Google 的响应", timeout: "超时",
  "API keys not accepted": "此方法不接受 API key", "the resource belongs to another key": "资源属于其他密钥",
};

/** The server's reason of a bench, in the page's language. */
export const reason = (text) => (spoken() === "zh" && REASONS[text]) || text;

/** The explanation of an outage, in the page's language; the server's text is English. */
export function thought(outage) {
  if (spoken() !== "zh") return outage.thought;
  const way = outage.proxy ? `出站代理 ${outage.proxy}` : "";
  if (outage.reason === "region not supported") {
    return way ? `Google 不支持${way} 所在的地区` : "Google 不支持此服务器所在的地区：请设置 UPSTREAM_PROXY";
  }
  const where = outage.model || way ? `（${[outage.model, way].filter(Boolean).join("，")}）` : "";
  if (outage.next_trial === null) return `上游故障${where}：只返回服务器错误，没有请求成功`;
  return `疑似上游故障${where}：所有项目都被同样拒绝（${reason(outage.reason)}），没有请求成功；不冷却任何密钥，每次用一个请求探测`;
}

/** Why a request was at fault, in the page's language; the server's text is English. */
export function whyOf(judgement) {
  const told = / refused by (\d+) projects?(?: while (\d+) others? served)?$/.exec(judgement.why);
  if (spoken() !== "zh" || !told) return `${judgement.why} (${reason(judgement.reason)})`;
  const others = told[2] ? `，而其他 ${told[2]} 个项目正常响应` : "";
  return `未冷却任何密钥：同一请求被 ${told[1]} 个项目拒绝${others}（${reason(judgement.reason)}）`;
}

// What the server says of actions and reloads, and the same in Chinese.
const ACTED = [
  [/^Key (\S+) is benched for (\d+) s\.$/, "密钥 $1 将冷却 $2 秒。"],
  [/^Key (\S+) is released for (.+)\.$/, "密钥 $1 已为 $2 恢复。"],
  [/^Key (\S+) is not benched for (.+)\.$/, "密钥 $1 未对 $2 冷却。"],
  [/^Key (\S+) is released\.$/, "密钥 $1 已恢复。"],
  [/^Key (\S+) is not benched as a whole\.$/, "密钥 $1 未整体停用。"],
  [/^Key (\S+) was tested: accepted\.$/, "密钥 $1 测试通过，可以使用。"],
  [/^Key (\S+) was tested: refused \((.+)\)\.$/, "密钥 $1 测试失败，被拒绝：$2。"],
  [/^Key (\S+) was tested without a result: (.+)\.$/, "密钥 $1 测试无结果：$2。"],
  [/^Key (\S+) could not be tested: (.+)$/, "密钥 $1 无法测试：$2"],
  [/^Key (\S+) is paused\.$/, "密钥 $1 已暂停。"], [/^Key (\S+) is resumed\.$/, "密钥 $1 已继续使用。"],
  [/^Key (\S+) is annotated\.$/, "密钥 $1 的备注已保存。"], [/^Key (\S+) is without a note\.$/, "密钥 $1 的备注已删除。"],
  [/^Request (\S+) is ended\.$/, "请求 $1 已结束。"],
  [/^Key (\S+) is removed\.$/, "密钥 $1 已移除。"],
];

/** What an action has come to, in the page's language; the server's text is English. */
export function acted(text) {
  if (spoken() !== "zh") return text;
  for (const [pattern, chinese] of ACTED) {
    const told = pattern.exec(text);
    if (told) return chinese.replace("$1", () => told[1]).replace("$2", () => reason(told[2]));
  }
  return text;
}
