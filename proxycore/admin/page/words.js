/** The texts of the page, in English and Chinese. The server's texts are English; known ones are translated. */

const ENGLISH = {
  language: "Language", leave: "Log out", runs: "The proxy is running", unreachable: "The proxy is not responding. Retrying…",
  point: "Point a Gemini client at this address.",
  adminKey: "Admin key", enter: "Log in",
  adminHint: "The value of ADMIN_API_KEY, or of OUTPUT_API_KEY if that is not set. Stored in this tab only.",
  oneTimeHint: "It was printed when the program started. Stored in this tab only.",
  noAdminKey: "No admin key is set, so the status is available only on the proxy's own machine. To see it from here, set ADMIN_API_KEY in .env or in the environment (docker run -e ADMIN_API_KEY=…), restart the proxy, and reload this page.",
  wrongKey: "Invalid admin key.", noLonger: "The admin key is no longer valid. Enter the new one.",
  connecting: "Connecting…", live: "Live", lostShort: "Connection lost",
  lost: "Connection to the proxy lost. This is the status as of {time}. Reconnecting…", found: "Reconnected",
  now: "Now", hour: "Last hour", keys: "Keys", search: "Search", searchHint: "Search by name, project, model or reason",
  show: "Show", all: "All", ready: "ready", benched: "benched", retired: "retired",
  keysCaption: "Gemini API keys and their state", noneFound: "No matching keys",
  streams: "Open streams", clients: "Clients", howLong: "Duration", minute1: "1 minute", minutes10: "10 minutes",
  hour1: "1 hour", day1: "1 day", ownTime: "Minutes:", cancel: "Cancel",
  requests: "Requests", ofServed: "{percent} served", running: "In progress", waiting: "Waiting for a key",
  openStreams: "Open streams", live_n: "{count} Live", refusedFailed: "Refused · failed", failovers: "Failovers",
  callsEach: "{count} upstream calls per response", firstByte: "TTFB", tokens: "Tokens in · out",
  unread: "{count} responses without token counts", bytes: "Bytes sent", workers: "Workers", up: "up {time}",
  chartSummary: "Last hour: {requests} requests, {refusals} refused upstream calls, at most {most} requests per minute, median TTFB {first}.",
  chartNothing: "No requests in the last hour.",
  chartMinute: "{time}: {requests} requests, {refusals} refused upstream calls, TTFB {first}",
  legendRequests: "requests per minute (max. {most})", legendRefusals: "upstream calls refused by Google", legendFirst: "median TTFB (max. {most})",
  name: "Key", project: "Project", proxy: "Outbound proxy", state: "State", why: "Reason", ends: "Back in", successes: "Served",
  s429: "429", s403: "403", s5xx: "5xx", lastUsed: "Last used", model: "Model", quotas: "Quota remaining", today: "Remaining today",
  more: "Details of key {name}", strikes: "strike {count}", at: "at {time}",
  modelsBenched: "benched for {count} models", modelBenched: "benched for {model}", nothingKnown: "No model is benched, and no quota is known yet.",
  leftOf: "{left} of {total}", learning: "limit {total}, window being learned", per: "per {time}", until: "until {time}",
  tryNow: "Test now", restIt: "Bench…", release: "Release", releaseFor: "Release for {model}",
  tryTitle: "Test key {name} now?", tryText: "Lists one model with this key, which uses no quota, and updates the key's state from Google's response.",
  restTitle: "Bench key {name}?", restText: "The key gets no new requests for this time. Requests in progress continue.",
  releaseTitle: "Release key {name}?", releaseText: "The key gets requests again immediately. If Google refuses it, it is benched again.",
  releaseModelTitle: "Release key {name} for {model}?", doing: "In progress…", failedAction: "Action failed: {reason}",
  kind: "Type", stream: "Stream", liveKind: "Live", client: "Client", key: "Key", age: "Duration", sent: "Bytes", noStreams: "No open streams",
  shown: "{shown} of {total}, oldest first", open: "Active", lastSeen: "Last request", noClients: "No requests yet",
  never: "never", justNow: "just now", openToAll: "(no key)", keysShown: "{shown} of {total}",
  counts: "{ready} ready, {benched} benched, {retired} retired", outage: "Outage", nextTrial: "next probe in {time}", sortBy: "Sort by {name}",
  judgements: "Recent decisions", time: "Time", decision: "Decision",
};

