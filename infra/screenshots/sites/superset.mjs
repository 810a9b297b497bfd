// Superset: every dashboard at a desk and on a phone.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const folder = process.env.GRIDLAKE_SUPERSET_FOLDER ?? join(import.meta.dirname, '..', '..', '..', '.superset')
const read = (file) => { try { return readFileSync(join(folder, file), 'utf8') } catch { return '' } }

export const url = `http://127.0.0.1:${read('superset.pid').trim().split(' ')[2] ?? 8088}`
export const widths = [1440, 390]

const DASHBOARDS = ['cockpit', 'operation', 'teams', 'events', 'quality']
const DRAWN = 'canvas, .chart-container svg path, table tbody tr, .header-line, .superset-legacy-chart-country-map path, .ant-empty, [role=alert]'

export async function take (page, shoot) {
  const { width } = page.viewportSize()
  await page.goto(`${url}/login/`)
  await page.fill('#username', 'admin')
  await page.fill('#password', JSON.parse(read('secrets.json')).admin_password)
  await page.click('button[type=submit],input[type=submit]')
  await page.waitForURL(target => !target.pathname.startsWith('/login'))
  // What is out of sight is not drawn.
  await page.setViewportSize({ width, height: width < 600 ? 7000 : 2600 })
  for (const dashboard of DASHBOARDS) {
    await page.goto(width < 600 ? `${url}/superset/dashboard/${dashboard}-phone/?standalone=1` : `${url}/superset/dashboard/${dashboard}/`)
    await page.waitForFunction(drawn => {
      const holders = [...document.querySelectorAll('.dashboard-component-chart-holder')]
      return holders.length > 0 && holders.every(holder => holder.querySelector(drawn)) && !document.querySelector('.dashboard-grid .loading')
    }, DRAWN, { timeout: 90000 })
    // Charts move for a second.
    await page.waitForTimeout(1500)
    const height = await page.evaluate(() => Math.max(...[...document.querySelectorAll('.dashboard-component-chart-holder')].map(e => e.getBoundingClientRect().bottom)))
    await shoot(dashboard, { clip: { x: 0, y: 0, width, height: Math.ceil(height) + 24 } })
  }
}
