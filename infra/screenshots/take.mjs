// Pictures of the pages that people see, taken in Debian's Chromium: `make screenshots`, or `node take.mjs [name…]` for some of the sites only.
//
// A site is a file of sites/: `url` (what to look at), `widths`, and `take(page, shoot)`, which goes from page to page and calls `shoot(name)`. A site that
// does not answer is said and left out. What a page writes to its console as an error, and answers of 400 and more, are printed and make it fail.

import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { chromium } from 'playwright-core'

const here = import.meta.dirname
const into = process.env.GRIDLAKE_SCREENSHOTS ?? join(here, '..', '..', 'screenshots')
const FLAGS = ['--no-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']

const answers = async (url) => { try { await fetch(url); return true } catch { return false } }

async function takeSite (browser, name, site) {
  const wrong = []
  for (const width of site.widths) {
    const context = await browser.newContext({ viewport: { width, height: 900 }, locale: 'zh-CN', timezoneId: 'Asia/Shanghai' })
    const page = await context.newPage()
    page.on('console', message => { if (message.type() === 'error') wrong.push(`console: ${message.text().slice(0, 200)}`) })
    page.on('response', answer => { if (answer.status() >= 400) wrong.push(`${answer.status()} ${answer.url()}`) })
    await site.take(page, async (shot, options = {}) => {
      const path = join(into, `${name}-${shot}-${width}.png`)
      await page.screenshot({ path, ...options })
      console.log(path)
    })
    await context.close()
  }
  return wrong
}

mkdirSync(into, { recursive: true })
const wanted = process.argv.slice(2)
const found = readdirSync(join(here, 'sites')).map(file => file.replace('.mjs', '')).filter(name => !wanted.length || wanted.includes(name))
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: FLAGS })
let taken = 0
const wrong = []
for (const name of found) {
  const site = await import(join(here, 'sites', `${name}.mjs`))
  if (site.url && !await answers(site.url)) { console.error(`${name}: nothing answers at ${site.url}, left out; start it first`); continue }
  wrong.push(...(await takeSite(browser, name, site)).map(said => `${name}: ${said}`))
  taken++
}
await browser.close()
wrong.forEach(said => console.error(said))
process.exit(taken && !wrong.length ? 0 : 1)