const CHINESE = {
  language: "语言", leave: "退出登录", runs: "代理正在运行", unreachable: "代理无响应，正在重试…", point: "请将 Gemini 客户端指向此地址。",
  adminKey: "管理密钥", enter: "登录", adminHint: "即 ADMIN_API_KEY；未设置时为 OUTPUT_API_KEY。仅保存在此标签页中。",
  oneTimeHint: "程序启动时已在终端输出。仅保存在此标签页中。",
  noAdminKey: "未设置管理密钥，因此只有代理所在的机器可以查看状态。要从这里查看，请在 .env 或环境变量中设置 ADMIN_API_KEY（例如 docker run -e ADMIN_API_KEY=…），重启代理，然后刷新此页。",
  wrongKey: "管理密钥不正确。", noLonger: "管理密钥已更换，请输入新的密钥。",
  connecting: "正在连接…", live: "实时", lostShort: "连接已断开",
  lost: "与代理的连接已断开。以下为 {time} 的状态，正在重新连接…", found: "已重新连接",
  now: "当前", hour: "最近一小时", keys: "密钥", search: "搜索", searchHint: "搜索名称、项目、模型或原因",
  show: "显示", all: "全部", ready: "可用", benched: "冷却中", retired: "已失效",
  keysCaption: "Gemini API 密钥及其状态", noneFound: "没有匹配的密钥",
  streams: "进行中的流", clients: "客户端", howLong: "时长", minute1: "1 分钟", minutes10: "10 分钟",
  hour1: "1 小时", day1: "1 天", ownTime: "分钟数：", cancel: "取消",
  requests: "请求", ofServed: "{percent} 成功", running: "进行中", waiting: "等待密钥",
  openStreams: "进行中的流", live_n: "{count} 个 Live", refusedFailed: "拒绝 · 失败", failovers: "故障切换",
  callsEach: "平均每个响应 {count} 次上游调用", firstByte: "首字节时间", tokens: "输入 · 输出 Token",
  unread: "{count} 个响应未统计 Token", bytes: "已发送字节", workers: "工作进程", up: "已运行 {time}",
  chartSummary: "最近一小时：{requests} 个请求，{refusals} 次上游调用被拒绝，每分钟最多 {most} 个请求，首字节时间中位数 {first}。",
  chartNothing: "最近一小时没有请求。",
  chartMinute: "{time}：{requests} 个请求，{refusals} 次上游调用被拒绝，首字节时间 {first}",
  legendRequests: "每分钟请求数（最高 {most}）", legendRefusals: "被 Google 拒绝的上游调用", legendFirst: "首字节时间中位数（最长 {most}）",
  name: "密钥", project: "项目", proxy: "出站代理", state: "状态", why: "原因", ends: "剩余时间", successes: "成功",
  s429: "429", s403: "403", s5xx: "5xx", lastUsed: "最近使用", model: "模型", quotas: "剩余配额", today: "今日剩余",
  more: "密钥 {name} 的详情", strikes: "连续 {count} 次", at: "{time}",
  modelsBenched: "{count} 个模型冷却中", modelBenched: "{model} 冷却中", nothingKnown: "没有冷却中的模型，暂无配额信息。",
  leftOf: "{left} / {total}", learning: "上限 {total}，时间窗口学习中", per: "每 {time}", until: "至 {time}",
  tryNow: "立即测试", restIt: "冷却…", release: "恢复", releaseFor: "恢复 {model}",
  tryTitle: "立即测试密钥 {name}？", tryText: "将用此密钥列出一个模型，不消耗配额，并根据 Google 的响应更新密钥状态。",
  restTitle: "冷却密钥 {name}？", restText: "在此期间不再向该密钥分配新请求，进行中的请求继续。",
  releaseTitle: "恢复密钥 {name}？", releaseText: "立即重新向该密钥分配请求。如果 Google 拒绝，该密钥将再次冷却。",
  releaseModelTitle: "为 {model} 恢复密钥 {name}？", doing: "正在执行…", failedAction: "操作失败：{reason}",
  kind: "类型", stream: "流式", liveKind: "Live", client: "客户端", key: "密钥", age: "时长", sent: "字节", noStreams: "没有进行中的流",
  shown: "{total} 个中最早的 {shown} 个", open: "进行中", lastSeen: "最近请求", noClients: "暂无请求",
  never: "从未", justNow: "刚刚", openToAll: "（无密钥）", keysShown: "{shown} / {total}",
  counts: "{ready} 个可用，{benched} 个冷却中，{retired} 个已失效", outage: "上游故障", nextTrial: "{time} 后再次探测", sortBy: "按“{name}”排序",
  judgements: "最近的判定", time: "时间", decision: "判定",
};

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
};

let language = remembered();

/** The language of the page: `en` or `zh`. */
export const spoken = () => language;

/** Uses this language from now on, and remembers it. */
export function speak(code) {
  language = code;
  try { localStorage.setItem("language", code); } catch { /* a browser may forbid it: then it is not remembered */ }
}

/** The text of this name, with values put in. */
export function say(name, values = {}) {
  const text = (language === "zh" ? CHINESE : ENGLISH)[name] ?? name;
  return text.replace(/\{(\w+)\}/g, (_, value) => values[value] ?? "");
}

/** The server's reason of a bench, in the page's language. */
export const reason = (text) => (language === "zh" && REASONS[text]) || text;

/** The explanation of an outage, in the page's language; the server's text is English. */
export function thought(outage) {
  if (language !== "zh") return outage.thought;
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
  if (language !== "zh" || !told) return `${judgement.why} (${reason(judgement.reason)})`;
  const others = told[2] ? `，而其他 ${told[2]} 个项目正常响应` : "";
  return `未冷却任何密钥：同一请求被 ${told[1]} 个项目拒绝${others}（${reason(judgement.reason)}）`;
}

/** The result of an action, in the page's language; the server's text is English. */
export function outcome(order, answer) {
  if (language !== "zh") return answer.message;
  const who = `密钥 ${order.key}`, why = answer.key?.bench ? `：${reason(answer.key.bench.reason)}` : "";
  if (order.action === "rest") return `${who} 将冷却 ${order.seconds} 秒。`;
  const about = order.model ?? order.origin;
  if (order.action === "release") return about ? `${who} 已为 ${about} 恢复。` : `${who} 已恢复。`;
  return { true: `${who} 测试通过，可以使用。`, false: `${who} 测试失败，被拒绝${why}。`, null: `${who} 测试无结果：${answer.message}` }[answer.accepted];
}

/** Puts texts into all elements that name one. */
export function translate(root = document) {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const one of root.querySelectorAll("[data-say]")) one.textContent = say(one.dataset.say);
  for (const one of root.querySelectorAll("[data-hint]")) one.placeholder = say(one.dataset.hint);
  for (const one of root.querySelectorAll("[data-label]")) one.setAttribute("aria-label", say(one.dataset.label));
}

function remembered() {
  let code = null;
  try { code = localStorage.getItem("language"); } catch { /* as above */ }
  return code ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
}
