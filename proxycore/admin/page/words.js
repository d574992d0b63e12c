/** The texts of the page, in English and Chinese. The server's texts are English; known ones are translated. */

const ENGLISH = {
  language: "Language", leave: "Log out", runs: "The proxy runs.", unreachable: "The proxy does not answer; trying again.",
  point: "Point a Gemini client at this address.",
  adminKey: "Admin key", enter: "Show the status",
  adminHint: "ADMIN_API_KEY, or OUTPUT_API_KEY if there is none. It is kept for this tab only.",
  oneTimeHint: "The program printed it when it started. It is kept for this tab only.",
  noAdminKey: "No admin key is set, so the status is shown only on the proxy's own machine. To see it from here, set ADMIN_API_KEY in .env or in the environment (docker run -e ADMIN_API_KEY=…), restart the proxy, and reload this page.",
  wrongKey: "This is not the admin key.", noLonger: "The admin key is not taken any more. Enter the new one.",
  connecting: "Connecting…", live: "Live", lostShort: "Connection lost",
  lost: "The connection to the proxy is lost. This is what was known at {time}; trying again.", found: "Connected again.",
  now: "Now", hour: "The last hour", keys: "Keys", search: "Search", searchHint: "Search name, project, model, reason",
  show: "Show", all: "All", ready: "ready", resting: "resting", benched: "benched", retired: "retired",
  keysCaption: "The Gemini API keys and how they are", noneFound: "No key is like that.",
  streams: "Open streams", clients: "Clients", howLong: "For how long?", minute1: "1 minute", minutes10: "10 minutes",
  hour1: "1 hour", day1: "1 day", ownTime: "Minutes:", cancel: "Cancel",
  requests: "Requests", ofServed: "{percent} served", running: "Under way", waiting: "Waiting",
  openStreams: "Open streams", live_n: "{count} Live", refusedFailed: "Refused · failed", failovers: "Failovers",
  callsEach: "{count} calls an answer", firstByte: "First byte", tokens: "Tokens in · out",
  unread: "{count} answers unread", bytes: "Bytes sent", workers: "Workers", up: "up {time}",
  chartSummary: "{requests} requests and {refusals} refused calls in the last hour; the busiest minute had {most}; the median first byte took {first}.",
  chartNothing: "No requests in the last hour.",
  chartMinute: "{time}: {requests} requests, {refusals} refused calls, first byte {first}",
  legendRequests: "requests a minute (up to {most})", legendRefusals: "calls that Google refused", legendFirst: "first byte, median (up to {most})",
  name: "Key", project: "Project", state: "State", why: "Rests because", ends: "Ends in", successes: "Served",
  s429: "429", s403: "403", s5xx: "5xx", lastUsed: "Last used", model: "Model", quotas: "Quota left", today: "Left today",
  more: "Details of key {name}", strikes: "strike {count}", at: "at {time}",
  modelsRest: "{count} of its models rest", modelRests: "rests for {model}", nothingKnown: "No model rests, and no quota was told yet.",
  leftOf: "{left} of {total}", learning: "up to {total}, being learned", per: "in {time}", until: "until {time}",
  tryNow: "Try it now", restIt: "Let it rest…", release: "Release", releaseFor: "Release for {model}",
  tryTitle: "Try key {name} now?", tryText: "Google is asked for the name of one model, which costs no quota. What it answers is put into effect.",
  restTitle: "Let key {name} rest?", restText: "It gets no new requests until then. What is under way goes on.",
  releaseTitle: "Release key {name}?", releaseText: "It gets requests again at once. If Google refuses it, it rests again.",
  releaseModelTitle: "Release key {name} for {model}?", doing: "Under way…", failedAction: "That did not work: {reason}",
  kind: "Kind", stream: "stream", liveKind: "Live", client: "Client", key: "Key", age: "Age", sent: "Bytes", noStreams: "Nothing is open.",
  shown: "{shown} of {total}, the oldest first", open: "Open", lastSeen: "Last seen", noClients: "Nobody has asked yet.",
  never: "never", justNow: "just now", openToAll: "(without a key)", keysShown: "{shown} of {total}",
  counts: "{ready} ready, {resting} resting, {retired} retired", outage: "Outage", nextTrial: "next try in {time}", sortBy: "Sort by {name}",
  judgements: "Recent decisions", time: "Time", decision: "Decision",
};

