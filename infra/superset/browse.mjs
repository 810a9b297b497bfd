// Looks at every dashboard in a real browser: pictures at both widths, and as JSON on stdout what a reader would meet.
//   node infra/superset/browse.mjs URL SECRETS.json FOLDER [--loads N] [--city 杭州市] [dashboard …]
// Needs playwright-core (NODE_PATH or beside it) and a Chromium (CHROMIUM, /usr/bin/chromium by default).
import { mkdirSync, readFileSync } from "fs";
import { createRequire } from "module";
import { join } from "path";

const [base, secrets, folder, ...rest] = process.argv.slice(2);
const option = (name, otherwise) => (rest.includes(name) ? rest.splice(rest.indexOf(name), 2)[1] : otherwise);
const loads = Number(option("--loads", "1"));
const city = option("--city", "");
const dashboards = rest.length ? rest : ["cockpit", "operation", "teams", "events", "quality"];
const require = createRequire(join(process.env.NODE_PATH ?? process.cwd(), "x.js"));
const { chromium } = require("playwright-core");
// All of a dashboard in view: what is out of sight is not drawn.
const SIZES = { desk: { width: 1440, height: 2600 }, phone: { width: 390, height: 7000 } };
const QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

const PHONE = "Mozilla/5.0 (Linux; Android 15; Mobile) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0 Mobile Safari/537.36";

mkdirSync(folder, { recursive: true });
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", headless: true, args: QUIET });
const errors = [], failed = [], outside = new Set(), answers = new Map();
let page;

async function open(name) {
  const context = await browser.newContext({
    locale: "zh-CN", timezoneId: "Asia/Shanghai", viewport: SIZES[name], ...(name === "phone" ? { userAgent: PHONE, hasTouch: true } : {}),
  });
  page = await context.newPage();
  page.on("console", (said) => said.type() === "error" && errors.push(said.text().slice(0, 300)));
  page.on("pageerror", (error) => errors.push(String(error).slice(0, 300)));
  page.on("request", (request) => request.url().startsWith("http") && !request.url().startsWith(base) && outside.add(new URL(request.url()).host));
  page.on("response", async (response) => {
    if (response.status() >= 400) failed.push(`${response.status()} ${response.url().slice(0, 160)}`);
    if (!/chart\/data|explore_json/.test(response.url())) return;
    const asked = response.request();
    const form = new URL(response.url()).searchParams.get("form_data") ?? "";
    const slice = Number(/slice_id(?:%22|\\?")?\s*(?::|%3A)\s*(\d+)/.exec(form + (asked.postData() ?? ""))?.[1]);
    const body = await response.json().catch(() => ({}));
    if (slice) answers.set(slice, JSON.stringify(body.result?.map((r) => r.query) ?? body.query));
  });
  await page.goto(`${base}/login/`);
  await page.fill("#username", "admin");
  await page.fill("#password", JSON.parse(readFileSync(secrets, "utf8")).admin_password);
  await page.locator("button[type=submit],input[type=submit]").first().click();
  await page.waitForURL((url) => !url.pathname.startsWith("/login"), { timeout: 60000 });
}

// Every chart has something drawn and none still waits; gives the milliseconds since the page was asked for.
async function settled(since, limit = 90000) {
  await page.waitForFunction(() => {
    const holders = [...document.querySelectorAll(".dashboard-component-chart-holder")];
    const drawn = (holder) => holder.querySelector("canvas, .chart-container svg path, table tbody tr, .header-line, .superset-legacy-chart-country-map path, .ant-empty, [data-test='chart-error'], [role=alert]");
    return holders.length > 0 && holders.every(drawn) && !document.querySelector(".dashboard-grid .loading, [data-test='loading-indicator']");
  }, null, { timeout: limit, polling: 50 });
  return Date.now() - since;
}

// Texts and charts that lie over one another, titles that are cut, charts without rows, and words that nobody translated.
const inspect = () => page.evaluate(() => {
  const box = (element) => element.getBoundingClientRect();
  const holders = [...document.querySelectorAll(".dashboard-component-chart-holder")];
  const overlapping = [];
  for (const [n, one] of holders.entries()) for (const other of holders.slice(n + 1)) {
    const a = box(one), b = box(other);
    if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2) overlapping.push([one, other].map((e) => e.innerText.split("\n")[0]));
  }
  const outOfHolder = holders.filter((holder) => [...holder.querySelectorAll("canvas, svg, table, .header-line, .subheader-line")].some((e) => {
    const a = box(e), b = box(holder);
    return a.width > 0 && (a.right > b.right + 2 || a.left < b.left - 2) && !e.closest(".ant-table-content, .dt-table, .table-responsive, [style*=overflow]");
  })).map((e) => e.innerText.split("\n")[0]);
  const cut = [...document.querySelectorAll(".header-title, [data-test='slice-header'] .editable-title, .editable-title")].filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.innerText);
  const empty = holders.filter((holder) => holder.querySelector(".ant-empty, [data-test='chart-error'], [role=alert]")).map((e) => e.innerText.slice(0, 200));
  const english = [...new Set((document.querySelector("#app")?.innerText ?? "").split("\n").filter((line) => /[A-Za-z]{4,}/.test(line)))].slice(0, 20);
  const height = Math.ceil(Math.max(...holders.map((e) => box(e).bottom))) + 24;
  return { charts: holders.length, height, overlapping, outOfHolder, cut, empty, english, wide: document.documentElement.scrollWidth };
});

const report = {};
for (const dashboard of dashboards) report[dashboard] = {};
for (const name of Object.keys(SIZES)) {
  await open(name);
  for (const dashboard of dashboards) {
    errors.length = failed.length = 0;
    const times = [];
    // The first load fills the browser's and Superset's caches.
    for (let n = 0; n < (name === "desk" ? loads + (loads > 1) : 1); n++) {
      await page.goto("about:blank");
      const since = Date.now();
      await page.goto(`${base}/superset/dashboard/${dashboard}/`);
      times.push(await settled(since));
    }
    // Animations of charts end within a second.
    await page.waitForTimeout(1200);
    const seen = await inspect();
    const size = SIZES[name];
    await page.screenshot({ path: join(folder, `superset-${dashboard}-${name}.png`), clip: { x: 0, y: 0, width: size.width, height: Math.min(seen.height, size.height) } });
    report[dashboard][name] = { times, ...seen, errors: [...errors], failed: [...failed] };
    if (city && name === "desk") report[dashboard].filtered = await filter(dashboard);
  }
}
await browser.close();
console.log(JSON.stringify({ outside: [...outside], dashboards: report }, null, 1));

// Chooses the city in the filter bar; tells which charts then ask something else. Numbers may be equal by chance, queries may not.
async function filter(dashboard) {
  answers.clear();
  await page.goto(`${base}/superset/dashboard/${dashboard}/`);
  await settled(Date.now());
  await page.waitForTimeout(500);
  const before = new Map(answers);
  answers.clear();
  await page.locator('.filter-item-wrapper input[role=combobox], [data-test="form-item-value"] input[role=combobox]').nth(0).click();
  await page.keyboard.type(city);
  await page.locator(`.ant-select-item-option[title="${city}"]`).first().click();
  await page.keyboard.press("Escape");
  await page.locator('[data-test="filter-bar__apply-button"]').click();
  await page.waitForTimeout(500);
  await settled(Date.now());
  await page.waitForTimeout(1500);
  const same = [...before].filter(([slice, answer]) => !answers.has(slice) || answers.get(slice) === answer).map(([slice]) => slice);
  await page.screenshot({ path: join(folder, `superset-${dashboard}-filtered.png`) });
  return { asked: before.size, changed: before.size - same.length, same };
}