const CHINESE = {
  language: "语言", leave: "退出", runs: "代理正在运行。", unreachable: "代理没有应答，正在重试。", point: "请将 Gemini 客户端指向此地址。",
  adminKey: "管理密钥", enter: "查看状态", adminHint: "即 ADMIN_API_KEY；未设置时为 OUTPUT_API_KEY。仅在此标签页中保留。",
  oneTimeHint: "程序启动时已在终端输出。仅在此标签页中保留。",
  noAdminKey: "未设置管理密钥，因此只有代理所在的机器可以查看状态。要从这里查看，请在 .env 或环境变量中设置 ADMIN_API_KEY（例如 docker run -e ADMIN_API_KEY=…），重启代理，然后刷新此页。",
  wrongKey: "管理密钥不正确。", noLonger: "管理密钥已失效，请输入新的密钥。",
  connecting: "正在连接…", live: "实时", lostShort: "连接已断开",
  lost: "与代理的连接已断开。以下为 {time} 时的数据；正在重新连接。", found: "已重新连接。",
  now: "当前", hour: "最近一小时", keys: "密钥", search: "搜索", searchHint: "搜索名称、项目、模型、原因",
  show: "显示", all: "全部", ready: "可用", resting: "冷却中", benched: "冷却中", retired: "已失效",
  keysCaption: "各 Gemini API 密钥及其状态", noneFound: "没有符合条件的密钥。",
  streams: "打开的流", clients: "客户端", howLong: "多长时间？", minute1: "1 分钟", minutes10: "10 分钟",
  hour1: "1 小时", day1: "1 天", ownTime: "分钟数：", cancel: "取消",
  requests: "请求", ofServed: "{percent} 成功", running: "进行中", waiting: "等待密钥",
  openStreams: "打开的流", live_n: "{count} 个 Live", refusedFailed: "拒绝 · 失败", failovers: "切换",
  callsEach: "每次应答 {count} 次调用", firstByte: "首字节", tokens: "Token 输入 · 输出",
  unread: "{count} 个应答未读", bytes: "发送字节", workers: "进程", up: "已运行 {time}",
  chartSummary: "最近一小时：{requests} 个请求，{refusals} 次调用被拒绝；最忙的一分钟 {most} 个；首字节中位数 {first}。",
  chartNothing: "最近一小时没有请求。",
  chartMinute: "{time}：{requests} 个请求，{refusals} 次被拒绝，首字节 {first}",
  legendRequests: "每分钟请求（最多 {most}）", legendRefusals: "被 Google 拒绝的调用", legendFirst: "首字节中位数（最长 {most}）",
  name: "密钥", project: "项目", state: "状态", why: "冷却原因", ends: "剩余", successes: "成功",
  s429: "429", s403: "403", s5xx: "5xx", lastUsed: "最近使用", model: "模型", quotas: "剩余配额", today: "今日剩余",
  more: "密钥 {name} 的详情", strikes: "连续 {count} 次", at: "{time}",
  modelsRest: "{count} 个模型冷却中", modelRests: "{model} 冷却中", nothingKnown: "没有模型在冷却，也尚未得知配额。",
  leftOf: "{left} / {total}", learning: "至多 {total}，学习中", per: "每 {time}", until: "至 {time}",
  tryNow: "立即测试", restIt: "冷却…", release: "解除", releaseFor: "解除 {model}",
  tryTitle: "立即测试密钥 {name}？", tryText: "将向 Google 查询一个模型的名称，不消耗配额，并按其应答处理。",
  restTitle: "冷却密钥 {name}？", restText: "在此期间不再分配新请求，进行中的请求继续。",
  releaseTitle: "解除密钥 {name}？", releaseText: "立即重新分配请求。如果 Google 再次拒绝，它会再次冷却。",
  releaseModelTitle: "为 {model} 解除密钥 {name}？", doing: "正在执行…", failedAction: "未能完成：{reason}",
  kind: "类型", stream: "流", liveKind: "Live", client: "客户端", key: "密钥", age: "时长", sent: "字节", noStreams: "没有打开的流。",
  shown: "{total} 个中的 {shown} 个，最早的在前", open: "进行中", lastSeen: "最近出现", noClients: "还没有请求。",
  never: "从未", justNow: "刚刚", openToAll: "（无密钥）", keysShown: "{shown} / {total}",
  counts: "{ready} 可用，{resting} 冷却中，{retired} 已失效", outage: "故障", nextTrial: "{time} 后再试", sortBy: "按{name}排序",
  judgements: "最近的判断", time: "时间", decision: "判断",
};

const REASONS = {
  "quota spent": "配额已用完", "day quota spent": "今日配额已用完", "not entitled": "无权使用此模型",
  "refused without a reason": "被拒绝，未说明原因", "permission denied": "没有权限",
  "suspended or leaked": "已被暂停或泄露", "API key not valid or expired": "密钥无效或已过期",
  "the key is not accepted": "密钥不被接受", "no credit or spending cap reached": "余额不足或已达消费上限",
  "token quota spent": "token 配额已用完", "spending too fast": "消费过快",
  "the project is denied access": "项目被拒绝访问", "not for this billing country": "结算国家或地区受限",
  "this address is not served": "此地址所在地区不受支持", "the upstream's trouble": "上游出现故障",
  "the upstream timed out": "上游超时", "by hand": "手动", SERVICE_DISABLED: "服务未启用", API_KEY_SERVICE_BLOCKED: "密钥不允许使用此服务",
  API_KEY_HTTP_REFERRER_BLOCKED: "来源网址受限", API_KEY_IP_ADDRESS_BLOCKED: "IP 地址受限",
  API_KEY_ANDROID_APP_BLOCKED: "Android 应用受限", API_KEY_IOS_APP_BLOCKED: "iOS 应用受限",
  ACCESS_TOKEN_TYPE_UNSUPPORTED: "不接受此类令牌", CONSUMER_INVALID: "密钥所属的项目无效",
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
  const where = outage.model ? `（${outage.model}）` : "";
  if (outage.reason === "this address is not served") return "Google 不为此服务器地址所在的地区提供服务：请设置 UPSTREAM_PROXY";
  if (outage.next_trial === null) return `上游出现故障${where}：只返回服务器错误，没有任何请求成功`;
  return `疑似上游故障${where}：所有项目都以同样的方式被拒绝（${reason(outage.reason)}），没有一个成功；不因此冷却任何密钥，每次只用一个请求试探`;
}

/** Why a request was found to be at fault, in the page's language; the server's text is English. */
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
  if (order.action === "release") return about ? `${who} 已为 ${about} 解除。` : `${who} 已解除。`;
  return { true: `${who} 已测试，可以使用。`, false: `${who} 已测试，被拒绝${why}。`, null: `${who} 未能得出结果：${answer.message}` }[answer.accepted];
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
